"""Outliers and alignment at a price that a running training can pay.

The same numbers as of :func:`lbbt_mm.analysis.weight_statistics` and
:func:`lbbt_mm.analysis.measure_alignment`, and no others: no moments, no histogram, no
decomposition of what does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lbbt_mm.analysis.alignment import (
    AlignmentNumbers,
    eigenbasis,
    numbers_in_basis,
    patch_covariance,
    weight_covariance,
)
from lbbt_mm.analysis.outliers import weight_statistics
from lbbt_mm.analysis.weight_names import block_path

_CHUNK = 1 << 22  # weights that are looked at together: 32 MiB in float64


class OutlierCount(NamedTuple):
    """Outliers among some weights.

    Attributes:
        count: Number of weights.
        above: Weights with ``|w| > threshold``.
        above_sigmas: Weights with ``|w| > k`` standard deviations of their tensor.
    """

    count: int = 0  # type: ignore[assignment]  # not the tuple's own count()
    above: int = 0
    above_sigmas: int = 0

    @property
    def share_above_sigmas(self) -> float:
        """Share of the weights beyond k standard deviations of their tensor."""
        return self.above_sigmas / self.count

    def plus(self, other: OutlierCount) -> OutlierCount:
        """Count both together."""
        return OutlierCount(*(a + b for a, b in zip(self, other, strict=True)))


class OutlierCounts(NamedTuple):
    """Outliers of a model.

    Attributes:
        total: Of all weights.
        by_block: Path of a block -> of its weights, in the model's order.
    """

    total: OutlierCount
    by_block: dict[str, OutlierCount]


@torch.no_grad()
def count_outliers(
    weights: nn.Module | Iterable[tuple[str, Tensor]],
    threshold: float = 1.0,
    sigmas: float = 6.0,
) -> OutlierCounts:
    """Count the outliers of a model's matrices, and do nothing else.

    Exactly what :func:`lbbt_mm.analysis.weight_statistics` counts, in a small
    part of its time: see benchmarks/bridge_monitor.py.

    Args:
        weights: A model, of which the parameters are taken, or pairs of name and
            tensor; what has fewer than two dimensions is left out.
        threshold: Absolute threshold of an outlier.
        sigmas: Scale-free threshold k, in standard deviations of the tensor.

    Raises:
        ValueError: A weight is not finite, or there are no matrices.
    """
    pairs = weights.named_parameters() if isinstance(weights, nn.Module) else weights
    total, by_block = OutlierCount(), dict[str, OutlierCount]()
    for name, tensor in pairs:
        if tensor.ndim < 2 or not tensor.is_floating_point() or not tensor.numel():
            continue
        one = _count(name, tensor.detach(), threshold, sigmas)
        total = total.plus(one)
        block = block_path(name)
        if block is not None:
            by_block[block] = by_block.get(block, OutlierCount()).plus(one)
    if not total.count:
        raise ValueError(
            "Expected a model with weights, got none to measure: give it matrices."
        )
    return OutlierCounts(total, by_block)


def _count(name: str, tensor: Tensor, threshold: float, sigmas: float) -> OutlierCount:
    parts = tensor.reshape(-1).split(_CHUNK)
    # nan and infinity come through; one value leaves the device for each part.
    largest = max(float(torch.stack(part.aminmax()).abs().amax()) for part in parts)
    sums = [_sums(part) for part in parts]
    n, first = tensor.numel(), sum(pair[0] for pair in sums)
    mean = first / n
    variance = sum(pair[1] for pair in sums) / n - mean**2
    if not np.isfinite(variance) or variance <= 1e-6 * mean**2:
        # Not finite, for which that has the words; or so narrow around its mean that
        # this short way to the variance loses its digits.
        one = weight_statistics([(name, tensor)], threshold=threshold, sigmas=sigmas)
        return OutlierCount(n, one.total.above, one.total.above_sigmas)
    limits = threshold, sigmas * variance**0.5
    # Most tensors have nothing above 1.0, and their largest weight says so.
    return OutlierCount(
        n, *(_above(parts, limit) if largest > limit else 0 for limit in limits)
    )


def _sums(part: Tensor) -> tuple[float, float]:
    exact = part.double()
    first, second = torch.stack([exact.sum(), torch.dot(exact, exact)]).tolist()
    return first, second


def _above(parts: Sequence[Tensor], limit: float) -> int:
    dtype = parts[0].dtype
    if dtype != torch.float64:
        # torch rounds the limit to the tensor's type; round it down, so that what is
        # above the one is above the other.
        rounded = torch.tensor(limit, dtype=torch.float32)
        if float(rounded) > limit:
            rounded = torch.nextafter(rounded, torch.tensor(-torch.inf))
        limit = float(rounded)
        parts = [part.float() for part in parts]
    return sum(int(torch.count_nonzero(part.abs() > limit)) for part in parts)


class AlignmentWatch:
    """Alignment of a patch embedding with images that stay the same.

    The images' eigenbasis is computed once. Numbers are those of
    ``measure_alignment(...).data``.

    Args:
        images: Batches ``(B, C, height, width)``, normalised as in training.
        embedding: The patch embedding.
        ks: Sizes of the subspaces to compare; those above D are left out.

    Raises:
        ValueError: The images do not fit, or have fewer patches than a patch has
            values, which leaves the eigenbasis undetermined.
    """

    def __init__(
        self,
        images: Iterable[Tensor],
        embedding: nn.Conv2d,
        ks: Sequence[int] = (1, 4, 16),
    ) -> None:
        _, self.basis_DD = eigenbasis(patch_covariance(images, embedding))
        self.ks = [k for k in ks if k <= len(self.basis_DD)]

    def __call__(self, embedding: nn.Conv2d) -> AlignmentNumbers:
        """Measure the patch embedding as it is now."""
        weights = weight_covariance(embedding.weight).matrix.cpu()
        return numbers_in_basis(weights, self.basis_DD, self.ks)
