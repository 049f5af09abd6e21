"""What tools/analyze.py measured: one section a measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lbbt_mm.report.commands import analyze_command, recorded
from lbbt_mm.report.groups import Group, Model, Models, describe_data
from lbbt_mm.report.measured_images import (
    activation,
    landscape,
    perplexity,
    probe_grid,
    retrieval,
    separability,
)
from lbbt_mm.report.measured_weights import alignment, curvature, outliers, synthetic
from lbbt_mm.report.measured_words import word_subspace
from lbbt_mm.report.page import Section

_SURPRISES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
PARTS: dict[str, tuple[str, Callable[[Section, Models], None]]] = {
    "outliers": ("Outliers among the weights", outliers),
    "landscape": ("The loss around the weights", landscape),
    "outliers_as_released": ("Outliers, all tensors counted", outliers),
    "landscape_as_released": ("The loss around, in the authors' units", landscape),
    "separability_as_released": ("Clusters of training images", separability),
    "separability": ("How well features tell classes apart", separability),
    "activation": ("Activated neurons by block", activation),
    "alignment": ("Alignment with the data's covariance", alignment),
    "perplexity": ("What is left of the language", perplexity),
    "retrieval": ("Retrieval", retrieval),
    "curvature": ("Curvature of the loss", curvature),
    "probe_grid": ("The probe at each learning rate and weight decay", probe_grid),
    "word_subspace": ("Visual tokens among the words", word_subspace),
}
"""Measurement -> the heading of its section, and what fills it."""


def guarded(section: Section, draw: Callable[[], None], command: str = "") -> None:
    """Let ``draw`` fill a section; what it cannot draw costs one part, not the page."""
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
            seeds = [one for measured in models.values() for one in measured]
            commands += recorded(one.record for one in seeds)
        for why in group.failed.get(name, []):
            section.gap(f"{section.title}: failed", why)
        _mark_lacking(section, name, group)
    if name == "alignment":
        _synthetic_check(section, groups)
    if commands:
        section.lines(commands, folded="The commands that measured this")
    return section


def _synthetic_check(section: Section, groups: Sequence[Group]) -> None:
    found = [group.by_data("synthetic_alignment") for group in groups]
    models = next((m for kinds in found for m in kinds.values()), None)
    if models:
        start = len(section.parts)
        guarded(section, lambda: synthetic(section, models))
        section.fold(start, "Synthetic check: Gaussian inputs, one wide layer")
        return
    run = next((run for group in groups for run in group.compared_runs()), None)
    section.gap(
        "synthetic check of theorem 4.1",
        "It was not run; it takes a second.",
        analyze_command(run, "synthetic_alignment", unbridged=False),
    )


def _mark_lacking(section: Section, name: str, group: Group) -> None:
    """Mark the models of a setting that were not measured."""
    known = {model for models in group.by_data(name).values() for model in models}
    runs = list(group.compared_runs())
    commands, names = [], []
    for run in runs:
        models = [Model(run.initialisation, ""), Model(run.initialisation, run.labels)]
        missing = [m for m in models if m not in known and m.name not in names]
        if missing:
            names += [model.name for model in missing]
            commands.append(analyze_command(run, name, unbridged=models[0] in missing))
    if names:
        going = ", ".join(run.name for run in runs if not run.finished)
        section.gap(
            f"{section.title}: {'; '.join(names)} ({group.name})",
            "Not measured." + (f" {going}: still training, or stopped." * bool(going)),
            "\n".join(commands),
        )
