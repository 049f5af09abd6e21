"""What tools/analyze.py measured: one section a measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lbbt_mm.report.groups import (
    Group,
    Measured,
    Model,
    analyze_command,
    describe_data,
    first_runs,
    tidy_command,
)
from lbbt_mm.report.measured_pictures import activation, landscape, separability
from lbbt_mm.report.measured_tables import curvature, probe_grid, retrieval
from lbbt_mm.report.measured_weights import alignment, outliers, synthetic
from lbbt_mm.report.page import Section
from lbbt_mm.report.records import MeasurementRecord

_Models = Mapping[Model, list[Measured]]
_SURPRISES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def guarded(section: Section, draw: Callable[[], None], command: str = "") -> None:
    """Fill a section; files that hold something else cost one part, not the page.

    Args:
        section: Where to.
        draw: Adds to it.
        command: What measures again.
    """
    lists: tuple[list[Any], ...] = (section.parts, section.charts, section.tables)
    before = [len(kept) for kept in lists]
    try:
        draw()
    except _SURPRISES as error:
        for kept, size in zip(lists, before, strict=True):
            del kept[size:]
        section.gap(
            section.title,
            f"The files hold other numbers than docs/analysis.md says ({error!r}): "
            "measure again with this version.",
            command,
        )


def measured_section(name: str, groups: Sequence[Group], title: str = "") -> Section:
    """Lay out one measurement of all models, gaps marked.

    Args:
        name: Of the measurement, in :data:`PARTS`.
        groups: All.
        title: Another heading.
    """
    known, draw = PARTS[name]
    section = Section(name, title or known, level=3)
    commands: list[str] = []
    for group in groups:
        kinds = group.by_data(name)
        images = {describe_data(o.record.data) for o in group.measured.get(name, [])}
        if len(images) > 1:
            section.text(
                f"{group.name} was measured on {len(images)} different sets of images: "
                "each has figures of its own, and they are not to be compared.",
                "warn",
            )
        for data, models in kinds.items():
            section.heading(group.name)
            if data:
                section.text(f"Measured on {data}.", "measured")
            again = analyze_command(next(iter(models.values()))[0].run, name)
            guarded(section, lambda: draw(section, models), again)  # noqa: B023
            commands += recorded(
                one.record for seeds in models.values() for one in seeds
            )
        for why in group.failed.get(name, []):
            section.gap(f"{name}, failed", why)
        lacking(section, name, group)
    if name == "alignment":
        _synthetic_check(section, groups)
    if commands:
        section.lines(commands, folded="The commands that measured this")
    return section


def _synthetic_check(section: Section, groups: Sequence[Group]) -> None:
    found = [g.by_data("synthetic_alignment") for g in groups]
    models = next((m for kinds in found for m in kinds.values()), None)
    if models:
        section.heading("Synthetic check: Gaussian inputs, one wide layer")
        guarded(section, lambda: synthetic(section, models))
        return
    run = next((r for group in groups for r in first_runs(group)), None)
    section.gap(
        "synthetic check of theorem 4.1",
        "It was not run; it takes a second.",
        analyze_command(run, "synthetic_alignment", initial=False),
    )


def lacking(section: Section, name: str, group: Group) -> None:
    """Mark the models of a setting that were not measured."""
    known = {model for models in group.by_data(name).values() for model in models}
    commands, names = [], []
    for run in first_runs(group):
        models = [Model(run.arm, ""), Model(run.arm, run.labels)]
        missing = [m for m in models if m not in known and m.name not in names]
        if missing:
            names += [model.name for model in missing]
            commands.append(analyze_command(run, name, initial=models[0] in missing))
    going = [run.name for run in first_runs(group) if not run.finished]
    if names:
        why = "Not measured."
        why += f" {', '.join(going)}: still training, or stopped." if going else ""
        section.gap(
            f"{name} of {'; '.join(names)} ({group.name})", why, "\n".join(commands)
        )


def recorded(records: Iterable[MeasurementRecord]) -> list[str]:
    """Give the commands that measurements say they come from."""
    found = [record.provenance.get("command") for record in records]
    return [tidy_command(str(command)) for command in found if command]


PARTS: dict[str, tuple[str, Callable[[Section, _Models], None]]] = {
    "outliers": ("Outliers among the weights", outliers),
    "landscape": ("The loss around the weights", landscape),
    "separability": ("How well features tell classes apart", separability),
    "activation": ("Activated neurons by block", activation),
    "alignment": ("Alignment with the data's covariance", alignment),
    "retrieval": ("Retrieval", retrieval),
    "curvature": ("Curvature of the loss", curvature),
    "probe_grid": ("The probe at each learning rate and weight decay", probe_grid),
}
"""Measurement -> the heading of its section, and what fills it."""
