"""Linear probes on what a backbone makes of images, for each read-out."""

from __future__ import annotations

import torch
from torch import Tensor

from lbbt_mm.models import LanguageBackbone
from lbbt_mm.probe.linear_probe import linear_probe
from lbbt_mm.probe.selection import select_learning_rate

LRS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@torch.no_grad()
def features(backbone: LanguageBackbone, images: Tensor) -> dict[str, Tensor]:
    """Return each read-out's features ``(N, C)`` of images ``(N, 3, H, W)``."""
    found: dict[str, list[Tensor]] = dict(last=[], mean=[])
    backbone.eval()
    for batch in images.split(250):
        tokens = backbone(batch)[-1]
        found["last"].append(tokens[:, -1])
        found["mean"].append(tokens.mean(1))
    return {name: torch.cat(parts) for name, parts in found.items()}


def probe(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], epochs: int, seed: int
) -> dict[str, float]:
    """Choose a learning rate on held-out training images, and test once."""
    chosen = select_learning_rate(*train, 10, lrs=LRS, epochs=epochs, seed=seed)
    result = linear_probe(*train, *test, 10, lr=chosen.chosen, epochs=epochs, seed=seed)
    return dict(top1=round(result.test_top1[-1], 2), lr=chosen.chosen)


def probe_pixels(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], epochs: int, seed: int
) -> dict[str, float]:
    """Probe the images themselves, without a model."""
    flat = [(images.flatten(1), labels) for images, labels in (train, test)]
    return probe(*flat, epochs, seed)


def probe_readouts(
    backbone: LanguageBackbone,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    epochs: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Probe the last token and the mean of the tokens."""
    x_train, x_test = (features(backbone, images) for images, _ in (train, test))
    return {
        name: probe((x_train[name], train[1]), (x_test[name], test[1]), epochs, seed)
        for name in x_train
    }
