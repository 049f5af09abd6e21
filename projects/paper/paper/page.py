"""The page of runs beside the paper: its figures' parts remarked on, and its tables."""

from __future__ import annotations

from collections.abc import Sequence

from lbbt_mm.report.groups import Group, make_groups
from lbbt_mm.report.measured import guarded, measured_section
from lbbt_mm.report.page import Section
from lbbt_mm.report.report_page import closing_sections
from lbbt_mm.report.trained import answer_section, curves_section, runs_section
from lbbt_mm.runs.find import Gathered
from paper import tables
from paper.quoted import FIGURES

TITLE = "Language bias bridge training: ours beside the paper's"
LEAD = (
    "Language Bias Bridge Training (arXiv 2604.01833): blocks of a language model are "
    "trained on images whose labels are random, next to the same blocks drawn at "
    "random. Ours are other images, other models and other sizes than the paper's."
)
TABLES = (
    *(tables.table_3, tables.table_4, tables.table_7, tables.table_11),
    *(tables.table_13, tables.table_14, tables.table_15),
)


def build_sections(found: Gathered) -> list[Section]:
    """Build every section of the page, gaps marked."""
    groups = make_groups(found)
    sections = [answer_section(groups), curves_section(groups)]
    chapter = Section("figures", "The paper's figures, ours")
    chapter.text(
        "Each part says what the paper's figure shows, in one line, and then what was "
        "measured here. The colour tells what a model starts from, the dash what it "
        "was trained on; dots are unbridged models."
    )
    sections += [chapter, *(_figure(name, groups) for name in FIGURES)]
    chapter = Section("tables", "The paper's tables, with ours beside")
    chapter.text(
        "Shaded columns quote the paper, on the paper's data and models; the others "
        "were measured here. The two are not to be subtracted from each other."
    )
    sections.append(chapter)
    for build in TABLES:
        sections.append(_table(build, groups))
    sections.append(runs_section(groups))
    return [*sections, *closing_sections(found, groups, sections)]


def _figure(name: str, groups: Sequence[Group]) -> Section:
    title, remark = FIGURES[name]
    section = measured_section(name, groups, title)
    section.parts.insert(0, dict(kind="text", words=remark, look="paper"))
    if not any(name in {*g.measured, *g.failed} for g in groups):
        section.gap(title, "It was not measured.")
    return section


def _table(build, groups: Sequence[Group]) -> Section:
    number = build.__name__.partition("_")[2]
    built: list[Section] = []
    section = Section(f"table-{number}", f"Table {number}", level=3)
    guarded(section, lambda: built.append(build(groups)))
    return built[0] if built else section
