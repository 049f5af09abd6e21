"""What was trained and probed: the answer, the curves, and every run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from lbbt_mm.report.chart import Change, change_chart, line_chart
from lbbt_mm.report.gather import Run
from lbbt_mm.report.groups import (
    ARMS,
    Group,
    Model,
    cell,
    colour_of,
    shown_path,
    thousands,
    train_command,
    twin_command,
    with_checkpoint,
)
from lbbt_mm.report.page import Section
from lbbt_mm.report.tables import Interval, Table, interval, note

_Pair = tuple[Interval | None, Interval | None]


def answer_section(groups: Sequence[Group]) -> Section:
    """Answer first: the probe before and after, language against scratch.

    Args:
        groups: All.
    """
    section = Section("answer", "What the bridge did")
    charts, rows = [], []
    for group in groups:
        pairs = {m: probe_pair(runs) for m, runs in group.by_model().items()}
        # Those to be compared stand together: both arms on the same labels.
        order = ["random", *dict.fromkeys(model.labels for model in pairs)]
        pairs = {
            model: pairs[model]
            for model in sorted(pairs, key=lambda model: order.index(model.labels))
            if any(pairs[model])
        }
        if sentence := _in_a_sentence(pairs):
            section.text(f"{group.name}: {sentence}", "answer")
        if pairs:
            charts.append(
                change_chart(
                    group.name,
                    [
                        Change(m.name, colour_of(m.arm), *map(_ends, pair))
                        for m, pair in pairs.items()
                    ],
                    "linear probe, test accuracy, %",
                    next((r.chance for r in group.runs if r.chance is not None), None),
                )
            )
        for model, pair in pairs.items():
            runs = group.by_model()[model]
            before, after = pair
            change = after.mean - before.mean if before and after else None
            rows.append(
                [
                    f"{group.short_name(groups)}: {model.name}",
                    cell(last_train(run) for run in runs),
                    *(
                        cell(probe_top1(run, when) for run in runs) or "not measured"
                        for when in ("before", "after")
                    ),
                    "" if change is None else f"{change:+.1f}",
                ]
            )
    if not rows:
        section.text(
            "No linear probe was found, which is what tells whether a bridge helped: "
            "the gaps below have the commands.",
            "answer",
        )
    section.figure(
        charts,
        "Linear probe: the blocks are frozen, and a linear layer with true labels "
        "reads them. Hollow: before training; full: after it; thin: the 95 % "
        "interval over seeds (of two seeds, both). Blue starts from language weights.",
    )
    if rows:
        head = ["model and its labels", "fits its labels", "probe before"]
        section.table(
            Table([*head, "probe after", "change"], rows, f"Accuracy, %.{note(rows)}"),
            folded="The numbers",
        )
    return section


def curves_section(groups: Sequence[Group]) -> Section:
    """Draw the training curves, each setting by itself.

    Args:
        groups: All.
    """
    section = Section("curves", "How training went")
    if not any(has_curve(run) for group in groups for run in group.runs):
        section.gap("training curves", "No run logged its training accuracy.")
    for group in groups:
        if any(map(has_curve, group.runs)):
            section.heading(group.name)
            _curves(section, group)
        if set(run.arm for run in group.runs) <= {*ARMS}:
            _mark_missing(section, group)
    return section


def runs_section(groups: Sequence[Group]) -> Section:
    """Lay out every run, and what a comparison lacks.

    Args:
        groups: All.
    """
    section = Section("runs", "What was run")
    for group in groups:
        arms = " and ".join(dict.fromkeys(run.arm for run in group.runs if run.arm))
        labels = " and ".join(dict.fromkeys(r.labels for r in group.runs if r.labels))
        seeds = {run.seed for run in group.runs if run.seed is not None}
        said = f"{len(seeds)} seed(s)" if seeds else "seed not named"
        words = f"{group.name}: " if group.name else ""
        section.text(
            f"{words}from {arms or 'weights that are not named'}; {labels or 'no'} "
            f"labels; {said}."
        )
    if len(groups) > 1:
        section.text(
            f"These are {len(groups)} settings of different images, blocks or recipes. "
            "They are kept apart: no figure and no column of a table mixes them."
        )
    rows = [_row(run) for group in groups for run in group.runs]
    if rows:
        section.table(
            Table(
                [
                    *("run", "starts from", "labels", "images", "seed", "epochs"),
                    *("checkpoint, sha256", "commit", "machine"),
                ],
                rows,
                "The checkpoint's sha256 is that which the probe or the measurement "
                "recorded, its first 12 digits.",
                words=True,
            ),
            folded=f"Every run: checkpoints, commits, machines ({len(rows)})",
        )
    else:
        section.gap(
            "runs",
            "There are measurements, but not the folders of the runs that they belong "
            "to: give those to tools/report.py as well.",
        )
    for group in groups:
        by_arm = {run.arm: run for run in group.runs}
        for arm, other in (ARMS, ARMS[::-1]):
            if set(by_arm) == {arm}:
                section.gap(
                    f"{other} arm, {group.name}",
                    f"There is nothing to compare {arm} with.",
                    twin_command(by_arm[arm], other),
                )
    return section


def probe_top1(run: Run, when: str) -> float | None:
    """Read a probe's test accuracy in %, the last epoch's.

    Args:
        run: The run.
        when: ``'before'`` or ``'after'``.
    """
    probe = run.probes.get(when)
    value = probe.get("last_test_top1") if probe else run.metrics.get(f"probe_{when}")
    return float(value) if isinstance(value, (int, float)) else None


def probe_pair(runs: Sequence[Run]) -> _Pair:
    """Average the probes before and after over seeds."""
    found = []
    for when in ("before", "after"):
        good = [v for v in (probe_top1(run, when) for run in runs) if v is not None]
        found.append(interval(good) if good else None)
    return found[0], found[1]


def last_train(run: Run) -> float | None:
    """Read the training accuracy of the last epoch in %, of a finished run."""
    curve = run.curve.train_acc
    if not run.finished:
        return None
    return curve[max(curve)] if curve else run.metrics.get("train_acc")


def has_curve(run: Run) -> bool:
    """Whether it logged a training accuracy."""
    return bool(run.curve.train_acc)


def _ends(mean: Interval | None) -> tuple[float, float, float] | None:
    return (mean.mean, mean.low, mean.high) if mean else None


def _in_a_sentence(pairs: Mapping[Model, _Pair]) -> str:
    """Compare both arms after random labels, or say what came of the only one."""
    words = []
    for arm in ARMS:
        before, after = pairs.get(Model(arm, "random"), (None, None))
        if after:
            name = "from scratch" if arm == "scratch" else "with language weights"
            start = f"goes from {before.mean:.1f} to " if before else "is at "
            words.append(f"{start}{after.mean:.1f} % {name}")
    others = any(model.arm not in ARMS for model in pairs)
    if not words or (others and len(words) < 2):
        return ""
    return f"after random labels the probe {' and '.join(words)}."


def _curves(section: Section, group: Group) -> None:
    charts, lines = [], []
    kinds = dict.fromkeys(run.labels for run in group.runs if has_curve(run))
    chance = next((r.chance for r in group.runs if r.chance is not None), None)
    for labels in sorted(kinds, reverse=True):  # random before correct
        series = []
        for model, runs in group.by_model([labels]).items():
            for run in filter(has_curve, runs):
                epochs = sorted(run.curve.train_acc)
                values = [run.curve.train_acc[epoch] for epoch in epochs]
                series.append(model.line(epochs, values))
        charts.append(
            line_chart(
                f"Training accuracy on {labels} labels",
                series,
                "epoch",
                "top-1 accuracy, %",
                x_whole=True,
                ranges=(None, (0, 102)),
                rule=None if chance is None else (chance, "chance"),
            )
        )
        lines += series
    section.figure(
        charts,
        "Over the batches of each epoch as they were trained; one line a seed.",
        lines,
    )
    going = [run.name for run in group.runs if has_curve(run) and not run.finished]
    if going:
        section.text(f"Not finished when this page was made: {', '.join(going)}.")


def _mark_missing(section: Section, group: Group) -> None:
    """Mark labels that no run has, and probes that were not run."""
    arms = [run for run in group.runs if run.arm in ARMS]
    curved = {run.labels for run in arms if has_curve(run)}
    for labels, ratio in (("random", 1.0), ("correct", 0.0)):
        if curved and labels not in curved:
            loaders = ("train", "val")
            keys = [f"{name}_dataloader.dataset.ratio={ratio}" for name in loaders]
            name = f"{arms[0].folder.name}_{labels}"
            section.gap(
                f"training on {labels} labels, {group.name}",
                "No run of this setting has them.",
                train_command(arms[0], *keys, folder=name),
            )
    begun = set()
    for model, runs in group.by_model().items():
        before, after = probe_pair(runs)
        begun |= {model.arm} if before else set()
        done = next((run for run in runs if run.finished), None)
        if done and not after:
            _probe_gap(section, done, "after", f"after {model.labels} labels")
    for arm in dict.fromkeys(run.arm for run in arms):
        done = next((run for run in arms if run.arm == arm and run.finished), None)
        if done and arm not in begun:
            _probe_gap(section, done, "before", "before training")


def _probe_gap(section: Section, run: Run, when: str, words: str) -> None:
    command = ["python", "tools/linear_probe.py", shown_path(run.dumped or run.config)]
    if when == "after":
        command += [shown_path(run.folder / run.last)]
    command += ["--out", f"{shown_path(run.folder)}/linear_probe_{when}.json"]
    after = when == "after"
    section.gap(
        f"linear probe of {run.arm}, {words}, {run.name}",
        "It was not run.",
        with_checkpoint(run, command) if after else shlex.join(command),
    )


def _row(run: Run) -> list[str]:
    epochs = str(max(run.curve.train_acc, default="")) if run.curve.train_acc else ""
    epochs += "" if run.finished else " so far"
    environment = {**run.environment}
    for probe in run.probes.values():
        for source in (probe.get("machine"), probe.get("versions")):
            for key, value in (source or {}).items():
                environment.setdefault(key, value)
    machine = [str(environment[k]) for k in ("device",) if environment.get(k)]
    if environment.get("cpus"):
        machine.append(f"{environment['cpus']} cores")
    checkpoint = run.checkpoint or ""
    if run.sha256:
        checkpoint += f" {run.sha256[:12]}"
    name = " ".join([run.name, *(f"{k}={v:g}" for k, v in run.point.items())])
    return [
        name,
        run.arm,
        run.labels,
        run.dataset + (f", {thousands(run.images)}" if run.images else ""),
        "" if run.seed is None else str(run.seed),
        epochs,
        checkpoint.strip() or "not recorded",
        str(environment.get("commit") or "not recorded"),
        ", ".join(machine) or "not recorded",
    ]
