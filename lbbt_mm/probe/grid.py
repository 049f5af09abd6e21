"""The linear probe at every point of a grid of its hyper-parameters (table 3)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lbbt_mm.probe.linear_layers import LinearLayers, evaluate, train_epochs
from lbbt_mm.probe.linear_probe import check_features, check_settings

DEFAULT_LRS = (1e-4, 1e-3, 1e-2)
DEFAULT_WEIGHT_DECAYS = (0.0, 0.05, 0.5)


@dataclass(frozen=True)
class ProbeGrid:
    """Accuracies in per cent after the last epoch, at every point of a grid.

    Attributes:
        lrs: Learning rates, L of them.
        weight_decays: W of them.
        train_top1: L rows of W: running accuracy over the last epoch's batches.
        test_top1: L rows of W.
    """

    lrs: list[float]
    weight_decays: list[float]
    train_top1: list[list[float]]
    test_top1: list[list[float]]


def probe_grid(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    num_classes: int,
    lrs: Sequence[float] = DEFAULT_LRS,
    weight_decays: Sequence[float] = DEFAULT_WEIGHT_DECAYS,
    epochs: int = 100,
    batch_size: int = 128,
    standardize: bool = True,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> ProbeGrid:
    """Train :func:`~lbbt_mm.probe.linear_probe.linear_probe` at every point.

    All probes train at once, on the same batches. The paper's table 3 names neither its
    grid nor whether the bridge or the probe is meant; this one is the probe's.

    Args:
        train_features: (N, C), float.
        train_labels: (N,), integers in [0, num_classes).
        test_features: (M, C), float.
        test_labels: (M,), integers in [0, num_classes).
        num_classes: Number of classes.
        lrs: Learning rates of the first step.
        weight_decays: Decoupled weight decays.
        epochs: See ``linear_probe``, as the following ones.
        batch_size: Images per step.
        standardize: Standardise channels by the training images.
        seed: Of the order of the training images.
        device: Where features and classifiers live.

    Raises:
        ValueError: The features or settings do not fit, see ``linear_probe``.
    """
    check_features(train_features, train_labels, num_classes, "train")
    check_features(test_features, test_labels, num_classes, "test")
    if not lrs or not weight_decays:
        raise ValueError(
            f"A grid expects one or more learning rates and weight decays, got "
            f"{len(lrs)} and {len(weight_decays)}."
        )
    for weight_decay in weight_decays:
        check_settings(train_labels, epochs, batch_size, lrs, weight_decay)
    x_NC = train_features.to(device, torch.float32)
    y_N = train_labels.to(device, torch.int64)
    points = list(itertools.product(lrs, weight_decays))
    layers = LinearLayers(
        x_NC,
        [lr for lr, _ in points],
        num_classes,
        [weight_decay for _, weight_decay in points],
        standardize,
    )
    training = train_epochs(layers, x_NC, y_N, epochs, batch_size, seed)
    train_top1 = list(training)[-1]
    test_top1, _ = evaluate(
        layers,
        test_features.to(device, torch.float32),
        test_labels.to(device, torch.int64),
    )

    def rows(values: list[float]) -> list[list[float]]:
        width = len(weight_decays)
        return [values[i : i + width] for i in range(0, len(values), width)]

    return ProbeGrid(list(lrs), list(weight_decays), rows(train_top1), rows(test_top1))
