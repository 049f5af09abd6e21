"""The whole page: what was run and measured, the paper's part, and what is missing."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from lbbt_mm.report import pictures_part, tables_part, weights_part
from lbbt_mm.report.gather import Gathered
from lbbt_mm.report.groups import (
    Group,
    Measured,
    Model,
    analyze_command,
    describe_data,
    first_runs,
    make_groups,
    tidy_command,
    train_command,
)
from lbbt_mm.report.page import (
    Section,
    bullets,
    folded,
    paragraph,
    preformatted,
    render_page,
)
from lbbt_mm.report.paper_numbers import FIGURES
from lbbt_mm.report.runs_part import curves_section, runs_section
from lbbt_mm.version import __version__

TITLE = "What a bridge did to a language model"
_Part = Callable[[Section, Group, Mapping[Model, list[Measured]]], None]
_FIGURES: dict[str, tuple[str, _Part]] = {
    "outliers": (
        "Figures 2, 10, 11 and 14: outliers among the weights",
        weights_part.outliers,
    ),
    "landscape": ("Figure 4: the loss around the weights", pictures_part.landscape),
    "separability": (
        "Figure 5: how well features tell classes apart",
        pictures_part.separability,
    ),
    "activation": ("Figure 7: activated neurons by block", pictures_part.activation),
    "alignment": (
        "Theorem 4.1: alignment with the data's covariance",
        weights_part.alignment,
    ),
}


def build_sections(found: Gathered) -> list[Section]:
    """Build every section of the page, gaps marked.

    Args:
        found: What was gathered.
    """
    groups = make_groups(found)
    sections = [
        _guarded("runs", "What was run", lambda: runs_section(groups), level=2),
        _guarded(
            "curves", "Curves of both arms", lambda: curves_section(groups), level=2
        ),
    ]
    chapter = Section("figures", "The paper's figures, ours", level=2)
    chapter.text(
        "Each part says what the paper's figure shows, in one line, and then what was "
        "measured here: other images, other models, other sizes. The colour tells the "
        "arm, the dash what it was trained on."
    )
    sections += [chapter, *(_figure(name, groups) for name in _FIGURES)]
    chapter = Section("tables", "The paper's tables, with ours beside", level=2)
    chapter.text(
        "Shaded columns quote the paper, on the paper's data and models; the others "
        "were measured here, on the data that their heads name. The two are not to be "
        "subtracted from each other."
    )
    run = next((r for g in groups for r in first_runs(g) if r.checkpoint), None)
    commands = {
        name: analyze_command(run, name)
        for name in ("probe_grid", "retrieval", "curvature")
    }
    sections.append(chapter)
    builders: dict[str, Callable[[], Section]] = {
        "3": lambda: tables_part.table_3(groups, commands["probe_grid"]),
        "4": lambda: tables_part.table_4(groups),
        "7": lambda: tables_part.table_7(groups),
        "11": lambda: tables_part.table_11(groups, commands["retrieval"]),
        "13": lambda: tables_part.table_13(groups),
        "14": lambda: tables_part.table_14(groups),
        "15": lambda: tables_part.table_15(groups, commands["curvature"]),
    }
    for number, build in builders.items():
        sections.append(_guarded(f"table-{number}", f"Table {number}", build))
    sections.append(_reproduce(found, groups))
    sections.append(_missing(found, sections))
    return sections


def build_page(
    sections: Sequence[Section],
    made: str,
    title: str = TITLE,
    introduction: Sequence[str] = (),
) -> str:
    """Lay out the page.

    Args:
        sections: Of :func:`build_sections`.
        made: When, with what and by which command it was made.
        title: Its heading.
        introduction: Paragraphs about what was run, where more is known than the
            files say.

    Returns:
        HTML that needs no other file.
    """
    gaps = sum(len(section.gaps) for section in sections)
    lead = [
        paragraph(
            "Language Bias Bridge Training (arXiv 2604.01833): blocks of a language "
            "model are trained on images whose labels are random, next to the same "
            "blocks drawn at random. This page gathers what was run and measured, "
            "beside what the paper reports."
        ),
        *map(paragraph, introduction),
        paragraph(made, "made"),
    ]
    if gaps:
        lead.append(
            f'<p><a href="#missing">{gaps} gap{"s are" if gaps > 1 else " is"} '
            f"marked</a>, each with what fills it.</p>"
        )
    return render_page(title, lead, sections)


def made_by(command: str) -> str:
    """Say when, with what and by which command a page is made.

    Args:
        command: As it was typed.
    """
    when = datetime.now().strftime("%d %B %Y, %H:%M")
    return f"Made on {when}, with lbbt_mm {__version__}, by: {command}"


_SURPRISES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def _guarded(
    name: str, title: str, build: Callable[[], Section], level: int = 3
) -> Section:
    """Build a section; files that hold something else cost one section, not the page.

    Args:
        name: Its anchor.
        title: Its heading if it cannot be built.
        build: What builds it.
        level: Of the heading.
    """
    try:
        return build()
    except _SURPRISES as error:
        section = Section(name, title, level)
        section.gap(
            title,
            f"A file below it holds something else than was expected ({error!r}): "
            "remove it, or make it again with this version.",
        )
        return section


def _figure(name: str, groups: Sequence[Group]) -> Section:
    title, draw = _FIGURES[name]
    section = Section(name, title)
    section.text(FIGURES[name], "paper")
    shown = 0
    for group in groups:
        kinds = group.by_data(name)
        images = {describe_data(o.record.data) for o in group.measured.get(name, [])}
        if len(images) > 1:
            section.text(
                f"{group.name} was measured on {len(images)} different sets of images: "
                f"each has figures of its own, and they are not to be compared.",
                "warn",
            )
        for data, models in kinds.items():
            shown += 1
            section.heading(group.name)
            if data:
                section.text(f"Measured on {data}.", "measured")
            _draw(section, draw, group, models)
            _commands(section, models)
        for why in group.failed.get(name, []):
            section.gap(f"{title.partition(':')[0].lower()}, failed", why)
        _lacking(section, name, group, kinds)
    if name == "alignment":
        for group in groups:
            models = next(iter(group.by_data("synthetic_alignment").values()), None)
            if models:
                weights_part.synthetic(section, models)
                break
        else:
            section.gap(
                "synthetic check of theorem 4.1",
                "It was not run; it takes a second.",
                analyze_command(None, "synthetic_alignment", initial=False),
            )
    if not shown and not section.gaps:
        section.gap(title, "It was not measured.", analyze_command(None, name))
    return section


def _draw(
    section: Section,
    draw: _Part,
    group: Group,
    models: Mapping[Model, list[Measured]],
) -> None:
    """Draw; a file whose numbers are not those of docs/analysis.md costs one part."""
    before = len(section.parts), len(section.charts)
    try:
        draw(section, group, models)
    except _SURPRISES as error:
        del section.parts[before[0] :], section.charts[before[1] :]
        section.gap(
            f"{section.name}, {group.name}",
            f"The files hold other numbers than docs/analysis.md says ({error!r}): "
            f"measure again with this version.",
            analyze_command(next(iter(models.values()))[0].run, section.name),
        )


def _commands(section: Section, models: Mapping[Model, list[Measured]]) -> None:
    """Fold the commands away that a figure's numbers come from."""
    commands = [
        tidy_command(str(one.record.provenance["command"]))
        for seeds in models.values()
        for one in seeds
        if one.record.provenance.get("command")
    ]
    if commands:
        text = preformatted("\n".join(dict.fromkeys(commands)))
        section.parts.append(folded("The commands that measured this", text))


