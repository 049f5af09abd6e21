"""Panels: any number can be drawn, no word of the data is markup, ids are unique."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest

from lbbt_mm.report.chart import (
    Change,
    Chart,
    Series,
    change_chart,
    line_chart,
    style,
)
from lbbt_mm.report.maps import colour_bar, scatter_chart, surface_charts

NASTY = "<script>alert(1)</script> $x_{1$ & \"'"
NUMBERS = [[], [0.0], [1.0, 1.0], [-1, 0, 1], [1e-320, 1e308], [math.nan, math.inf]]
NUMBERS += [[1, math.nan, 3], [-1e308, 1e308], [10**300, 2]]


def charts(ys: list[float]) -> list[Chart]:
    line = Series(NASTY, list(range(len(ys))), ys, "language", "dash", "open")
    rows = [[y] * max(len(ys), 2) for y in (ys or [0.0, 1.0])] * 2
    rows = [row[: len(rows)] for row in rows if len(row) >= len(rows)] or [[0, 1]] * 2
    steps = list(range(len(rows)))
    levels = [float(i) for i in range(11)]
    pair = (ys[0], ys[0], ys[-1]) if ys else None
    return [
        *(line_chart(NASTY, [line], NASTY, "y", logs=logs) for logs in ("", "xy")),
        line_chart("a", [line], "x", "y", x_whole=True, rule=(10.0, "chance")),
        change_chart(NASTY, [Change(NASTY, "scratch", pair, None)], "x", 10.0),
        scatter_chart(NASTY, [[y, y] for y in ys], [7] * len(ys), NASTY),
        *surface_charts("s", steps, rows, levels),
        colour_bar(levels, "loss"),
    ]


@pytest.mark.parametrize("ys", NUMBERS, ids=lambda ys: str(ys)[:20])
def test_any_number_can_be_drawn(ys) -> None:
    for number, chart in enumerate(charts(ys)):
        text = chart.to_file()
        assert ET.fromstring(text.encode()).tag.endswith("svg")
        assert "<script" not in text
        inline = chart.inline(f"part-{number}")
        assert ET.fromstring(inline).tag.endswith("svg") and "#0072b2" not in inline


def test_panels_share_a_page() -> None:
    """No id twice, the colours are the page's, and labels keep their digits."""
    line = Series("a", [1, 2], [0.0125, 0.0375], "language")
    chart = line_chart("a", [line], "x", "share > 0.5: a; b", rule=(0.02, "chance"))
    first, second = chart.inline("one"), chart.inline("two")
    ids = [re.findall(r' id="([^"]+)"', text) for text in (first, second)]
    assert ids[0] and not set(ids[0]) & set(ids[1])
    assert "var(--language)" in first and "share &gt; 0.5: a; b" in first
    assert ">0.0" in first and ">0.015<" in first.replace("0.0150", "0.015")
    assert chart.inline("one") == first
    assert "chance" in first and "0.0125 to 0.0375" in chart.alt


def test_a_line_stays_in_its_frame() -> None:
    line = Series("a", [0, 1, 2], [1.0, 1e-30, 1.0])
    chart = line_chart("a", [line], "x", "y", logs="y", ranges=(None, (1e-8, 2)))
    assert "clip-path" in chart.inline("a")


LONG = [
    Change(f"{start}, random labels", start, (72.5, 70, 75), (9.4, 9, 9.8))
    for start in ("language", "scratch")
]
FRAMED = {
    "change": change_chart("a", LONG, "linear probe, test accuracy, %", 10.0),
    "lines": line_chart(
        "a",
        [Series("a", [1, 2, 3], [1e-9, 1e-5, 3.0], marker="circle")],
        "eigenvalue of the data",
        "share of the eigenvalues per unit",
        logs="y",
        rule=(1e-4, "chance"),
    ),
    "bar": colour_bar([i / 3 for i in range(11)], "loss"),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMED)
def test_words_stay_in_their_frame_and_off_each_other(name: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        figure = FRAMED[name].empty_figure()
        canvas, (axes,) = FigureCanvasAgg(figure), figure.axes
        FRAMED[name].draw(axes)
        canvas.draw()
    words = [*axes.texts, axes.xaxis.label, axes.yaxis.label]
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
        words += [tick.label1 for tick in ticks]
    boxes = {w.get_text(): w.get_window_extent() for w in words if w.get_text()}
    assert len(boxes) > 3
    width, height = canvas.get_width_height()
    for text, box in boxes.items():
        assert -1 < box.x0 and box.x1 < width + 1, text
        assert -1 < box.y0 and box.y1 < height + 1, text
    for (text, box), (other, its) in itertools.combinations(boxes.items(), 2):
        apart = box.x1 <= its.x0 or its.x1 <= box.x0
        assert apart or box.y1 <= its.y0 or its.y1 <= box.y0, (text, other)


def test_two_points_are_no_curve() -> None:
    with style():
        for count, drawn in ((2, "None"), (3, "-")):
            line = Series("a", range(count), range(count), marker="circle")
            figure = (chart := line_chart("a", [line], "x", "y")).empty_figure()
            chart.draw(figure.axes[0])
            assert figure.axes[0].lines[0].get_linestyle() == drawn
