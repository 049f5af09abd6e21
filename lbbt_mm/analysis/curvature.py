"""Curvature of a loss: eigenvalues, trace and density of its Hessian (table 15).

All of it needs nothing but products with the Hessian H ``(P, P)``, which is never
written down. Lanczos' method keeps ``iterations * P`` numbers. Random vectors come from
a generator of their own on the CPU, the same on every device, and more probes begin
with the same ones.

Own code stays although curvlinops is a maintained library for such products: it gives
no errors, and its forward-mode products do not run through torch's fused attention
kernels. On a small network without attention curvlinops 3.0.1 agrees: products to
rounding, eigenvalues and trace within the errors given here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.analysis.lanczos import Tridiagonal, dot, lanczos, rounding
from lbbt_mm.analysis.scalar_loss import Estimate, ScalarLoss
from lbbt_mm.progress import follow


class Eigenvalues(NamedTuple):
    """Both ends of the Hessian's spectrum.

    Attributes:
        leading: Largest eigenvalues, falling.
        trailing: Smallest eigenvalues, rising: the most negative one first.
    """

    leading: tuple[Estimate, ...]
    trailing: tuple[Estimate, ...]


class SpectralDensity(NamedTuple):
    """Density of the Hessian's eigenvalues, by stochastic Lanczos quadrature.

    Draw it with :func:`lbbt_mm.analysis.density_curve`.

    Attributes:
        probes: Lanczos' result for each random start.
        size: Number of parameters P, and of eigenvalues.
        samples: Images in the loss.
    """

    probes: tuple[Tridiagonal, ...]
    size: int
    samples: int

    def quadrature(self, probe: int) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights ``(m,)``: ``sum(w * f(x))`` estimates the mean of f."""
        nodes, vectors = self.probes[probe].eigh()
        return nodes, vectors[0] ** 2


def extreme_eigenvalues(
    loss: ScalarLoss,
    k: int = 10,
    iterations: int = 80,
    seed: int = 0,
    progress: bool = False,
) -> Eigenvalues:
    """Leading and trailing eigenvalues of the Hessian by Lanczos' method.

    The error is the larger of the residual ``||H x - value * x||``, within which there
    is an eigenvalue, and of what the second half of the iterations still changed; and
    never less than rounding. An eigenvalue that occurs several times is found once.

    Args:
        loss: The loss.
        k: Eigenvalues at each end.
        iterations: Products with the Hessian, at least 4 k. P of them are exact.
        seed: Of the random start.
        progress: Show a progress bar.

    Returns:
        k at each end; fewer if the Hessian has fewer different ones. In units of the
        loss per squared unit of a parameter.

    Raises:
        ValueError: k is too large for the parameters or the iterations.
    """
    if k < 1 or 2 * k > loss.size or iterations < min(4 * k, loss.size):
        raise ValueError(
            f"Expected k from 1 to half of the {loss.size} parameters, and 4 k or more "
            f"iterations, got k={k} and {iterations} iterations: lower k, or iterate "
            f"more."
        )
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(loss.size, generator=generator, dtype=torch.float64)
    found = lanczos(loss, start, iterations, progress)
    values, vectors = found.eigh()
    number = len(values)
    errors = found.beside[-1] * abs(vectors[-1])
    errors = np.maximum(errors, rounding(loss.parameters[0].dtype) * abs(values).max())
    if not found.complete:
        earlier = found.eigh(number // 2)[0]
        ends = min(k, len(earlier))
        for end in (np.arange(ends), -1 - np.arange(ends)):
            errors[end] = np.maximum(errors[end], abs(values[end] - earlier[end]))
    estimates = [
        Estimate(float(value), float(error), 1, number, loss.samples)
        for value, error in zip(values, errors, strict=True)
    ]
    return Eigenvalues(tuple(estimates[::-1][:k]), tuple(estimates[:k]))


def hessian_trace(
    loss: ScalarLoss, probes: int = 32, seed: int = 0, progress: bool = False
) -> Estimate:
    """Trace of the Hessian by Hutchinson's estimator.

    The mean of ``v^T H v`` over random vectors v of independent signs, whose
    expectation is the sum of all eigenvalues. The error is twice the standard error
    ``std / sqrt(probes)``.

    Args:
        loss: The loss.
        probes: Number of vectors.
        seed: Of the vectors.
        progress: Show a progress bar.

    Returns:
        The trace, in units of the loss per squared unit of a parameter.

    Raises:
        ValueError: There are fewer than two probes.
    """
    _check_probes(probes)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in follow(range(probes), "trace", progress):
        signs = _signs(loss, generator)
        found.append(dot(signs, loss.hessian_product(signs)))
    value, spread = float(np.mean(found)), float(np.std(found, ddof=1))
    floor = rounding(loss.parameters[0].dtype) * float(np.mean(np.abs(found)))
    error = max(2 * spread / math.sqrt(probes), floor)
    return Estimate(value, error, probes, 0, loss.samples)


def spectral_density(
    loss: ScalarLoss,
    probes: int = 8,
    iterations: int = 40,
    seed: int = 0,
    progress: bool = False,
) -> SpectralDensity:
    """Density of all P eigenvalues by stochastic Lanczos quadrature.

    For a random start of independent signs, the eigenvalues of Lanczos' tridiagonal
    matrix, weighted by the squares of their eigenvectors' first elements, have the
    moments of the spectrum up to ``2 * iterations - 1``, in expectation (Ubaru, Chen
    and Saad 2017; Ghorbani, Krishnan and Xiao, arXiv 1901.10159).

    Args:
        loss: The loss.
        probes: Number of random starts.
        iterations: Products with the Hessian for each of them.
        seed: Of the starts.
        progress: Show a progress bar.

    Raises:
        ValueError: There are fewer than two probes or four iterations.
    """
    _check_probes(probes)
    if iterations < 4:
        raise ValueError(
            f"Expected four iterations or more, got {iterations}: half of them tell "
            f"the error, and 40 are usual."
        )
    generator = torch.Generator().manual_seed(seed)
    found = tuple(
        lanczos(loss, _signs(loss, generator), iterations, progress)
        for _ in follow(range(probes), "density", progress)
    )
    return SpectralDensity(found, loss.size, loss.samples)


def _signs(loss: ScalarLoss, generator: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, (loss.size,), generator=generator) * 2 - 1
    return signs.to(loss.parameters[0])


def _check_probes(probes: int) -> None:
    if probes < 2:
        raise ValueError(
            f"Expected two probes or more, got {probes}: their spread tells the error."
        )
