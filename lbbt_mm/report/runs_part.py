"""What was run, and the curves and probes of both arms."""

from __future__ import annotations

from collections.abc import Sequence

from lbbt_mm.report.charts import bar_chart, legend, line_chart
from lbbt_mm.report.gather import Run
from lbbt_mm.report.groups import (
    Group,
    cell,
    colour_of,
    shown_path,
    thousands,
    train_command,
)
from lbbt_mm.report.page import Section
from lbbt_mm.report.sweep import interval
from lbbt_mm.report.tables import Table


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
        _probes(section, group)
    for group in groups:
        if group not in drawn and any(run.probes for run in group.runs):
            section.heading(group.name)
            _probes(section, group)
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
    section.figure(
        charts,
        "Over the batches of each epoch as they were trained, one line a seed. Paper: "
        "figures 3 and 12 show these curves for GPT-2-medium on CIFAR and ImageNet-1K.",
        legend(lines),
    )
    going = [run.name for run in group.runs if _has_curve(run) and not run.finished]
    if going:
        section.text(f"Not finished when this page was made: {', '.join(going)}.")
    for labels in ("random", "correct"):
        if labels not in kinds and group.runs:
            run = group.runs[0]
            section.gap(
                f"training on {labels} labels, {group.name}",
                "No run of this setting has them.",
                _labels_command(run, labels),
            )


def _labels_command(run: Run, labels: str) -> str:
    command = train_command(run)
    ratio = 1.0 if labels == "random" else 0.0
    more = " ".join(
        f"{loader}_dataloader.dataset.ratio={ratio}" for loader in ("train", "val")
    )
    joint = " " if run.options else " --cfg-options "
    return f"{command}{joint}{more} --work-dir ANOTHER"


def _probes(section: Section, group: Group) -> None:
    bars, lacking = [], []
    for model, runs in group.by_model().items():
        for when, words in (("before", "without bridge"), ("after", "after")):
            values = [probe_top1(run, when) for run in runs]
            good = [value for value in values if value is not None]
            if not good:
                if when == "after" or not any(
                    probe_top1(r, "before") is not None
                    for r in group.runs
                    if r.arm == model.arm
                ):
                    lacking.append((runs[0], when, f"{model.arm}, {words}"))
                continue
            name = f"{model.arm}, {words}"
            name += f" {model.labels} labels" if when == "after" else ""
            if name in [bar[0] for bar in bars]:
                continue
            mean = interval(good)
            colour = colour_of(model.arm)
            bars.append((name, mean.mean, mean.low, mean.high, colour, when == "after"))
    if bars:
        chance = next((r.chance for r in group.runs if r.chance is not None), None)
        probe = next(p for run in group.runs for p in run.probes.values())
        images = probe.get("images", {})
        counts = [images.get("train"), images.get("test")]
        of = " and ".join(thousands(n) for n in counts if n is not None)
        section.figure(
            [
                bar_chart(
                    "Linear probe, without and after the bridge",
                    bars,
                    "test accuracy with true labels, %",
                    None if chance is None else (chance, "chance"),
                )
            ],
            "The blocks are frozen; a linear layer with true labels reads them"
            + (f" ({of} training and test images)" if of else "")
            + ". Dotted line: chance. Whisker: interval over seeds, where there are "
            "several.",
        )
    for run, when, words in lacking:
        checkpoint = shown_path(run.folder / (run.checkpoint or "CHECKPOINT"))
        config = shown_path(run.dumped or run.config)
        out = shown_path(run.folder / "linear_probe.json")
        command = f"python tools/linear_probe.py {config}"
        command += (
            f" {checkpoint} --out {out}"
            if when == "after"
            else (f" --work-dir {shown_path(run.folder)}")
        )
        section.gap(f"linear probe of {words}, {run.name}", "It was not run.", command)


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


__all__ = [
    "cell",
    "curves_section",
    "describe_runs",
    "last_train",
    "probe_top1",
    "runs_section",
]
