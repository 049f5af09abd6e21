"""Lanczos' method for the Hessian of a loss."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.analysis.scalar_loss import ScalarLoss
from lbbt_mm.progress import follow


class Tridiagonal(NamedTuple):
    """The Hessian in a Krylov basis of m vectors: what Lanczos' method finds.

    Attributes:
        diagonal: ``(m,)``.
        beside: ``(m,)`` the elements beside the diagonal; the last one is the length
            of what is left over after m steps, 0 if the basis is complete.
        complete: Whether no further step would find anything new.
    """

    diagonal: np.ndarray
    beside: np.ndarray
    complete: bool

    def eigh(self, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues ``(m,)``, rising, and eigenvectors as columns ``(m, m)``.

        Args:
            steps: Of the first steps only.
        """
        beside = self.beside[: len(self.diagonal[:steps]) - 1]
        matrix = np.diag(self.diagonal[:steps]) + np.diag(beside, 1)
        return np.linalg.eigh(matrix + np.diag(beside, -1))


def lanczos(
    loss: ScalarLoss, start: Tensor, iterations: int, progress: bool = False
) -> Tridiagonal:
    """Run Lanczos' method with full reorthogonalisation.

    Rounding makes the vectors of the plain method lose their orthogonality, and it
    finds eigenvalues again that it has found before. Here all vectors are kept, and
    every new one is made orthogonal to all of them.

    Args:
        loss: Whose Hessian to multiply with.
        start: ``(P,)``, not zero, of any length.
        iterations: Steps at most; it ends sooner when the basis is complete: after P
            steps, or when nothing but rounding is left.
        progress: Show a progress bar.
    """
    like = loss.parameters[0]
    vector = start.to(like)
    vector = vector / math.sqrt(dot(vector, vector))
    basis: list[Tensor] = []
    diagonal: list[float] = []
    beside: list[float] = []
    scale, complete = 0.0, False
    for _ in follow(range(min(iterations, loss.size)), "Lanczos", progress):
        basis.append(vector)
        vector = loss.hessian_product(vector)
        scale = max(scale, math.sqrt(dot(vector, vector)))
        diagonal.append(dot(basis[-1], vector))
        for _ in range(2):  # twice is enough (Parlett)
            for old in basis:
                vector = vector - torch.dot(old, vector) * old
        left = math.sqrt(dot(vector, vector))
        complete = len(basis) == loss.size or left <= rounding(like.dtype) * scale
        beside.append(0.0 if complete else left)
        if complete:
            break
        vector = vector / left
    return Tridiagonal(np.array(diagonal), np.array(beside), complete)


def rounding(dtype: torch.dtype) -> float:
    """Relative error that a product with the Hessian is taken to have."""
    return 10 * torch.finfo(dtype).eps


def dot(a: Tensor, b: Tensor) -> float:
    """Scalar product of two vectors, summed in float64."""
    return float(torch.dot(a.double(), b.double()))
