"""Maps as SVG: points in the colours of their classes, and surfaces as contours."""

from __future__ import annotations

import html
import math
import random
from collections.abc import Sequence

from lbbt_mm.report.charts import Axis, Chart, nothing, short

CLASS_COLOURS = (  # by day
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"),
    *("#8C6D1F", "#7F7F7F"),
)
NIGHT_COLOURS = (
    *("#4AA3E8", "#F0B232", "#2FC79A", "#E08FBD", "#F0793A", "#A9DCFA"),
    *("#C9AC55", "#A8A8A8"),
)
_RAMP = (  # cividis, dark to light
    *("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678"),
    *("#a59c74", "#c3b369", "#e1cc55", "#fee838"),
)


def scatter_chart(
    title: str,
    points: Sequence[Sequence[float]],
    labels: Sequence[int],
    description: str,
    at_most: int = 400,
) -> Chart:
    """Draw a map of points, each class in its colour and shape.

    Args:
        title: Above the panel.
        points: ``(N, 2)``.
        labels: ``(N,)`` classes.
        description: What to tell a reader who does not see it.
        at_most: Points that are drawn, a random sample of them.
    """
    chosen = [
        (float(p[0]), float(p[1]), int(label))
        for p, label in zip(points, labels, strict=True)
        if math.isfinite(p[0]) and math.isfinite(p[1])
    ]
    if len(chosen) > at_most:  # not every n-th: classes may come in turns
        chosen = random.Random(0).sample(chosen, at_most)
    if not chosen:
        return Chart(title, "There is no finite point to draw.", nothing())
    side = 220
    across = Axis(min(p[0] for p in chosen), max(p[0] for p in chosen), 12, side - 12)
    up = Axis(min(p[1] for p in chosen), max(p[1] for p in chosen), side - 12, 12)
    parts = [
        f'<rect class="frame" x="1" y="1" width="{side - 2}" height="{side - 2}"/>'
    ]
    for number, label in enumerate(sorted({label for *_, label in chosen})):
        # Lines of no length, with round or square ends: a few bytes a point.
        d = "".join(
            f"M{across(x):.0f} {up(y):.0f}h0" for x, y, one in chosen if one == label
        )
        shape = "round" if number < len(CLASS_COLOURS) else "square"
        parts.append(
            f'<path class="dots k{number % len(CLASS_COLOURS)}" '
            f'stroke-linecap="{shape}" d="{d}"/>'
        )
    return Chart(title, description, "".join(parts), side, side)


def contour_chart(
    title: str,
    steps: Sequence[float],
    surface: Sequence[Sequence[float]],
    levels: Sequence[float],
) -> Chart:
    """Draw a surface as filled contours.

    Args:
        title: Above the panel.
        steps: ``(G,)`` positions along either axis.
        surface: ``(G, G)`` rows along the first axis; what is not finite stays empty.
        levels: Edges of the colours, rising, the same for panels to be compared.

    Returns:
        The panel; dark is low.
    """
    import numpy as np
    from contourpy import FillType, contour_generator

    z = np.ma.masked_invalid(np.array(surface, dtype=float))
    if z.count() == 0:
        return Chart(title, "No value of the surface is finite.", nothing())
    side, pad = 190, 24
    across = Axis(min(steps), max(steps), pad, side - 8)
    up = Axis(min(steps), max(steps), side - pad, 8)
    generator = contour_generator(
        x=list(steps), y=list(steps), z=z.T, fill_type=FillType.OuterOffset
    )
    parts = []
    for number, (low, high) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        low = -math.inf if number == 0 else low
        high = math.inf if number == len(levels) - 2 else high
        d = []
        for points, offsets in zip(*generator.filled(low, high), strict=True):
            for a, b in zip(offsets[:-1], offsets[1:], strict=True):
                pairs = [f"{across(x):.0f} {up(y):.0f}" for x, y in points[a:b]]
                d.append("M" + "L".join(dict.fromkeys(pairs)) + "Z")
        if d:
            parts.append(
                f'<path fill="{ramp_colour(number, levels)}" fill-rule="evenodd" '
                f'd="{"".join(d)}"/>'
            )
    centre = (across(0), up(0))
    parts.append(
        f'<rect class="frame" x="{pad}" y="8" width="{side - 8 - pad}" '
        f'height="{side - pad - 8}"/><path class="centre" d="M{centre[0] - 5} '
        f'{centre[1]}h10M{centre[0]} {centre[1] - 5}v10"/>'
    )
    for value in (min(steps), 0.0, max(steps)):
        parts.append(
            f'<text x="{across(value):.0f}" y="{side - pad + 14}" '
            f'text-anchor="middle">{short(value)}</text><text x="{pad - 5}" '
            f'y="{up(value) + 4:.0f}" text-anchor="end">{short(value)}</text>'
        )
    values = z.compressed()
    said = (
        f"Loss from {short(float(values.min()))} to {short(float(values.max()))} over "
        f"a square around the weights, which the cross marks."
    )
    return Chart(title, said, "".join(parts), side, side)


def ramp_colour(number: int, levels: Sequence[float]) -> str:
    """Give the colour between the levels ``number`` and ``number + 1``; dark is low."""
    return _RAMP[round(number * (len(_RAMP) - 1) / max(len(levels) - 2, 1))]


def colour_bar(levels: Sequence[float], name: str) -> str:
    """Say what the colours of :func:`contour_chart` mean, as HTML."""
    cells = []
    for number, (low, high) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        colour = ramp_colour(number, levels)
        words = f"{short(low)}–{short(high)}"
        if number == 0:
            words = f"below {short(high)}"
        elif number == len(levels) - 2:
            words = f"{short(low)} and more"
        cells.append(f'<li><i style="background:{colour}"></i>{words}</li>')
    return f'<ul class="legend" aria-label="{html.escape(name)}">{"".join(cells)}</ul>'
