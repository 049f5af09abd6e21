"""What was trained and probed: the answer, the curves, and every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lbbt_mm.report.chart import Change, change_chart, line_chart
from lbbt_mm.report.commands import probe_command, train_command, twin_command
from lbbt_mm.report.groups import INITIALISATIONS, Group, Model, colour_of
from lbbt_mm.report.page import Section
from lbbt_mm.report.tables import Interval, Table, cell, interval, note, thousands
from lbbt_mm.runs.run import Run

_Pair = tuple[Interval | None, Interval | None]
_PROBES = ("unbridged", "bridged")


def answer_section(groups: Sequence[Group]) -> Section:
    """Answer first: both probes, language against scratch."""
    section = Section("answer", "What the bridge did")
    charts, rows, ends = [], [], []
    for group in groups:
        models = group.by_model()
        pairs = {model: _probe_pair(runs) for model, runs in models.items()}
        # Those to be compared stand together: both initialisations on the same labels.
        order = ["random", *dict.fromkeys(model.labels for model in pairs)]
        pairs = {
            model: pairs[model]
            for model in sorted(pairs, key=lambda model: order.index(model.labels))
            if any(pairs[model])
        }
        if sentence := _in_a_sentence(pairs):
            section.text(f"{group.name}: {sentence}", "answer")
        if pairs:
            changes = [
                Change(m.name, colour_of(m.initialisation), *map(_ends, pair))
                for m, pair in pairs.items()
            ]
            ends += [(one.before, one.after) for one in changes]
            words = "linear probe, test accuracy, %"
            charts.append(change_chart(group.name, changes, words, group.chance))
        for model, (before, after) in pairs.items():
            runs = models[model]
            probes = [cell(run.probe(when) for run in runs) for when in _PROBES]
            change = f"{after.mean - before.mean:+.1f}" if before and after else ""
            rows.append(
                [
                    f"{group.short_name(groups)}: {model.name}",
                    cell(run.last_train for run in runs),
                    *(probe or "not measured" for probe in probes),
                    change,
                ]
            )
    if not rows:
        section.text(
            "No linear probe was found, which is what tells whether a bridge helped: "
            "the gaps below have the commands.",
            "answer",
        )
    several = any(end and end[1] < end[2] for one in ends for end in one)
    section.figure(
        charts,
        "Linear probe: the blocks are frozen, and a linear layer with true labels "
        "reads them. Hollow: unbridged; full: after training"
        + ("; thin: the 95 % interval over seeds (of two seeds, both)" * several)
        + ". Blue starts from language weights.",
        size="" if len(charts) > 1 else "wide",
    )
    if rows:
        head = ["model and its labels", "fits its labels"]
        head += [*(f"probe, {when}" for when in _PROBES), "change"]
        table = Table(head, rows, f"Accuracy, %.{note(rows)}")
        section.table(table, folded="The numbers")
    return section


def _probe_pair(runs: Sequence[Run]) -> _Pair:
    found = []
    for when in _PROBES:
        good = [v for v in (run.probe(when) for run in runs) if v is not None]
        found.append(interval(good) if good else None)
    return found[0], found[1]


def _ends(mean: Interval | None) -> tuple[float, float, float] | None:
    return (mean.mean, mean.low, mean.high) if mean else None


def _in_a_sentence(pairs: Mapping[Model, _Pair]) -> str:
    """Compare both initialisations after random labels, or name the only one."""
    words = []
    for start, name in zip(
        INITIALISATIONS, ("with language weights", "from scratch"), strict=True
    ):
        before, after = pairs.get(Model(start, "random"), (None, None))
        if after:
            said = f"goes from {before} to " if before else "is at "
            words.append(f"{said}{after} % {name}")
    others = any(model.initialisation not in INITIALISATIONS for model in pairs)
    if not words or (others and len(words) < 2):
        return ""
    return f"after random labels the probe {' and '.join(words)}."


def curves_section(groups: Sequence[Group]) -> Section:
    """Draw the training curves, each setting by itself."""
    section = Section("curves", "How training went")
    if not any(run.curve.train_acc for group in groups for run in group.runs):
        section.gap("training curves", "No run logged its training accuracy.")
    for group in groups:
        curved = [run for run in group.runs if run.curve.train_acc]
        if curved:
            section.heading(group.name)
            _curves(section, group, curved)
        if {run.initialisation for run in group.runs} <= {*INITIALISATIONS}:
            _mark_missing(section, group)
    return section


def _curves(section: Section, group: Group, curved: Sequence[Run]) -> None:
    charts, lines = [], []
    for labels in sorted({run.labels for run in curved}):  # random before true
        series = []
        for model, runs in group.by_model([labels]).items():
            for curve in (run.curve.train_acc for run in runs if run.curve.train_acc):
                epochs = sorted(curve)
                series.append(model.line(epochs, [curve[epoch] for epoch in epochs]))
        charts.append(
            line_chart(
                f"Training accuracy on {labels} labels",
                series,
                "epoch",
                "top-1 accuracy, %",
                x_whole=True,
                ranges=(None, (0, 102)),
                rule=None if group.chance is None else (group.chance, "chance"),
            )
        )
        lines += series
    words = "Over the batches of each epoch as they were trained; one line a seed."
    section.figure(charts, words, lines)
    going = [run.name for run in curved if not run.finished]
    if going:
        section.text(f"Not finished when this page was made: {', '.join(going)}.")


def _mark_missing(section: Section, group: Group) -> None:
    """Mark labels that no run has, and probes that were not run."""
    curved = {run.labels for run in group.runs if run.curve.train_acc}
    for labels, ratio in (("random", 1.0), ("true", 0.0)):
        if curved and labels not in curved:
            first = group.runs[0]
            loaders = ("train", "val")
            keys = [f"{name}_dataloader.dataset.ratio={ratio}" for name in loaders]
            name = f"{first.folder.name}_{labels}"
            section.gap(
                f"training on {labels} labels, {group.name}",
                "No run of this setting has them.",
                train_command(first, *keys, folder=name),
            )
    wanted: dict[str, list[tuple[str, Sequence[Run]]]] = {}
    for model, runs in group.by_model().items():
        wanted.setdefault("bridged", []).append((f"after {model.labels} labels", runs))
    for start in dict.fromkeys(run.initialisation for run in group.runs):
        same = [run for run in group.runs if run.initialisation == start]
        wanted.setdefault("unbridged", []).append(("unbridged", same))
    for when, found in wanted.items():
        for words, several in found:
            run = next((run for run in several if run.finished), None)
            if run and all(one.probe(when) is None for one in several):
                what = f"linear probe of {run.initialisation}, {words}, {run.name}"
                section.gap(what, "It was not run.", probe_command(run, when))


def _listed(words: Iterable[str]) -> str:
    """Join words as a sentence does: a, b and c."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def runs_section(groups: Sequence[Group]) -> Section:
    """Lay out every run, and what a comparison lacks."""
    section = Section("runs", "What was run")
    for group in groups:
        starts = dict.fromkeys(r.initialisation for r in group.runs if r.initialisation)
        labels = dict.fromkeys(run.labels for run in group.runs if run.labels)
        seeds = {run.seed for run in group.runs if run.seed is not None}
        said = {0: "seed not named", 1: "one seed"}.get(
            len(seeds), f"{len(seeds)} seeds"
        )
        words = f"{group.name}: " if group.name else ""
        section.text(
            f"{words}from {_listed(starts) or 'weights that are not named'}; "
            f"{_listed(labels) or 'no'} labels; {said}."
        )
    if len(groups) > 1:
        section.text(
            f"These are {len(groups)} settings of different images, blocks or recipes. "
            "They are kept apart: no figure and no column of a table mixes them."
        )
    rows = [_row(run) for group in groups for run in group.runs]
    if rows:
        head = ["run", "starts from", "labels", "images", "seed", "epochs"]
        head += ["checkpoint, sha256", "commit", "machine"]
        caption = (
            "The checkpoint's sha256 is that which the probe or the measurement "
            "recorded, its first 12 digits."
        )
        section.table(
            Table(head, rows, caption, words=True),
            folded=f"Every run: checkpoints, commits, machines ({len(rows)})",
        )
    else:
        section.gap(
            "runs",
            "There are measurements, but not the folders of the runs that they belong "
            "to: give those to tools/report.py as well.",
        )
    for group in groups:
        by_start = {run.initialisation: run for run in group.runs}
        for start, other in (INITIALISATIONS, INITIALISATIONS[::-1]):
            if set(by_start) == {start}:
                section.gap(
                    f"{other} initialisation, {group.name}",
                    f"There is nothing to compare {start} with.",
                    twin_command(by_start[start], other),
                )
    return section


def _row(run: Run) -> list[str]:
    epochs = str(max(run.curve.train_acc, default=""))
    environment = {**run.environment}
    for probe in run.probes.values():
        for source in (probe.get("machine"), probe.get("versions")):
            environment = {**(source or {}), **environment}
    machine = [str(environment["device"])] if environment.get("device") else []
    if environment.get("cpus"):
        machine.append(f"{environment['cpus']} cores")
    checkpoint = f"{run.checkpoint or ''} {(run.sha256 or '')[:12]}".strip()
    return [
        " ".join([run.name, *(f"{k}={v:g}" for k, v in run.point.items())]),
        run.initialisation,
        run.labels,
        run.dataset + (f", {thousands(run.images)}" if run.images else ""),
        "" if run.seed is None else str(run.seed),
        epochs + ("" if run.finished else " so far"),
        checkpoint or "not recorded",
        str(environment.get("commit") or "not recorded"),
        ", ".join(machine) or "not recorded",
    ]
