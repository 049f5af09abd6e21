"""Linear classifiers trained side by side, each with a learning rate of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lbbt_mm.models.backbone.standardize_neck import inverse_std

BETAS, EPS = (0.9, 0.999), 1e-8


class LinearLayers:
    """R linear layers on the same features, under AdamW; they never meet.

    They cost far less than R trainings one after the other: a batch is fetched once,
    and all layers are one matrix product. The gradient of the cross-entropy of a linear
    layer is one line, so it is written down: on features this small, autograd and
    torch's optimisers would spend four fifths of the time on their own bookkeeping.

    Shapes: B images, C channels, K classes, R layers.

    Args:
        x_NC: Training features: their device, width and statistics.
        lrs: Learning rate of each layer, at the first step.
        num_classes: Number of classes.
        weight_decay: Decoupled weight decay; the biases are not decayed.
        standardize: Shift and scale each channel by its mean and standard deviation
            over the training features.
    """

    def __init__(
        self,
        x_NC: Tensor,
        lrs: Sequence[float],
        num_classes: int,
        weight_decay: float | Sequence[float],
        standardize: bool,
    ) -> None:
        new: dict[str, Any] = dict(device=x_NC.device)
        self.channels = x_NC.shape[1]
        decays = torch.tensor(weight_decay, dtype=torch.float32, **new)
        self.decay_R11 = decays.expand(len(lrs)).view(-1, 1, 1)
        self.mean_C: Tensor | float = 0.0
        self.scale_C: Tensor | float = 1.0
        if standardize:
            var_C, mean_C = torch.var_mean(x_NC, dim=0, correction=0)
            self.mean_C, self.scale_C = mean_C, inverse_std(mean_C, var_C)
        self.lr_R11 = torch.tensor(lrs, dtype=torch.float32, **new).view(-1, 1, 1)
        # The bias is the last column: one update for both. The problem is convex, so
        # the start at 0 decides nothing but how long training takes.
        self.params_RKD = torch.zeros(len(lrs), num_classes, self.channels + 1, **new)
        self.first_RKD = torch.zeros_like(self.params_RKD)
        self.second_RKD = torch.zeros_like(self.params_RKD)
        self.one_hot_KK = torch.eye(num_classes, **new)
        self.steps = 0

    def scores(self, x_BC: Tensor) -> Tensor:
        """Score images with every layer.

        Args:
            x_BC: Features as they were extracted.

        Returns:
            Scores (R, K, B).
        """
        return self._scores(self._standardized(x_BC))

    def step(self, x_BC: Tensor, y_B: Tensor, cosine: float) -> Tensor:
        """Take one step of AdamW on the mean cross-entropy of a batch.

        Args:
            x_BC: Features as they were extracted.
            y_B: Classes.
            cosine: Factor on the learning rates.

        Returns:
            Right answers of each layer before the step, (R,).
        """
        x_BC = self._standardized(x_BC)
        scores_RKB = self._scores(x_BC)
        error_RKB = scores_RKB.softmax(1) - self.one_hot_KK.index_select(1, y_B)
        error_RKB /= len(x_BC)
        grad_RKD = torch.cat([error_RKB @ x_BC, error_RKB.sum(2, keepdim=True)], dim=2)
        self._adamw(grad_RKD, cosine * self.lr_R11)
        return _hits(scores_RKB, y_B)

    def _standardized(self, x_BC: Tensor) -> Tensor:
        # Batch by batch: a second copy of all features is never made, and folding the
        # statistics into the weights would lose digits.
        return (x_BC - self.mean_C) * self.scale_C

    def _scores(self, x_BC: Tensor) -> Tensor:
        weight_RKC, bias_RK1 = self.params_RKD.split([self.channels, 1], dim=2)
        # Images last: then the softmax runs along memory.
        return weight_RKC @ x_BC.T + bias_RK1

    def _adamw(self, grad_RKD: Tensor, lr_R11: Tensor) -> None:
        self.steps += 1
        self.first_RKD.lerp_(grad_RKD, 1 - BETAS[0])
        self.second_RKD.mul_(BETAS[1])
        self.second_RKD.addcmul_(grad_RKD, grad_RKD, value=1 - BETAS[1])
        first, second = (1 - beta**self.steps for beta in BETAS)  # bias corrections
        denominator_RKD = self.second_RKD.sqrt().div_(math.sqrt(second)).add_(EPS)
        self.params_RKD[:, :, :-1] *= 1 - lr_R11 * self.decay_R11
        self.params_RKD -= lr_R11 / first * (self.first_RKD / denominator_RKD)


def train_epochs(
    layers: LinearLayers,
    x_NC: Tensor,
    y_N: Tensor,
    epochs: int,
    batch_size: int,
    seed: int,
) -> Iterator[list[float]]:
    """Train, with the learning rates falling to 0 along a cosine over all steps.

    Args:
        layers: What is trained, in place.
        x_NC: Training features.
        y_N: Their classes.
        epochs: Passes over the training features.
        batch_size: Images per step; the last step of an epoch may have fewer.
        seed: Of the order of the images.

    Yields:
        After every epoch, each layer's running accuracy over its batches in per cent.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * math.ceil(len(x_NC) / batch_size)
    for _ in range(epochs):
        hits_R = torch.zeros(len(layers.lr_R11), dtype=torch.int64, device=x_NC.device)
        order = torch.randperm(len(x_NC), generator=generator).to(x_NC.device)
        for index in order.split(batch_size):
            cosine = 0.5 * (1 + math.cos(math.pi * layers.steps / steps))
            rows, classes = x_NC.index_select(0, index), y_N.index_select(0, index)
            hits_R += layers.step(rows, classes, cosine)
        yield [100 * hits / len(x_NC) for hits in hits_R.tolist()]


def evaluate(
    layers: LinearLayers, x_MC: Tensor, y_M: Tensor
) -> tuple[list[float], list[float]]:
    """Test every layer.

    Args:
        layers: Trained layers.
        x_MC: Features that they were not trained on.
        y_M: Their classes.

    Returns:
        Of each layer: accuracy in per cent, and mean cross-entropy in nats.
    """
    hits_R = torch.zeros(len(layers.lr_R11), dtype=torch.int64, device=x_MC.device)
    loss_R = torch.zeros(len(layers.lr_R11), dtype=torch.float64, device=x_MC.device)
    for rows, classes in zip(x_MC.split(4096), y_M.split(4096), strict=True):
        scores_RKB = layers.scores(rows)
        hits_R += _hits(scores_RKB, classes)
        wanted_RB = classes.expand(len(scores_RKB), -1)
        loss_R += F.cross_entropy(scores_RKB, wanted_RB, reduction="none").sum(1)
    top1 = [100 * hits / len(y_M) for hits in hits_R.tolist()]
    return top1, (loss_R / len(y_M)).tolist()


def _hits(scores_RKB: Tensor, y_B: Tensor) -> Tensor:
    highest, place = scores_RKB.max(1)
    # A layer that diverged says NaN everywhere, which is not class 0.
    return ((place == y_B) & highest.isfinite()).sum(1)
