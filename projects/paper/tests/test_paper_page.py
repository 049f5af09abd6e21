"""The paper's numbers are quoted as they are, and ours stand beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paper import quoted
from paper.page import build_sections

from lbbt_mm.report.report_page import build_page
from lbbt_mm.runs.find import gather

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _undrawn(undrawn) -> None:
    """Nothing here looks at what is inside the panels."""


def page_of(*folders: Path) -> str:
    return build_page(build_sections(gather(list(folders))), "made by a test")


def section(page: str, name: str) -> str:
    """Cut one section out of the page, as text without tags."""
    start = page.index(f'<section id="{name}"')
    text = page[start : page.index("</section>", start)]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_every_table_and_figure_is_there(work_dir) -> None:
    work_dir.everything()
    page = page_of(work_dir.folder)
    for number in (3, 4, 7, 11, 13, 14, 15):
        assert f'id="table-{number}"' in page
    for name in quoted.FIGURES:
        assert "The paper" in section(page, name)
    assert "46.2" in section(page, "table-11") and "87.2" in section(page, "table-11")
    assert "6.75 ± 0.03" in section(page, "table-15")
    assert "63.0" in section(page, "table-3") and "80.0" in section(page, "table-14")
    assert "here: Toy-Model" in section(page, "table-14")
    # What the toy work_dir lacks: self-supervised methods, and tests of whole models.
    missing = section(page, "missing")
    assert "our table 7" in missing and "test accuracy in our table 13" in missing


def test_what_was_not_measured_is_marked(work_dir) -> None:
    work_dir.run(finished=False)
    page = page_of(work_dir.folder)
    for name in ("table-3", "table-4", "table-11", "table-15", *quoted.FIGURES):
        assert "Missing" in section(page, name), name


def test_a_strange_file_costs_one_table(work_dir, monkeypatch) -> None:
    work_dir.everything()

    def fails(*_):
        raise KeyError("rows")

    monkeypatch.setattr("paper.tables.curvature_columns", fails)
    page = page_of(work_dir.folder)
    assert "hold other numbers" in section(page, "table-15")
    assert "46.2" in section(page, "table-11")


def test_self_supervised_methods_make_table_7(work_dir) -> None:
    for initialisation, top1 in dict(lbbt=61.1, rotation=62.2, simclr=63.3).items():
        home = work_dir.run(initialisation=initialisation, probe=top1)
        cost = dict(images=40_000, steps=1250, forward_passes=2500, flops=3.5e15)
        work_dir.json(home / "cost.json", cost)
    table = section(page_of(work_dir.folder), "table-7")
    for number in ("61.1", "62.2", "63.3", "33.4", "32.2", "3.50·10¹⁵", "1250"):
        assert number in table
    assert "Missing: MAE" in table


def test_the_papers_numbers_are_quoted_as_they_are() -> None:
    tables = {
        table.number: table
        for table in vars(quoted).values()
        if isinstance(table, quoted.PaperTable)
    }
    assert set(tables) == {3, 4, 7, 11, 13, 14, 15}
    assert tables[4].data["CIFAR-100"] == {"scratch": "65.9", "language": "98.7"}
    assert tables[7].data["ImageNet-100, train"]["DINO (ViT-L/16, other recipe)"] == (
        quoted.NOT_GIVEN
    )
    assert tables[14].data["CIFAR-10"]["language, bridged"] == "82.3"
    assert tables[15].data["GPT-2, language"]["spectral gap"] == "207779.44"


def test_a_setting_that_lacks_what_another_has_is_marked(work_dir) -> None:
    measured, other = work_dir.run(), work_dir.run(seed=1, dataset="other_images")
    work_dir.measure(measured, "retrieval", {"mAP": 12.3})
    sections = build_sections(gather([work_dir.folder]))
    (table,) = (section for section in sections if section.name == "table-11")
    assert [gap.what for gap in table.gaps if "other-images" in gap.what]
    assert other.name in table.gaps[0].command and len(table.gaps) == 1
