"""Theorem 4.1 where its assumptions hold: Gaussian inputs, one wide layer, SGD."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lbbt_mm.analysis.alignment import (
    Alignment,
    Covariance,
    measure_alignment,
    random_basis,
    weight_covariance,
)


class SyntheticCheck(NamedTuple):
    """Alignment of a small network at its initialisation and after training.

    Attributes:
        before: At initialisation.
        after: After training on random labels.
        first_loss: Mean cross-entropy over all inputs before training, in nats.
        last_loss: The same after training.
    """

    before: Alignment
    after: Alignment
    first_loss: float
    last_loss: float


def synthetic_check(
    covariance: Tensor | None = None,
    neurons: int = 512,
    inputs: int = 2000,
    classes: int = 10,
    lr: float = 1.0,
    epochs: int = 30,
    batch_size: int = 100,
    ks: Sequence[int] = (1, 4),
    seed: int = 0,
) -> SyntheticCheck:
    """See theorem 4.1 hold where its assumptions do.

    Gaussian inputs of the given covariance, one wide ReLU layer with isotropic Gaussian
    weights of variance 1 / D and a linear layer on top, fixed labels drawn uniformly
    over the classes, plain SGD on the cross-entropy. Alignment is measured against the
    *true* covariance of the inputs, not against that of the sample.

    Args:
        covariance: ``(D, D)`` S_x; by default 16 eigenvalues from 1 to 0.01 in equal
            ratios, and random eigenvectors.
        neurons: Width of the layer.
        inputs: Number of inputs.
        classes: Number of classes.
        lr: Learning rate.
        epochs: Passes over the inputs.
        batch_size: Inputs a step.
        ks: See :func:`measure_alignment`.
        seed: Of everything random, and of nothing outside.

    Returns:
        Alignment before and after, and the losses; in about a second on one core.

    Raises:
        ValueError: The covariance is not symmetric and positive definite, a k does not
            fit, or training diverged.
    """
    if covariance is None:
        basis_DD = random_basis(16, seed + 1)
        covariance = basis_DD * torch.logspace(0, -2, 16).double() @ basis_DD.t()
    true_DD = covariance.double()
    factor_DD, failed = torch.linalg.cholesky_ex(true_DD)
    if failed or not torch.allclose(true_DD, true_DD.t()):
        raise ValueError(
            f"Expected a symmetric positive definite covariance, got "
            f"{covariance.tolist()}: give one such as A @ A.T."
        )
    size, generator = len(true_DD), torch.Generator().manual_seed(seed)
    data = Covariance(true_DD, torch.zeros(size).double(), inputs)
    x_ND = torch.randn(inputs, size, generator=generator, dtype=torch.float64)
    x_ND = (x_ND @ factor_DD.t()).float()
    y_N = torch.randint(classes, (inputs,), generator=generator)
    hidden = torch.randn(neurons, size, generator=generator) / size**0.5
    head = torch.randn(classes, neurons, generator=generator) / neurons**0.5
    layers = [hidden.requires_grad_(), head.requires_grad_()]

    def loss(chosen: Tensor) -> Tensor:
        return F.cross_entropy(
            F.relu(x_ND[chosen] @ hidden.t()) @ head.t(), y_N[chosen]
        )

    everything = torch.arange(inputs)
    with torch.enable_grad():
        first = float(loss(everything).detach())
        before = measure_alignment(data, weight_covariance(hidden), ks, seed)
        for _ in range(epochs):
            order = torch.randperm(inputs, generator=generator)
            for chosen in order.split(batch_size):
                slopes = torch.autograd.grad(loss(chosen), layers)
                for layer, slope in zip(layers, slopes, strict=True):
                    layer.data -= lr * slope
        last = float(loss(everything).detach())
    if not math.isfinite(last):
        raise ValueError(
            f"Expected a finite loss after training, got {last}: lower lr={lr}."
        )
    after = measure_alignment(data, weight_covariance(hidden), ks, seed)
    return SyntheticCheck(before, after, first, last)
