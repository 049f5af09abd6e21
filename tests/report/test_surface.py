"""The surface of figure 4: higher is further up, near hides far, gaps stay empty."""

from __future__ import annotations

import math
import re

from lbbt_mm.report.surface import surface_chart

STEPS = [-1.0, 0.0, 1.0]
LEVELS = [0.0, 1.0, 2.0, 3.0, 4.0]


def patches(surface: list[list[float]]) -> list[list[tuple[float, float]]]:
    drawn = re.findall(r' d="M([^"]+)Z"', surface_chart("a", STEPS, surface, LEVELS)[2])
    return [
        [tuple(map(float, pair.split())) for pair in path.split("L")] for path in drawn
    ]


def test_a_flat_surface_is_a_rhombus_inside_the_panel() -> None:
    flat = patches([[0.0] * 3 for _ in range(3)])
    points = [point for patch in flat for point in patch]
    assert len(flat) == 4
    assert min(x for x, _ in points) < max(x for x, _ in points) <= 220
    assert all(0 <= y <= 190 for _, y in points)
    # The far corner is drawn first, the near one last.
    assert min(y for _, y in flat[0]) < min(y for _, y in flat[-1])


def test_a_peak_stands_above_its_place() -> None:
    peak = [[0.0] * 3 for _ in range(3)]
    peak[1][1] = 4.0
    flat = patches([[0.0] * 3 for _ in range(3)])
    centre_x, centre_y = flat[0][1]  # the corner that all four patches share
    moved = {point for patch in patches(peak) for point in patch}
    moved -= {point for patch in flat for point in patch}
    ((x, y),) = moved
    assert x == centre_x and 0 <= y < centre_y


def test_what_is_not_finite_stays_empty() -> None:
    surface = [[1.0] * 3 for _ in range(3)]
    surface[0][0] = math.nan
    assert len(patches(surface)) == 3
    surface[1][1] = math.inf
    assert "No patch" in surface_chart("a", STEPS, surface, LEVELS).description
