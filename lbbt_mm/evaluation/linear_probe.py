"""A linear classifier on frozen features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LinearProbeResult:
    """Accuracies in per cent, one entry per epoch.

    Attributes:
        train_top1: Running accuracy over the training batches of the epoch.
        test_top1: Accuracy on all test images after the epoch.
        chance: 100 / number of classes.
        majority: Test accuracy of always answering the commonest training class.
    """

    train_top1: list[float]
    test_top1: list[float]
    chance: float
    majority: float

    @property
    def last_train_top1(self) -> float:
        """Training accuracy of the last epoch."""
        return self.train_top1[-1]

    @property
    def last_test_top1(self) -> float:
        """Test accuracy after the last epoch: the number to report."""
        return self.test_top1[-1]

    @property
    def best_test_top1(self) -> float:
        """Highest test accuracy; optimistic, for the test images chose the epoch."""
        return max(self.test_top1)

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, that first reached the highest test accuracy."""
        return self.test_top1.index(self.best_test_top1) + 1


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    num_classes: int,
    epochs: int = 100,
    batch_size: int = 128,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    standardize: bool = True,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[int, float, float], None] | None = None,
) -> LinearProbeResult:
    """Train a linear classifier on features, and test it after every epoch.

    AdamW (betas 0.9 and 0.999; the bias is not decayed), cosine from ``lr`` to 0 over
    all steps, cross-entropy without label smoothing, weights starting at 0 (the
    problem is convex). Epochs, batch size, learning rate and weight decay default to
    the paper's.

    Args:
        train_features: (N, C), float.
        train_labels: (N,), integers in [0, num_classes).
        test_features: (M, C), float.
        test_labels: (M,), integers in [0, num_classes).
        num_classes: Number of classes.
        epochs: Passes over the training features.
        batch_size: Images per step; the last step of an epoch may have fewer.
        lr: Learning rate of the first step.
        weight_decay: Decoupled weight decay of the weights.
        standardize: Shift and scale each channel by the mean and standard deviation
            of the *training* features. A few channels of a language model are
            enormous and would otherwise decide how long the others need to be heard.
        seed: Of the order of the training images.
        device: Where features and classifier live.
        on_epoch: Called after each epoch with its number from 1, the train and the
            test accuracy.

    Returns:
        Accuracies per epoch.

    Raises:
        ValueError: Shapes or labels do not fit, a feature is not finite, all training
            images are of one class, or a hyper-parameter is out of range.
    """
    _check(train_features, train_labels, num_classes, "train")
    _check(test_features, test_labels, num_classes, "test")
    if train_features.shape[1] != test_features.shape[1]:
        raise ValueError(
            "Expected train and test features of the same width, got "
            f"{train_features.shape[1]} and {test_features.shape[1]} channels."
        )
    if train_labels.unique().numel() < 2:
        raise ValueError(
            "A linear probe needs training images of at least two classes, got only "
            f"class {int(train_labels[0])}."
        )
    if min(epochs, batch_size, lr) <= 0 or weight_decay < 0:
        raise ValueError(
            "Expected epochs, batch_size and lr above 0 and weight_decay at least 0, "
            f"got {epochs}, {batch_size}, {lr} and {weight_decay}."
        )
    majority = 100 * (test_labels == train_labels.mode().values).float().mean().item()

    x_NC = train_features.to(device, torch.float32)
    y_N = train_labels.to(device, torch.int64)
    test_x = test_features.to(device, torch.float32)
    test_y = test_labels.to(device, torch.int64)
    mean_C, scale_C = _statistics(x_NC) if standardize else (0.0, 1.0)

    weight_KC = torch.zeros(num_classes, x_NC.shape[1], device=device)
    bias_K = torch.zeros(num_classes, device=device)
    groups = [
        dict(params=[weight_KC.requires_grad_()]),
        dict(params=[bias_K.requires_grad_()], weight_decay=0.0),
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(seed)

    def logits(rows: Tensor) -> Tensor:
        # Standardised batch by batch: a second copy of all features is never made,
        # and folding the statistics into the weights would lose digits.
        return F.linear((rows - mean_C) * scale_C, weight_KC, bias_K)

    steps, step = epochs * math.ceil(len(x_NC) / batch_size), 0
    train_top1, test_top1 = [], []
    for epoch in range(1, epochs + 1):
        hits = torch.zeros((), dtype=torch.int64, device=device)
        order = torch.randperm(len(x_NC), generator=generator).to(device)
        for index in order.split(batch_size):
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            scores, target = logits(x_NC[index]), y_N[index]
            optimizer.zero_grad()
            F.cross_entropy(scores, target).backward()
            optimizer.step()
            hits += (scores.argmax(1) == target).sum()
            step += 1
        train_top1.append(100 * hits.item() / len(x_NC))
        with torch.no_grad():
            answers = torch.cat([logits(rows).argmax(1) for rows in test_x.split(4096)])
        test_top1.append(100 * (answers == test_y).float().mean().item())
        if on_epoch:
            on_epoch(epoch, train_top1[-1], test_top1[-1])
    return LinearProbeResult(train_top1, test_top1, 100 / num_classes, majority)


def _statistics(x_NC: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation per channel, (C,) each.

    A channel that is constant up to rounding carries nothing: it is shifted but not
    scaled, which would blow the rounding up to unit size.
    """
    var_C, mean_C = torch.var_mean(x_NC, dim=0, correction=0)
    std_C = var_C.sqrt()
    constant = std_C <= 1e-6 * mean_C.abs()
    return mean_C, torch.where(constant, 1.0, std_C).reciprocal()


def _check(features: Tensor, labels: Tensor, num_classes: int, split: str) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(
            f"Expected {split} features (N, C) and labels (N,) with N above 0, got "
            f"{tuple(features.shape)} and {tuple(labels.shape)}."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected {split} labels in [0, {num_classes}), got {low} to {high}."
        )
    finite_N = torch.isfinite(features).all(dim=1)
    if not finite_N.all():
        raise ValueError(
            f"{int((~finite_N).sum())} of {len(features)} {split} images have features "
            "that are NaN or infinite: the model diverged, or overflowed under "
            "autocast. Try without --amp, or an earlier checkpoint."
        )
