"""Maps: points in the colours of their classes, and surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lbbt_mm.report.chart import CLASSES, PAGE, Chart, plain

_CROSS = "#fefefe"  # white by night, too: the map's colours stay


def scatter_chart(
    title: str, points: Sequence[Sequence[float]], labels: Sequence[int], said: str
) -> Chart:
    """Draw a map of points in the colours of their classes.

    Args:
        title: Above the panel.
        points: Two numbers each.
        labels: Their classes.
        said: What it shows, in words.
    """
    few = slice(None, None, 1 + len(points) // 600)  # more would hide each other
    points, labels = points[few], labels[few]

    def draw(axes: Any) -> None:
        for label in sorted(set(labels)):
            found = [p for p, one in zip(points, labels, strict=True) if one == label]
            # A dot is a line of no length: a sixth of the size of a marker.
            axes.plot(
                *(
                    plain([v for p in found for v in (p[i], p[i], math.nan)])
                    for i in (0, 1)
                ),
                color=CLASSES[label % len(CLASSES)][0],
                lw=2.6,
                solid_capstyle=("round", "projecting")[label // len(CLASSES) % 2],
            )
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)

    return Chart(title, f"{title}. {said}", draw, (2.6, 2.6))


def surface_charts(
    title: str,
    steps: Sequence[float],
    surface: Sequence[Sequence[float]],
    levels: Sequence[float],
) -> tuple[Chart, Chart]:
    """Draw a surface as contours and seen from the side, in common colours.

    Args:
        title: Above the panels.
        steps: Along both directions.
        surface: Rows of numbers.
        levels: Edges of the colours, of all the surfaces that are compared.
    """
    rows = [plain(row) for row in surface]
    logs = levels[0] > 0 and levels[-1] / levels[0] > 10

    def contours(axes: Any) -> None:
        cmap, norm = _colours(levels)
        axes.contourf(
            *(steps, steps, rows), levels=levels, cmap=cmap, norm=norm, extend="both"
        )
        axes.plot(0, 0, "+", color=_CROSS, ms=9, mew=2)
        axes.grid(False)
        axes.set(aspect="equal")

    def side(axes: Any) -> None:
        import numpy as np

        cmap, norm = _colours(levels)
        heights, (x, y) = np.array(rows), np.meshgrid(steps, steps)
        shown, ends = (
            np.log10(part) if logs else part
            for part in (heights, levels[:: len(levels) - 1])
        )
        faces = cmap(norm(heights))
        axes.plot_surface(x, y, shown, facecolors=faces, lw=0.3, edgecolor=PAGE)
        axes.set_zlim(*ends)
        axes.view_init(28, -60)
        axes.set_axis_off()

    good = [value for row in surface for value in row if math.isfinite(value)]
    said = f"{title}. Loss {min(good):.3g} to {max(good):.3g}." if good else title
    return (
        Chart(title, said, contours, (2.6, 2.4)),
        Chart(title, f"Seen from the side: {said}", side, (2.6, 2.2), "3d"),
    )


def colour_bar(levels: Sequence[float], name: str) -> Chart:
    """Draw which colour is which number."""

    def draw(axes: Any) -> None:
        from matplotlib.cm import ScalarMappable

        cmap, norm = _colours(levels)
        axes.figure.colorbar(
            ScalarMappable(norm, cmap),
            cax=axes,
            orientation="horizontal",
            label=name,
            spacing="uniform",
            ticks=levels[::5],
            format=lambda value, _: f"{value:.3g}",
        )

    ends = f"{levels[0]:.3g} to {levels[-1]:.3g}"
    return Chart("", f"Colours of {name}: {ends}", draw, (2.6, 0.6))


def _colours(levels: Sequence[float]) -> tuple[Any, Any]:
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm

    return colormaps["cividis"], BoundaryNorm(levels, colormaps["cividis"].N)
