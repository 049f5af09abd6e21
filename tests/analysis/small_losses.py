"""Losses small enough for their exact Hessian."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lbbt_mm.analysis.scalar_loss import ScalarLoss


class Point(nn.Module):
    """Parameters that are points; a loss is a function of them."""

    def __init__(self, **values: list[float]) -> None:
        super().__init__()
        for name, value in values.items():
            point = torch.tensor(value, dtype=torch.float64)
            self.register_parameter(name, nn.Parameter(point))


def quadratic(diagonal: list[float]) -> ScalarLoss:
    """``1 + sum d x^2 / 2`` at x = 1: its gradient is d, its Hessian diag(d)."""
    model = Point(x=[1.0] * len(diagonal))
    d = torch.tensor(diagonal, dtype=torch.float64)
    return ScalarLoss(model, lambda: 1 + (d * model.x**2).sum() / 2, samples=1)


def mlp(batches: int = 1, dtype: torch.dtype = torch.float64) -> ScalarLoss:
    """Cross-entropy of a network of 83 parameters, in batches of eight images.

    ``loss.exact`` is its Hessian ``(83, 83)``, written down by torch's own function.
    """
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    for parameter in model.parameters():
        normal = torch.randn(parameter.shape, generator=generator)
        parameter.data = 0.7 * normal.to(dtype)
    x = torch.randn(8 * batches, 6, generator=generator).to(dtype)
    y = torch.randint(3, (8 * batches,), generator=generator)

    def one(images: Tensor, labels: Tensor):
        return lambda: F.cross_entropy(model(images), labels)

    losses = [one(a, b) for a, b in zip(x.split(8), y.split(8), strict=True)]
    loss = ScalarLoss(model, losses, samples=len(x))

    def at(vector: Tensor) -> Tensor:
        weights = dict(zip(loss.names, loss.split(vector), strict=True))
        return F.cross_entropy(functional_call(model, weights, (x,)), y)

    loss.exact = torch.autograd.functional.hessian(at, loss.flat())
    return loss