def _lacking(
    section: Section,
    name: str,
    group: Group,
    kinds: Mapping[str, Mapping[Model, list[Measured]]],
) -> None:
    """Mark the models of a setting that were not measured."""
    known = {model for models in kinds.values() for model in models}
    commands, lacking = [], []
    for run in first_runs(group):
        models = [Model(run.arm, ""), Model(run.arm, run.labels)]
        missing = [m for m in models if m not in known and m.name not in lacking]
        if not missing:
            continue
        lacking += [model.name for model in missing]
        commands.append(analyze_command(run, name, initial=models[0] in missing))
    going = [run.name for run in first_runs(group) if not run.finished]
    if lacking:
        why = "Not measured."
        why += f" {', '.join(going)}: still training, or stopped." if going else ""
        section.gap(
            f"{name} of {'; '.join(lacking)} ({group.name})",
            why,
            "\n".join(commands),
        )


def _reproduce(found: Gathered, groups: Sequence[Group]) -> Section:
    section = Section("reproduce", "The commands that made this", level=2)
    if found.sweeps:
        section.heading("Sweeps")
        section.parts += [preformatted("\n".join(dict.fromkeys(found.sweeps)))]
    trainings, probes = [], []
    for group in groups:
        for run in group.runs:
            trainings.append(f"{train_command(run)}  # {run.name}")
            for probe in run.probes.values():
                if probe.get("command"):
                    probes.append(tidy_command(str(probe["command"])))
    analyses: dict[str, list[str]] = {}
    for record, _ in found.records:
        command = tidy_command(str(record.provenance.get("command") or ""))
        if command:
            analyses.setdefault(command, []).append(record.measurement)
    for title, commands in (
        ("Trainings", trainings),
        ("Linear probes", probes),
        (
            "Measurements",
            [
                f"{command}  # {', '.join(dict.fromkeys(names))}"
                for command, names in analyses.items()
            ],
        ),
    ):
        if not commands:
            continue
        text = preformatted("\n".join(dict.fromkeys(commands)))
        section.parts.append(folded(f"{title} ({len(commands)})", text))
    return section


def _joined(commands: Iterable[str]) -> list[str]:
    """Ask for all measurements of one model in one command."""
    joined: dict[str, list[str]] = {}
    for command in commands:
        start, only, measurement = command.partition(" --only ")
        joined.setdefault(start + only, []).append(measurement)
    return [start + " ".join(dict.fromkeys(names)) for start, names in joined.items()]


def _missing(found: Gathered, sections: Sequence[Section]) -> Section:
    section = Section("missing", "What is missing, and how to get it", level=2)
    items = []
    for part in sections:
        for gap in part.gaps:
            items.append(
                f'<li><a href="#{part.name}">{html.escape(gap.what)}</a>: '
                f"{html.escape(gap.why)}</li>"
            )
    commands = _joined(
        command
        for part in sections
        for gap in part.gaps
        for command in gap.command.splitlines()
    )
    if items:
        section.parts.append(f"<ul>{''.join(items)}</ul>")
        section.text("All of it, from the root of the repository:")
        section.parts.append(preformatted("\n".join(commands)))
    else:
        section.text("Nothing: every figure and table of this page has its numbers.")
    if found.problems:
        section.heading("Files that could not be read, and measurements that failed")
        section.parts.append(
            bullets(tidy_command(problem) for problem in found.problems)
        )
    return section
