"""The page as it is laid out: heads of tables, what folds away, nothing outside."""

from __future__ import annotations

import math
import re

import pytest

from lbbt_mm.report.page import Section, render_page
from lbbt_mm.report.report_page import build_page, build_sections
from lbbt_mm.report.tables import Table, number
from lbbt_mm.runs.find import gather

HEADS = ["in %", "language, unbridged", "scratch, random labels", "a" * 9 + " of long"]


@pytest.fixture(autouse=True)
def _undrawn(undrawn) -> None:
    """Nothing here looks at what is inside the panels."""


def lines_of(row: str) -> int:
    """Count the lines of a row of a head: a heading breaks at its width."""
    found = re.findall(r"min-width:(\d+)ch\">(.*?)</span>", row)
    assert all(int(width) > 0 for width, text in found if text)
    return max(math.ceil(len(text) / int(width)) for width, text in found if text)


@pytest.mark.parametrize(
    "heads", [[], [("the paper", 2), ("here: " + "x" * 30, 1)], [("the paper", 3)]]
)
def test_no_head_of_a_table_has_more_than_three_lines(heads) -> None:
    section = Section("a", "A")
    section.table(Table(HEADS, [["mAP", "1", "2", "3"]], heads=heads))
    page = render_page("t", [], [section])
    head = page[page.index("<thead>") : page.index("</thead>")]
    rows = [row for row in head.split("<tr>") if "min-width" in row]
    assert len(rows) == 1 + bool(heads)
    assert 1 <= sum(map(lines_of, rows)) <= 3
    assert "<caption>" not in page, "an empty one would leave a gap"


def test_one_screen_a_question_and_nothing_from_outside(work_dir) -> None:
    for initialisation in ("language", "scratch"):
        home = work_dir.run(initialisation=initialisation)
        for name in ("landscape", "alignment", "synthetic_alignment"):
            work_dir.measure(home, name, work_dir.results[name](1))
    page = build_page(build_sections(gather([work_dir.folder])), "")
    start = page.index('<section id="landscape"')
    landscape = page[start : page.index("</section>", start)]
    first, *folded = landscape.split("<details>")
    assert "Filter-normalised directions" in first
    assert first.count("<figure>") == 2, "a map of each model, and cuts"
    titles = [part.partition("</summary>")[0] for part in folded]
    assert titles[:2] == ["<summary>Seen from the side", "<summary>Plain directions"]
    assert "95 % interval" not in page, "of one seed there is none"
    outside = {a for a in re.findall(r"https?://[^\s\"<]+", page) if "w3.org" not in a}
    assert not outside


def test_large_and_small_numbers_are_short() -> None:
    assert number(25_252_356_685_824) == "2.53·10¹³"
    assert number(-0.00054) == "-5.40·10⁻⁴"
    assert number(24_576) == "24\u202f576"
