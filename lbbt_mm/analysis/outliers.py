"""How weights are distributed, and how many stand out (figures 2, 10, 11 and 14).

Everything is counted or summed, so that the statistics of many tensors are those of
one, exactly, and no more than a part of one tensor is looked at in float64 at a time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lbbt_mm.analysis.weight_names import block_path, weight_kind
from lbbt_mm.progress import follow

_CHUNK = 1 << 18  # weights that are looked at together: 2 MiB in float64
_GRID_BITS = 16  # |w| is counted on bfloat16's grid, the upper half of a float32
_GRID = 1 << (31 - _GRID_BITS)


@dataclass(frozen=True)
class WeightStatistics:
    """Distribution of some weights; ``a + b`` is exactly that of both together.

    Attributes:
        count: Number of weights n.
        mean: Their mean.
        moments: ``(3,)``: sums over all weights of ``(w - mean)`` to the powers 2, 3
            and 4.
        largest: Largest ``|w|``.
        edges: ``(E,)`` edges of the histogram, rising.
        histogram: ``(E + 1,)`` weights below the first edge, in each
            ``edges[i] <= w < edges[i + 1]``, and from the last edge up.
        threshold: The absolute threshold; 1.0 in the reference.
        above: Weights with ``|w| > threshold``.
        sigmas: The scale-free threshold k.
        above_sigmas: Weights with ``|w| > k`` standard deviations *of their own
            tensor*, also where several tensors are taken together.
        grid: ``(32768,)`` how many ``|w|`` fall on each bfloat16 number, cut off.
    """

    count: int
    mean: float
    moments: np.ndarray
    largest: float
    edges: np.ndarray
    histogram: np.ndarray
    threshold: float
    above: int
    sigmas: float
    above_sigmas: int
    grid: np.ndarray

    @property
    def std(self) -> float:
        """Standard deviation, ``sqrt(sum((w - mean)^2) / n)``."""
        return math.sqrt(self.moments[0] / self.count)

    @property
    def excess_kurtosis(self) -> float:
        """``n sum((w - mean)^4) / sum((w - mean)^2)^2 - 3``; nan if all are equal.

        0 for a normal distribution, -1.2 for a uniform one.
        """
        if self._is_constant:
            return math.nan
        return float(self.count * self.moments[2] / self.moments[0] ** 2 - 3)

    @property
    def share_above(self) -> float:
        """Share of the weights with ``|w| > threshold``."""
        return self.above / self.count

    @property
    def share_above_sigmas(self) -> float:
        """Share of the weights with ``|w| > k`` standard deviations of their tensor."""
        return self.above_sigmas / self.count

    @property
    def _is_constant(self) -> bool:
        # What rounding leaves over when equal numbers lose their mean.
        return self.std <= 1e-9 * self.largest

    def quantile(self, share: float) -> float:
        """Find the smallest v that at least this share of all ``|w|`` does not exceed.

        Args:
            share: From 0 to 1; 0.999 for the tail that one weight in a thousand is in.

        Returns:
            v, within 0.4 % of itself: it is read from the counts on bfloat16's grid,
            which is what makes it exact to merge.

        Raises:
            ValueError: The share is not from 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(
                f"A quantile's share must be from 0 to 1, got {share}: write 0.999 "
                f"for 99.9 %."
            )
        rank = max(1, math.ceil(share * self.count))
        place = int(np.searchsorted(np.cumsum(self.grid), rank))
        low, high = np.array([place, place + 1], np.int32) << _GRID_BITS
        middle = (float(low.view(np.float32)) + float(high.view(np.float32))) / 2
        return min(middle, self.largest) if place else 0.0

    def __add__(self, other: WeightStatistics) -> WeightStatistics:
        same = np.array_equal(self.edges, other.edges)
        if not same or (self.threshold, self.sigmas) != (other.threshold, other.sigmas):
            raise ValueError(
                f"Expected statistics of the same edges and thresholds, got "
                f"{len(self.edges)} and {len(other.edges)} edges, thresholds "
                f"{self.threshold} and {other.threshold}, {self.sigmas} and "
                f"{other.sigmas} sigma: measure both alike."
            )
        a, b = self.count, other.count
        n, d = a + b, other.mean - self.mean
        (a2, a3, a4), (b2, b3, b4) = self.moments, other.moments
        # Sums of powers around the common mean (Pebay, SAND2008-6212).
        m2 = a2 + b2 + d**2 * a * b / n
        m3 = a3 + b3 + d**3 * a * b * (a - b) / n**2 + 3 * d * (a * b2 - b * a2) / n
        m4 = a4 + b4 + d**4 * a * b * (a * a - a * b + b * b) / n**3
        m4 += 6 * d**2 * (a * a * b2 + b * b * a2) / n**2
        m4 += 4 * d * (a * b3 - b * a3) / n
        return WeightStatistics(
            n,
            self.mean + d * b / n,
            np.array([m2, m3, m4]),
            max(self.largest, other.largest),
            self.edges,
            self.histogram + other.histogram,
            self.threshold,
            self.above + other.above,
            self.sigmas,
            self.above_sigmas + other.above_sigmas,
            self.grid + other.grid,
        )


