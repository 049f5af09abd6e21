"""A linear classifier on frozen features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lbbt_mm.probe.linear_layers import LinearLayers, evaluate, train_epochs


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
    problem is convex). Epochs, batch size and weight decay default to the paper's; the
    probe as a whole is ours.

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

    Raises:
        ValueError: Shapes or labels do not fit, a feature is not finite, all training
            images are of one class, or a hyper-parameter is out of range.

    Example:
        >>> data = probe_features(cfg, "epoch_6.pth", cache_dir=None)
        >>> train, test = data.train, data.test
        >>> linear_probe(
        ...     train.features, train.labels, test.features, test.labels, 10
        ... ).last_test_top1
    """
    check_features(train_features, train_labels, num_classes, "train")
    check_features(test_features, test_labels, num_classes, "test")
    if train_features.shape[1] != test_features.shape[1]:
        raise ValueError(
            "Expected train and test features of the same width, got "
            f"{train_features.shape[1]} and {test_features.shape[1]} channels."
        )
    check_settings(train_labels, epochs, batch_size, [lr], weight_decay)
    majority = 100 * (test_labels == train_labels.mode().values).float().mean().item()

    x_NC = train_features.to(device, torch.float32)
    y_N = train_labels.to(device, torch.int64)
    test_x = test_features.to(device, torch.float32)
    test_y = test_labels.to(device, torch.int64)
    layer = LinearLayers(x_NC, [lr], num_classes, weight_decay, standardize)
    training = train_epochs(layer, x_NC, y_N, epochs, batch_size, seed)
    train_top1, test_top1 = [], []
    for epoch, running in enumerate(training, 1):
        train_top1 += running
        test_top1 += evaluate(layer, test_x, test_y)[0]
        if on_epoch:
            on_epoch(epoch, train_top1[-1], test_top1[-1])
    if not layer.params_RKD.isfinite().all():
        raise ValueError(
            f"The linear layer's weights became NaN or infinite with lr={lr:g}; take a "
            "smaller one, or standardize the features."
        )
    return LinearProbeResult(train_top1, test_top1, 100 / num_classes, majority)


def check_settings(
    train_labels: Tensor,
    epochs: int,
    batch_size: int,
    lrs: Sequence[float],
    weight_decay: float,
) -> None:
    """Refuse what no linear layer can be trained with.

    Raises:
        ValueError: There is only one class, or a number is out of range.
    """
    if train_labels.unique().numel() < 2:
        raise ValueError(
            "A linear probe needs training images of at least two classes, got only "
            f"class {int(train_labels[0])}."
        )
    positive = all(0 < value < math.inf for value in (epochs, batch_size, *lrs))
    if not (positive and 0 <= weight_decay < math.inf):  # so NaN fails too
        raise ValueError(
            "Expected epochs, batch_size and lr above 0 and weight_decay at least 0, "
            f"got {epochs}, {batch_size}, {', '.join(map(str, lrs))} and "
            f"{weight_decay}."
        )


def check_features(
    features: Tensor, labels: Tensor, num_classes: int, split: str
) -> None:
    """Refuse features ``(N, C)`` and labels ``(N,)`` that cannot be probed.

    Raises:
        ValueError: They do not fit, or a feature is not finite.
    """
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
