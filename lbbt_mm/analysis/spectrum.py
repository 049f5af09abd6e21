"""Numbers and curves read from the eigenvalues of a Hessian (table 15).

The paper defines none of these numbers; its shares of 0.65 and 0.35 and its kurtosis of
14.5 fit those of the 20 eigenvalues of largest size. The curve is of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lbbt_mm.analysis.curvature import Eigenvalues, SpectralDensity
from lbbt_mm.analysis.scalar_loss import Estimate


class DensityCurve(NamedTuple):
    """The spectral density on a grid; its integral is 1.

    Attributes:
        grid: ``(G,)`` eigenvalues.
        values: ``(G,)`` density: share of the eigenvalues per unit.
        errors: ``(G,)`` twice the standard error over probes.
    """

    grid: np.ndarray
    values: np.ndarray
    errors: np.ndarray


class EigenvalueSummary(NamedTuple):
    """Numbers on n eigenvalues of largest size, ``|l_1| >= ... >= |l_n|``.

    Attributes:
        eigenvalues: They themselves, in that order.
        decay_rate: Slope of the straight line of least squares through ``(log i,
            log |l_i|)``: -p where they fall like ``i^-p``.
        kurtosis: ``mean((l - mean)^4) / mean((l - mean)^2)^2 - 3``.
        participation_ratio: ``(sum |l|)^2 / (n sum l^2)``: 1 if all are of one size,
            1 / n if there is one only.
        negative_share: Share of those below 0.
    """

    eigenvalues: tuple[float, ...]
    decay_rate: float
    kurtosis: float
    participation_ratio: float
    negative_share: float


def spectral_gap(eigenvalues: Eigenvalues) -> Estimate:
    """Distance of the two largest eigenvalues; the error is the sum of theirs.

    Raises:
        ValueError: There are fewer than two.
    """
    if len(eigenvalues.leading) < 2:
        raise ValueError(
            f"A gap needs two leading eigenvalues, got {len(eigenvalues.leading)}: ask "
            f"for k=2 or more."
        )
    first, second = eigenvalues.leading[:2]
    return first._replace(
        value=first.value - second.value, error=first.error + second.error
    )


def summarise(eigenvalues: Sequence[float], number: int) -> EigenvalueSummary:
    """Describe the eigenvalues of largest size.

    Args:
        eigenvalues: Of both ends of the spectrum; at least ``number`` of each end, or
            larger ones may be missing.
        number: How many to describe; 20 in the paper, as it seems.

    Returns:
        The numbers; nan where they are not defined.

    Raises:
        ValueError: There are fewer than ``number``, or one is not finite.
    """
    found = np.array(sorted(eigenvalues, key=abs, reverse=True)[:number], np.float64)
    if number < 2 or len(found) < number or not np.isfinite(found).all():
        raise ValueError(
            f"Expected at least {max(number, 2)} finite eigenvalues, got "
            f"{list(eigenvalues)}: compute more, or describe fewer."
        )
    size, away = abs(found), found - found.mean()
    slope = kurtosis = participation = math.nan
    if size[-1] > 0:
        ranks = np.log(np.arange(1, number + 1))
        slope = float(np.polyfit(ranks, np.log(size), 1)[0])
    if (away**2).mean() > (1e-9 * size[0]) ** 2:  # not all alike
        kurtosis = float((away**4).mean() / (away**2).mean() ** 2 - 3)
    if size[0] > 0:
        participation = float(size.mean() ** 2 / (size**2).mean())
    negative = float((found < 0).mean())
    return EigenvalueSummary(
        tuple(found.tolist()), slope, kurtosis, participation, negative
    )


def eigenvalue_numbers(
    eigenvalues: Eigenvalues, number: int = 20
) -> dict[str, Estimate]:
    """Describe the eigenvalues of largest size, each number with its error.

    The error is the sum, over all eigenvalues, of what moving one by its own error
    changes in the number: what it could be at worst, to first order, and within what
    the number can be at all.

    Args:
        eigenvalues: Of both ends of the spectrum; see :func:`summarise`.
        number: How many to describe.

    Returns:
        ``'decay_rate'``, ``'kurtosis'``, ``'participation_ratio'`` and
        ``'negative_share'`` of :class:`EigenvalueSummary`; nan where not defined.

    Raises:
        ValueError: There are fewer than ``number``, or one is not finite.
    """
    # With few different eigenvalues both ends have some in common.
    found = list({e.value: e for e in (*eigenvalues[0], *eigenvalues[1])}.values())
    values = [estimate.value for estimate in found]
    names = EigenvalueSummary._fields[1:]

    def numbers(moved: Sequence[float]) -> np.ndarray:
        return np.array(summarise(moved, number)[1:])

    here = numbers(values)
    errors = np.zeros(len(names))
    for place, estimate in enumerate(found):
        changes = []
        for step in (-estimate.error, estimate.error):
            moved = [*values[:place], estimate.value + step, *values[place + 1 :]]
            changes.append(abs(numbers(moved) - here))
        errors += np.maximum(*changes)
    for place, name in enumerate(names):
        if name in ("participation_ratio", "negative_share"):  # from 0 to 1
            errors[place] = min(errors[place], max(here[place], 1 - here[place]))
    like = eigenvalues.leading[0]
    return {
        name: like._replace(value=float(value), error=float(error))
        for name, value, error in zip(names, here, errors, strict=True)
    }


def density_curve(
    density: SpectralDensity, grid: np.ndarray, width: float
) -> DensityCurve:
    """Density of the eigenvalues, smoothed by a normal distribution.

    Args:
        density: Of the Hessian.
        grid: ``(G,)`` where to compute it.
        width: Standard deviation of the smoothing, in the eigenvalues' unit.

    Raises:
        ValueError: The width is not positive.
    """
    if not width > 0:
        raise ValueError(
            f"Expected a positive width to smooth with, got {width}: 1 % of the "
            f"eigenvalues' range is usual."
        )
    curves = []
    for probe in range(len(density.probes)):
        nodes, shares = density.quadrature(probe)
        away = (np.asarray(grid, np.float64)[:, None] - nodes) / width
        curves.append(np.exp(-(away**2) / 2) @ shares / (width * math.sqrt(2 * np.pi)))
    errors = 2 * np.std(curves, axis=0, ddof=1) / math.sqrt(len(curves))
    return DensityCurve(np.asarray(grid), np.mean(curves, axis=0), errors)