@dataclass(frozen=True)
class WeightReport:
    """Statistics of a model's weights.

    Attributes:
        total: All of them.
        by_block: Path of a block, such as ``'language.blocks.3'`` -> its weights, in
            the model's order; what is outside every block is not in here.
        by_kind: ``'attention in'``, ``'mlp up'``, ``'embedding'`` ... -> its weights.
        by_tensor: Name of a tensor -> its weights.
    """

    total: WeightStatistics
    by_block: dict[str, WeightStatistics]
    by_kind: dict[str, WeightStatistics]
    by_tensor: dict[str, WeightStatistics]


def weight_statistics(
    weights: nn.Module | Iterable[tuple[str, Tensor]],
    edges: Sequence[float] | None = None,
    threshold: float = 1.0,
    sigmas: float = 6.0,
    matrices_only: bool = True,
    progress: bool = False,
) -> WeightReport:
    """Measure the weights of a model, one tensor at a time.

    Args:
        weights: A model, of which the parameters are taken, or pairs of name and
            tensor of any shape, such as a generator that reads a checkpoint.
        edges: Of the histogram, rising; 200 bins from -1 to 1 by default.
        threshold: Absolute threshold of an outlier.
        sigmas: Scale-free threshold k, in standard deviations of the tensor. Made
            for matrices, whose mean is about 0; none is above it in a constant one.
        matrices_only: Leave out what has fewer than two dimensions: norms, biases.
            The reference counts them too (``False``).
        progress: Show a progress bar.

    Raises:
        ValueError: A weight is not finite, or there are no weights to measure.

    Example:
        >>> report = weight_statistics(language_model_weights("gpt2"))
        >>> report.total.share_above_sigmas, report.by_kind["mlp up"].excess_kurtosis
    """
    pairs: Iterable[tuple[str, Tensor]] = (
        list(weights.named_parameters()) if isinstance(weights, nn.Module) else weights
    )
    bins = np.linspace(-1, 1, 201) if edges is None else np.asarray(edges, np.float64)
    if bins.ndim != 1 or not (np.diff(bins) > 0).all() or len(bins) < 2:
        raise ValueError(
            f"The histogram needs two or more rising edges, got {edges}: sort them."
        )
    groups: dict[str, dict[str, WeightStatistics]] = defaultdict(dict)
    for name, tensor in follow(pairs, "weights", progress):
        skip = matrices_only and tensor.ndim < 2
        if skip or not tensor.is_floating_point() or not tensor.numel():
            continue
        one = _measure(name, tensor.detach(), bins, float(threshold), float(sigmas))
        for group, key in (
            ("total", ""),
            ("block", block_path(name)),
            ("kind", weight_kind(name)),
            ("tensor", name),
        ):
            if key is not None:
                known = groups[group].get(key)
                groups[group][key] = known + one if known else one
    if not groups:
        raise ValueError(
            "Expected a model with weights, got none to measure: give matrices, or "
            "matrices_only=False for norms and biases too."
        )
    return WeightReport(
        groups["total"][""], groups["block"], groups["kind"], groups["tensor"]
    )


def _measure(
    name: str, tensor: Tensor, edges: np.ndarray, threshold: float, sigmas: float
) -> WeightStatistics:
    whole = None
    for part in _parts(tensor):
        if not torch.isfinite(part).all():
            raise ValueError(
                f"Expected finite weights, got nan or infinity in {name}: the training "
                f"diverged, take an earlier checkpoint."
            )
        size, mean = part.abs(), part.mean()
        away = part - mean
        moments = [float((away**power).sum()) for power in (2, 3, 4)]
        places = torch.bucketize(part, torch.from_numpy(edges).to(part), right=True)
        bits = size.float().view(torch.int32) >> _GRID_BITS
        one = WeightStatistics(
            part.numel(),
            float(mean),
            np.array(moments),
            float(size.max()),
            edges,
            torch.bincount(places, minlength=len(edges) + 1).cpu().numpy(),
            threshold,
            int((size > threshold).sum()),
            sigmas,
            0,
            torch.bincount(bits, minlength=_GRID).cpu().numpy(),
        )
        whole = whole + one if whole else one
    assert whole is not None, "empty tensors are skipped"
    if whole._is_constant:
        return whole
    limit = sigmas * whole.std
    above = sum(int((part.abs() > limit).sum()) for part in _parts(tensor))
    return WeightStatistics(**{**vars(whole), "above_sigmas": above})


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    for part in tensor.reshape(-1).split(_CHUNK):
        yield part.double()
