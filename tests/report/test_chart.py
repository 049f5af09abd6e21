"""Panels: any number can be drawn, no word of the data is markup, ids are unique."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from lbbt_mm.report.chart import Change, Chart, Series, change_chart, line_chart
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
