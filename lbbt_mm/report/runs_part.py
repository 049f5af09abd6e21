"""What was run, and the curves and probes of both arms."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lbbt_mm.report.charts import Chart, bar_chart, legend, line_chart
from lbbt_mm.report.gather import Run
from lbbt_mm.report.groups import (
    ARMS,
    Group,
    colour_of,
    shown_path,
    thousands,
    train_command,
)
from lbbt_mm.report.page import Section
from lbbt_mm.report.tables import Table, interval


def describe_runs(groups: Sequence[Group]) -> str:
    """Say in a few sentences what was run."""
    sentences = []
    for group in groups:
        runs = group.runs
        arms = " and ".join(dict.fromkeys(run.arm for run in runs if run.arm))
        labels = " and ".join(dict.fromkeys(r.labels for r in runs if r.labels))
        seeds = sorted({run.seed for run in runs if run.seed is not None})
        words = f"{group.name}: " if group.name else ""
        words += f"arms {arms or 'not named'}; {labels or 'no'} labels; "
        words += f"{len(seeds)} seed(s)" if seeds else "seed not named"
        sentences.append(words + ".")
    return " ".join(sentences)


def runs_section(groups: Sequence[Group]) -> Section:
    """Lay out every run, and what a comparison lacks.

    Args:
        groups: All.
    """
    section = Section("runs", "What was run", level=2)
    section.text(describe_runs(groups))
    if len(groups) > 1:
        section.text(
            f"These are {len(groups)} settings of different images, blocks or recipes. "
            "They are kept apart below: no figure and no column of a table mixes them."
        )
    rows = []
    for group in groups:
        for run in group.runs:
            rows.append(_row(run))
    if rows:
        section.table(
            Table(
                [
                    *("run", "arm", "labels", "images", "seed", "epochs"),
                    *("checkpoint, sha256", "commit", "machine"),
                ],
                rows,
                "Every run that was found. The checkpoint's sha256 is that which the "
                "probe or the measurement recorded, its first 12 digits.",
                words=True,
            )
        )
    else:
        section.gap(
            "runs",
            "There are measurements, but not the folders of the runs that they belong "
            "to.",
            "python tools/report.py WORK_DIR",
        )
    for group in groups:
        arms = {run.arm for run in group.runs}
        lone = next((run for run in group.runs if run.arm == "language"), None)
        if lone and "scratch" not in arms:
            section.gap(
                f"scratch arm, {group.name}",
                "Without the same architecture from scratch there is nothing to "
                "compare the language arm with.",
                train_command(lone, "scratch"),
            )
        twin = next((run for run in group.runs if run.arm == "scratch"), None)
        if twin and "language" not in arms:
            section.gap(
                f"language arm, {group.name}",
                "There is a scratch arm alone.",
                train_command(twin, "language"),
            )
    return section


def curves_section(groups: Sequence[Group]) -> Section:
    """Draw the training curves and the probes, each setting by itself.

    Args:
        groups: All.
    """
    section = Section("curves", "Curves of both arms", level=2)
    drawn = [group for group in groups if any(_has_curve(r) for r in group.runs)]
    if not drawn:
        section.gap(
            "training curves",
            "No run logged its training accuracy.",
            "python tools/train.py CONFIG",
        )
    for group in drawn:
        section.heading(group.name)
        _curves(section, group)
    for group in groups:
        if group not in drawn and any(run.probes for run in group.runs):
            section.heading(group.name)
            chart, words, _ = _probes(group)
            section.figure([chart] if chart else [], words)
    return section


def _curves(section: Section, group: Group) -> None:
    charts, lines = [], []
    kinds = dict.fromkeys(run.labels for run in group.runs if _has_curve(run))
    for labels in sorted(kinds, reverse=True):  # random before correct
        series = []
        for model, runs in group.by_model([labels]).items():
            for run in (run for run in runs if _has_curve(run)):
                epochs = sorted(run.curve.train_acc)
                values = [run.curve.train_acc[epoch] for epoch in epochs]
                series.append(model.line(epochs, values))
        chance = next((r.chance for r in group.runs if r.chance is not None), None)
        charts.append(
            line_chart(
                f"Training accuracy on {labels} labels",
                series,
                "epoch",
                "top-1 accuracy, %",
                x_whole=True,
                y_range=(0, 100),
                rule=None if chance is None else (chance, f"chance, {chance:g} %"),
            )
        )
        lines += series
    probes, words, lacking = _probes(group)
    section.figure(
        [*charts, probes] if probes else charts,
        "Training accuracy is over the batches of each epoch as they were trained, one "
        "line a seed. The paper: figures 3 and 12 show such curves of both arms, "
        f"figure 12 on CIFAR-100. {words}",
        legend(lines),
    )
    going = [run.name for run in group.runs if _has_curve(run) and not run.finished]
    if going:
        section.text(f"Not finished when this page was made: {', '.join(going)}.")
    # Rivals have labels of their own, and share one model before training.
    arms = [run for run in group.runs if run.arm in ARMS]
    lacking = [one for one in lacking if one[0] in arms]
    for labels in ("random", "correct"):
        if labels not in kinds and arms:
            run = arms[0]
            section.gap(
                f"training on {labels} labels, {group.name}",
                "No run of this setting has them.",
                _labels_command(run, labels),
            )
    for run, when, name in lacking:
        section.gap(
            f"linear probe of {name}, {run.name}",
            "It was not run.",
            _probe_command(run, when),
        )


def _labels_command(run: Run, labels: str) -> str:
    command = train_command(run)
    ratio = 1.0 if labels == "random" else 0.0
    more = " ".join(
        f"{loader}_dataloader.dataset.ratio={ratio}" for loader in ("train", "val")
    )
    joint = " " if run.options else " --cfg-options "
    return f"{command}{joint}{more} --work-dir ANOTHER"


def _probes(
    group: Group,
) -> tuple[Chart | None, str, list[tuple[Run, str, str]]]:
    """Draw the probes of a setting, say what they are, and list those not run."""
    bars, lacking = [], []
    for model, runs in group.by_model().items():
        for when in ("before", "after"):
            good = [v for v in (probe_top1(run, when) for run in runs) if v is not None]
            name = f"{model.arm}, without bridge"
            if when == "after":
                name = f"{model.arm}, after {model.labels} labels"
            if name in [bar[0] for bar in bars]:
                continue  # both trainings begin with the same model
            if not good:
                lacking.append((runs[0], when, name))
                continue
            mean = interval(good)
            ends = (mean.mean, mean.low, mean.high)
            bars.append((name, *ends, colour_of(model.arm), when == "after"))
    drawn = {bar[0] for bar in bars}
    lacking = [one for one in lacking if one[2] not in drawn and one[0].finished]
    if not bars:
        return None, "", lacking
    probe = next((p for run in group.runs for p in run.probes.values()), {})
    counts = [(probe.get("images") or {}).get(split) for split in ("train", "test")]
    of = " and ".join(thousands(n) for n in counts if n is not None)
    chance = next((r.chance for r in group.runs if r.chance is not None), None)
    chart = bar_chart(
        "Linear probe, without and after the bridge",
        bars,
        "test accuracy with true labels, %",
        None if chance is None else (chance, "chance"),
    )
    words = "Probe: the blocks are frozen, and a linear layer with true labels reads "
    words += f"them ({of} training and test images). " if of else "them. "
    words += "Dotted line: chance. Whisker: 95 % interval over seeds, or both of two."
    return chart, words, list({one[2]: one for one in lacking}.values())


def _probe_command(run: Run, when: str) -> str:
    words = ["python", "tools/linear_probe.py", shown_path(run.dumped or run.config)]
    if when == "before":
        return shlex.join([*words, "--work-dir", shown_path(run.folder)])
    out = f"{shown_path(run.folder)}/linear_probe.json"
    return shlex.join([*words, shown_path(run.folder / run.last), "--out", out])


def probe_top1(run: Run, when: str) -> float | None:
    """Read a probe's test accuracy in %, the last epoch's.

    Args:
        run: The run.
        when: ``'before'`` or ``'after'``.
    """
    probe = run.probes.get(when)
    value = probe.get("last_test_top1") if probe else run.metrics.get(f"probe_{when}")
    return float(value) if isinstance(value, (int, float)) else None


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


def _has_curve(run: Run) -> bool:
    return bool(run.curve.train_acc)


def last_train(run: Run) -> float | None:
    """Read the training accuracy of the last epoch in %."""
    curve = run.curve.train_acc
    return curve[max(curve)] if curve else run.metrics.get("train_acc")
