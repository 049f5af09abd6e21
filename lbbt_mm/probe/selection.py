"""A learning rate for the linear probe, chosen on held-out training images.

``linear_probe(..., lr=select_learning_rate(...).chosen)`` then trains on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.probe.linear_layers import LinearLayers, evaluate, train_epochs
from lbbt_mm.probe.linear_probe import check_features, check_settings

DEFAULT_LRS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
DEFAULT_HELD_OUT = 0.1


@dataclass(frozen=True)
class LearningRateSelection:
    """How every learning rate of a grid did on training images that were held out.

    Attributes:
        lrs: The grid, ascending.
        held_out_top1: Accuracy in per cent on the held-out images, for each of ``lrs``.
        held_out_loss: Mean cross-entropy in nats on them, for each of ``lrs``.
        held_out_images: How many were held out.
        train_images: How many were trained on meanwhile.
    """

    lrs: list[float]
    held_out_top1: list[float]
    held_out_loss: list[float]
    held_out_images: int
    train_images: int

    @property
    def chosen(self) -> float:
        """Highest held-out accuracy; among equals, the lowest held-out loss."""
        order = zip(self.held_out_top1, self.held_out_loss, self.lrs, strict=True)
        return min(order, key=lambda row: (-row[0], row[1], row[2]))[2]

    @property
    def at_edge(self) -> bool:
        """Whether a learning rate beyond the grid might have been better still."""
        return self.chosen in (self.lrs[0], self.lrs[-1])

    def table(self) -> str:
        """Lay out the grid for a terminal."""
        lines = [
            f"learning rates on {self.held_out_images} held-out training images, "
            f"trained on the other {self.train_images} (one image is "
            f"{100 / self.held_out_images:.3g} points):",
            f"{'':<12}{'top-1 in %':>12}{'loss':>10}",
        ]
        rows = zip(self.lrs, self.held_out_top1, self.held_out_loss, strict=True)
        for lr, top1, loss in rows:
            mark = "  chosen" if lr == self.chosen else ""
            lines.append(f"{lr:<12g}{top1:>12.2f}{loss:>10.4f}{mark}")
        if self.at_edge:
            lines.append(
                f"{self.chosen:g} is at the edge of the grid: one beyond it may be "
                "better; widen --lr-sweep."
            )
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """Write the grid as a JSON file can hold it."""
        return dict(
            lrs=self.lrs,
            held_out_top1=self.held_out_top1,
            held_out_loss=self.held_out_loss,
            chosen=self.chosen,
            at_edge=self.at_edge,
            images=dict(train=self.train_images, held_out=self.held_out_images),
        )


def check_grid(lrs: Sequence[float], held_out: float) -> list[float]:
    """Sort learning rates, each once.

    Raises:
        ValueError: There is nothing to choose from, or no share to hold out.
    """
    grid = sorted(set(lrs))
    if len(grid) < 2 or not all(0 < lr < math.inf for lr in grid):
        raise ValueError(
            "Choosing a learning rate expects two or more of them, all above 0, got "
            f"{', '.join(map(str, lrs)) or 'none'}."
        )
    if not 0 < held_out < 1:
        raise ValueError(f"held_out: expected a share between 0 and 1, got {held_out}.")
    return grid


def hold_out(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split training images, class by class.

    Of a class of n images, ``round(share * n)`` are held out, but at least one and at
    most n - 1. The only image of a class is trained on.

    Args:
        labels: ``(N,)``, integers.
        share: Of each class, between 0 and 1.
        seed: Of the draw.

    Returns:
        Indices of the images to train on and of those held out, ascending.

    Raises:
        ValueError: No class has two images.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = labels.cpu()
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        (images,) = (labels == label).nonzero(as_tuple=True)
        count = min(max(1, round(share * len(images))), len(images) - 1)
        order = torch.randperm(len(images), generator=generator)
        held[images[order[:count]]] = True
    if not held.any():
        raise ValueError(
            "Choosing a learning rate expects a class with two or more training "
            f"images, one of them to hold out, got {len(labels)} classes of one image: "
            "give the learning rate instead."
        )
    return (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)


def select_learning_rate(
    train_features: Tensor,
    train_labels: Tensor,
    num_classes: int,
    lrs: Sequence[float] = DEFAULT_LRS,
    held_out: float = DEFAULT_HELD_OUT,
    epochs: int = 100,
    batch_size: int = 128,
    weight_decay: float = 0.05,
    standardize: bool = True,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[int], None] | None = None,
) -> LearningRateSelection:
    """Train the probe with every learning rate, and test on held-out training images.

    The probes are those of :func:`~lbbt_mm.probe.linear_probe.linear_probe`, all
    trained at once. Held-out images take part in nothing but the test after the last
    epoch, not even in the statistics of the standardisation.

    Args:
        train_features: (N, C), float.
        train_labels: (N,), integers in [0, num_classes).
        num_classes: Number of classes.
        lrs: The grid: two learning rates or more, in any order.
        held_out: Share of the training images to hold out, see :func:`hold_out`.
        epochs: See ``linear_probe``, as the following ones.
        batch_size: Images per step.
        weight_decay: Decoupled weight decay of the weights.
        standardize: Standardise channels by the images that are trained on.
        seed: Of the images held out, and of the order of the others.
        device: Where features and classifiers live.
        on_epoch: Called after each epoch with its number from 1.

    Raises:
        ValueError: The features or settings do not fit (see ``linear_probe``), the grid
            has fewer than two learning rates, or nothing can be held out.
    """
    lrs = check_grid(lrs, held_out)
    check_features(train_features, train_labels, num_classes, "train")
    check_settings(train_labels, epochs, batch_size, lrs, weight_decay)
    kept, held = hold_out(train_labels, held_out, seed)
    features = train_features.to(device, torch.float32)
    labels = train_labels.to(device, torch.int64)
    kept, held = kept.to(device), held.to(device)
    x_NC, y_N = features[kept], labels[kept]
    layers = LinearLayers(x_NC, lrs, num_classes, weight_decay, standardize)
    for epoch, _ in enumerate(
        train_epochs(layers, x_NC, y_N, epochs, batch_size, seed), 1
    ):
        if on_epoch:
            on_epoch(epoch)
    top1, loss = evaluate(layers, features[held], labels[held])
    return LearningRateSelection(lrs, top1, loss, len(held), len(kept))
