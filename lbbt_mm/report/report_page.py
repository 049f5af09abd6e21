"""The page of any work folders: the answer, what was run and measured, what is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from lbbt_mm.report.commands import recorded, tidy_command, train_command
from lbbt_mm.report.groups import Group, make_groups
from lbbt_mm.report.measured import PARTS, measured_section
from lbbt_mm.report.page import Section, render_page
from lbbt_mm.report.trained import answer_section, curves_section, runs_section
from lbbt_mm.runs.find import Gathered
from lbbt_mm.version import __version__

TITLE = "What a bridge did to a language model"
_LEAD = (
    "Blocks of a language model are trained on images whose labels are random, next to "
    "the same blocks drawn at random. A linear probe tells what the unbridged and the "
    "bridged features are worth."
)


def build_sections(found: Gathered) -> list[Section]:
    """Build every section of the page, gaps marked."""
    groups = make_groups(found)
    sections = [answer_section(groups), curves_section(groups)]
    names = [n for n in PARTS if any(n in {*g.measured, *g.failed} for g in groups)]
    if names:
        chapter = Section("measured", "What was measured")
        chapter.text(
            "The colour tells what a model starts from, the dash what it was trained "
            "on; dots are unbridged models."
        )
        sections += [chapter, *(measured_section(name, groups) for name in names)]
    sections.append(runs_section(groups))
    return [*sections, *closing_sections(found, groups, sections)]


def closing_sections(
    found: Gathered, groups: Sequence[Group], sections: Sequence[Section]
) -> list[Section]:
    """Build the commands, and what is missing in the other sections."""
    return [_reproduce(found, groups), _missing(found, sections)]


def build_page(
    sections: Sequence[Section],
    made: str,
    title: str = TITLE,
    introduction: Sequence[str] = (_LEAD,),
) -> str:
    """Lay out the page.

    Args:
        sections: Of :func:`build_sections`.
        made: When, with what and by which command it was made.
        title: Its heading.
        introduction: Paragraphs below it.

    Returns:
        HTML that needs no other file.
    """
    foot = Section("made", "How this page was made")
    foot.text(made, "made")
    return render_page(title, introduction, [*sections, foot])


def made_by(command: str) -> str:
    """Say when, with what and by which command, as it was typed, a page is made."""
    when = datetime.now().strftime("%d %B %Y, %H:%M")
    return f"Made on {when}, with lbbt_mm {__version__}, by: {command}"


def _reproduce(found: Gathered, groups: Sequence[Group]) -> Section:
    section = Section("reproduce", "The commands that made this")
    if found.sweeps:
        section.bullets(found.sweeps, folded=f"Plans of sweeps ({len(found.sweeps)})")
    runs = [run for group in groups for run in group.runs]
    probes = [probe.get("command") for run in runs for probe in run.probes.values()]
    analyses = recorded(record for record, _ in found.records)
    for title, commands in (
        (
            "Trainings",
            [f"{made}  # {run.name}" for run in runs if (made := train_command(run))],
        ),
        ("Linear probes", [tidy_command(str(one)) for one in probes if one]),
        ("Measurements", analyses),
    ):
        once = list(dict.fromkeys(commands))
        if once:
            section.lines(once, folded=f"{title} ({len(once)})")
    return section


def _joined(commands: Iterable[str]) -> list[str]:
    """Ask for all measurements of one model in one command."""
    joined: dict[str, list[str]] = {}
    for command in commands:
        start, only, measurement = command.partition(" --only ")
        joined.setdefault(start + only, []).append(measurement)
    return [start + " ".join(dict.fromkeys(names)) for start, names in joined.items()]


def _missing(found: Gathered, sections: Sequence[Section]) -> Section:
    section = Section("missing", "What is missing, and how to get it")
    gaps = [gap for part in sections for gap in part.gaps]
    if gaps:
        section.bullets(
            [f"{gap.what}: {gap.why}" for gap in gaps], folded=f"{len(gaps)} gaps"
        )
    commands = _joined(line for gap in gaps for line in gap.command.splitlines())
    if commands:
        section.lines(commands, folded="Commands, from the root of the repository")
    if not gaps:
        section.text("Nothing that this page asks for.")
    if found.problems:
        section.heading("Files that could not be read, and measurements that failed")
        section.bullets([tidy_command(problem) for problem in found.problems])
    return section
