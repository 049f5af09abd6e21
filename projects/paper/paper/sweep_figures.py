"""Pictures of sweeps, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lbbt_mm.report.chart import (
    COLOURS,
    DASHES,
    PAGE,
    SOFT,
    Change,
    Series,
    change_chart,
    line_chart,
    panels,
    save,
    style,
)
from lbbt_mm.report.tables import interval, thousands
from lbbt_mm.runs.run import Run
from paper.choice import METRICS, Selection, select, start_of

_PROBES = ("probe_before", "probe_after")


@style()
def bridge_figure(runs: Sequence[Run], chance: float, path: Path) -> None:
    """Draw training curves, one panel a variant, and the probes below them.

    Args:
        runs: Finished runs, every seed of every initialisation and variant.
        chance: Accuracy of guessing, in %.
        path: Picture to write; its suffix decides the format.
    """
    variants = list(dict.fromkeys(run.variant for run in runs))
    starts = list(dict.fromkeys(start_of(run) for run in runs))
    changes = [
        _change(f"{start}, {variant}", start, runs, variant)
        for variant in variants
        for start in starts
    ]
    probes = change_chart(
        "Linear probe: unbridged (hollow) and bridged (full)",
        changes,
        "test accuracy with true labels, %",
    )
    height = probes.size[1] + 0.3
    figure, shown = panels([variants, ["probes"] * len(variants)], 3.4 + height)
    for variant in variants:
        members = [run for run in runs if run.variant == variant]
        _draw_curves(
            shown[variant],
            f"Bridge, {variant}: fitting random labels",
            members,
            [run.curve.train_acc for run in members],
            ("epoch", "training accuracy, %"),
            x_whole=True,
            ranges=(None, (0, 102)),
            rule=(chance, "chance"),
        )
    probes.draw(shown["probes"])
    shown["probes"].set_title(probes.title)
    save(figure, path)


def _change(name: str, start: str, runs: Sequence[Run], variant: str) -> Change:
    """Give the probe of one initialisation and variant, unbridged and bridged."""
    ends = [_mean(runs, variant, start, metric) for metric in _PROBES]
    pairs = [(end.mean, end.low, end.high) if end else None for end in ends]
    return Change(name, colour_name(start), *pairs)


def _draw_curves(
    axes: Any,
    title: str,
    runs: Sequence[Run],
    curves: Sequence[Mapping[int, float]],
    labels: tuple[str, str],
    **look: Any,
) -> None:
    """Draw a line of each run; the legend names those of the first seed."""
    first = min(run.seed for run in runs)
    series = [
        Series(
            start_of(run).partition(", ")[0] if run.seed == first else "",
            sorted(curve),
            [curve[step] for step in sorted(curve)],
            colour_name(start_of(run)),
            marker="square" if "scratch" in start_of(run) else "circle",
        )
        for run, curve in zip(runs, curves, strict=True)
    ]
    line_chart(title, series, *labels, **look).draw(axes)
    axes.set_title(title)


@style()
def variants_figure(runs: Sequence[Run], selection: Selection, path: Path) -> None:
    """Draw what each variant does to the bridge and to the probe.

    Args:
        runs: Finished runs.
        selection: How each initialisation's hyper-parameters are chosen.
        path: Picture to write.
    """
    chosen = select(runs, selection)
    variants = list(dict.fromkeys(key[0] for key in chosen))
    figure, shown = panels([["fit", "probe"]], height=1.4 + 0.42 * len(variants))
    for (variant, _, start), (_, seeds) in chosen.items():
        y = variants.index(variant) + (-0.13 if start == "language" else 0.13)
        colour = colour_of(start)
        fitted = interval([run.metrics["train_acc"] for run in seeds]).mean
        shown["fit"].plot(fitted, y, "o", color=colour, label=f"{start}, bridged")
        found = [[r.metrics[m] for r in seeds if m in r.metrics] for m in _PROBES]
        ends = [interval(values).mean for values in found if values]
        axes = shown["probe"]
        axes.plot(ends, [y] * len(ends), color=colour, lw=2.5, alpha=0.45)
        axes.plot(ends[:1], y, "o", color=colour, mfc=PAGE, label=f"{start}, unbridged")
        axes.plot(ends[1:], [y] * len(ends[1:]), "o", color=colour)
    titles = {
        "fit": ("Bridge, last epoch", "training accuracy, %"),
        "probe": ("Linear probe", "test accuracy with true labels, %"),
    }
    for name, axes in shown.items():
        title, xlabel = titles[name]
        axes.set(title=title, xlabel=xlabel, ylim=(len(variants) - 0.5, -0.5))
        axes.set_yticks(range(len(variants)), variants)
    shown["fit"].set(xlim=(0, 103))
    shown["probe"].set_yticklabels([])
    save(figure, path)


@style()
def few_labels_figure(
    runs: Sequence[Run],
    labels: Mapping[str, int],
    metrics: Mapping[str, str],
    path: Path,
) -> None:
    """Draw test accuracy against the number of labels, one panel a metric.

    Args:
        runs: Finished runs.
        labels: Variant -> its number of labels.
        metrics: Metric -> title of its panel.
        path: Picture to write.
    """
    figure, shown = panels([list(metrics)])
    starts = list(dict.fromkeys(start_of(run) for run in runs))
    for metric, title in metrics.items():
        axes, measured = shown[metric], set[int]()
        for number, start in enumerate(starts):
            means = {
                count: _mean(runs, variant, start, metric)
                for variant, count in labels.items()
            }
            line = {count: mean for count, mean in means.items() if mean}
            measured |= {*line}
            # Beside each other, so that no interval hides another.
            aside = 1.06 ** (number - (len(starts) - 1) / 2)
            dashed = "-" if "bridge" in start else "--"
            axes.errorbar(
                [count * aside for count in line],
                [value.mean for value in line.values()],
                yerr=[
                    [value.mean - value.low for value in line.values()],
                    [value.high - value.mean for value in line.values()],
                ],
                color=colour_of(start),
                ls=dashed if len(line) > 2 else "",  # two points are no curve
                marker="o" if "bridge" in start else "s",
                capsize=2,
                label=start,
            )
        axes.set(
            title=title,
            xlabel="labelled images",
            ylabel="test accuracy, %",
            xscale="log",
        )
        counts = sorted(measured)
        axes.set_xticks(counts, [thousands(count) for count in counts])
        axes.minorticks_off()
    save(figure, path)


@style()
def score_figure(
    runs: Sequence[Run],
    metric: str,
    path: Path,
    constant: float | None = None,
) -> None:
    """Draw a score of detectors or segmenters against the training, every seed a line.

    Args:
        runs: Finished runs. What stands behind a comma in an initialisation's name
            (``'MiniLM, stock layers'``) names its panel.
        metric: Of their curves.
        path: Picture to write; its suffix decides the format.
        constant: Score of an answer that never looks at an image.
    """
    groups = list(dict.fromkeys(start_of(run).partition(", ")[2] for run in runs))
    figure, shown = panels([groups])
    highest = max(max(run.curve.scores[metric].values()) for run in runs)
    for group, axes in shown.items():
        members = [run for run in runs if start_of(run).partition(", ")[2] == group]
        _draw_curves(
            axes,
            group,
            members,
            [run.curve.scores[metric] for run in members],
            ("iteration", f"{METRICS[metric]} on the validation scenes, %"),
            ranges=(None, (0, 1.1 * highest)),
            rule=(constant, "never\nlooks") if constant else None,
        )
    save(figure, path)


@style()
def questions_figure(
    runs: Sequence[Run], path: Path, constant: Mapping[str, float] | None = None
) -> None:
    """Draw accuracies by type of question, each run a dot, and the blind ones.

    Args:
        runs: Finished runs with ``qa_*`` and, of exchanged images, ``shuffled_*``.
        path: Picture to write; its suffix decides the format.
        constant: ``qa_*`` of each type's commonest answer.
    """
    kinds = [m for m in METRICS if m.partition("_")[0] == "qa"]
    kinds = [m for m in kinds if all(m in run.metrics for run in runs)]
    starts = list(dict.fromkeys(start_of(run) for run in runs))
    markers = dict(zip(starts, "osD^v", strict=False))
    figure, shown = panels([["questions"]], 4.0)
    axes = shown["questions"]
    for place, kind in enumerate(kinds):
        blind = kind.replace("qa", "shuffled", 1)
        for run in runs:
            colour, number = colour_of(start_of(run)), starts.index(start_of(run))
            x = place + 0.16 * (number - (len(starts) - 1) / 2)
            for metric, face, note in (
                (kind, colour, ""),
                (blind, "white", ", images shuffled"),
            ):
                axes.plot(
                    x,
                    run.metrics.get(metric, float("nan")),
                    markers[start_of(run)],
                    color=colour,
                    markerfacecolor=face,
                    ls="none",
                    label=f"{start_of(run)}{note}",
                )
        if constant and kind in constant:
            axes.plot(
                [place - 0.4, place + 0.4],
                [constant[kind]] * 2,
                color=SOFT,
                ls=DASHES["dot"],
                label="the type's commonest answer",
            )
    names = ["all" if kind == "qa" else METRICS[kind] for kind in kinds]
    axes.set(ylabel="right answers, %", ylim=(0, 100))
    axes.set_xticks(range(len(kinds)), names)
    axes.grid(axis="x", visible=False)
    save(figure, path)


def _mean(runs: Sequence[Run], variant: str, start: str, metric: str) -> Any:
    """Average over the seeds; ``None`` without any."""
    members = [r for r in runs if (r.variant, start_of(r)) == (variant, start)]
    found = [run.metrics[metric] for run in members if metric in run.metrics]
    return interval(found) if found else None


def colour_name(start: str) -> str:
    """Name the colour of the weights that a run starts from."""
    return "scratch" if "scratch" in start else "language"


def colour_of(start: str) -> str:
    """Choose the colour of the weights that a run starts from."""
    return COLOURS[colour_name(start)][0]
