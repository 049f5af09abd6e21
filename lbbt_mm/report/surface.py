"""A surface as SVG, seen from the side (figure 4)."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from lbbt_mm.report.charts import Chart, nothing, short
from lbbt_mm.report.maps import ramp_colour

_WIDTH, _HEIGHT, _PAD = 220, 190, 6
_DEPTH, _RISE = 0.5, 0.85  # of an axis' length, as they appear


def surface_chart(
    title: str,
    steps: Sequence[float],
    surface: Sequence[Sequence[float]],
    levels: Sequence[float],
) -> Chart:
    """Draw a surface from above one of its corners.

    Args:
        title: Above the panel.
        steps: ``(G,)`` positions along either axis.
        surface: ``(G, G)`` rows along the first axis, which leads to the lower right;
            the second one leads to the upper right. Patches with a corner that is not
            finite stay empty.
        levels: Edges of the colours, rising: their ends are the lowest and the highest
            place of the panel, so that panels can be compared.

    Returns:
        The panel; dark is low.
    """
    low, high = levels[0], levels[-1]
    as_ratios = low > 0 and high / low > 10  # as the levels themselves are chosen

    def height(value: float) -> float:
        value = min(max(value, low), high)
        if as_ratios:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low) if high > low else 0.0

    half = (_WIDTH - 2 * _PAD) / 2
    top = _HEIGHT - 2 * _PAD - 2 * half * _DEPTH * 0.5
    last = max(len(steps) - 1, 1)

    def place(i: int, j: int) -> str:
        right, back = i / last, j / last
        x = _PAD + half * (right + back)
        y = _HEIGHT - _PAD - half * _DEPTH * (1 + back - right)
        y -= top * _RISE * height(surface[i][j])
        return f"{x:.0f} {y:.0f}"

    parts = []
    # From the far patches to the near ones, which hide them.
    for j in reversed(range(len(steps) - 1)):
        for i in range(len(steps) - 1):
            corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
            values = [surface[a][b] for a, b in corners]
            if not all(map(math.isfinite, values)):
                continue
            number = bisect.bisect_right(levels, sum(values) / 4) - 1
            number = min(max(number, 0), len(levels) - 2)
            d = "L".join(place(a, b) for a, b in corners)
            parts.append(
                f'<path class="patch" fill="{ramp_colour(number, levels)}" d="M{d}Z"/>'
            )
    if not parts:
        return Chart(title, "No patch of the surface is finite.", nothing())
    said = f"The loss as a surface, from {short(low)} at the bottom to {short(high)}."
    return Chart(title, said, "".join(parts), _WIDTH, _HEIGHT)
