"""Pictures of sweeps, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lbbt_mm.files import write_whole
from lbbt_mm.report.chart import (
    COLOURS,
    SOFT,
    Series,
    chance_line,
    line_chart,
    panels,
    style,
)
from lbbt_mm.report.tables import interval
from lbbt_mm.runs.run import Run
from paper.choice import METRICS, Selection, select, start_of

_BARS = {"probe_before": "unbridged", "probe_after": "bridged"}


@style()
def bridge_figure(runs: Sequence[Run], chance: float, path: Path) -> None:
    """Draw training curves, one panel a variant, and the probes beside them.

    Args:
        runs: Finished runs, every seed of every initialisation and variant.
        chance: Accuracy of guessing, in %.
        path: Picture to write; its suffix decides the format.
    """
    variants = list(dict.fromkeys(run.variant for run in runs))
    figure, shown = panels(len(variants) + 1)
    for axes, variant in zip(shown, variants, strict=False):
        members = [run for run in runs if run.variant == variant]
        _draw_curves(
            axes,
            f"Bridge, {variant}: fitting random labels",
            members,
            [run.curve.train_acc for run in members],
            ("epoch", "training accuracy, %"),
            x_whole=True,
            ranges=(None, (0, 102)),
            rule=(chance, "chance"),
        )
    _probe_bars(shown[-1], runs, variants, chance)
    _save(figure, path)


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
    axes.legend(loc="upper left", fontsize=8)


def _probe_bars(
    axes: Any, runs: Sequence[Run], variants: Sequence[str], chance: float
) -> None:
    starts = list(dict.fromkeys(start_of(run) for run in runs))
    groups = [(variant, start) for variant in variants for start in starts]
    for place, (variant, start) in enumerate(groups):
        for side, (metric, when) in enumerate(_BARS.items()):
            mean = _mean(runs, variant, start, metric)
            if mean is None:
                continue
            x = place + (side - 0.5) * 0.38
            axes.bar(
                x, mean.mean, 0.36, color=colour_of(start), alpha=1.0 if side else 0.45
            )
            axes.plot([x, x], [mean.low, mean.high], color="0.2", lw=1.5)
            words = f"{mean.mean:.0f}\n{when}"
            axes.text(x, mean.high + 1.5, words, ha="center", va="bottom", fontsize=7)
    chance_line(axes, chance)
    axes.set(
        title="Linear probe, unbridged and bridged",
        ylabel="test accuracy with true labels, %",
        ylim=(0, 112),
        xticks=range(len(groups)),
        xticklabels=[f"{start}\n{variant}" for variant, start in groups],
        yticks=range(0, 101, 20),
    )
    axes.tick_params(axis="x", labelsize=8)


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
    figure, (left, right) = panels(2, height=1.4 + 0.42 * len(variants))
    for (variant, _, start), (_, seeds) in chosen.items():
        y = -variants.index(variant) + (0.12 if start == "language" else -0.12)
        colour = colour_of(start)
        fitted = interval([run.metrics["train_acc"] for run in seeds]).mean
        label = start if variant == variants[0] else None
        left.plot(fitted, y, "o", color=colour, ms=7, label=label)
        pair = [
            interval([r.metrics[m] for r in seeds if m in r.metrics] or [float("nan")])
            for m in _BARS
        ]
        before, after = (value.mean for value in pair)
        right.annotate(
            "",
            xy=(after, y),
            xytext=(before, y),
            arrowprops=dict(arrowstyle="->", color=colour, lw=1.8),
        )
        right.plot(before, y, "o", color=colour, mfc="white", ms=5)
        right.plot(after, y, alpha=0)  # the axis makes room for the arrow's head
    ticks = dict(yticks=[-i for i in range(len(variants))], yticklabels=variants)
    left.set(
        title="Bridge: training accuracy, last epoch",
        xlabel="training accuracy, %",
        xlim=(0, 102),
        **ticks,
    )
    right.set(
        title="Linear probe: unbridged → bridged",
        xlabel="test accuracy with true labels, %",
        **{**ticks, "yticklabels": []},
    )
    figure.legend(ncols=2, loc="outside lower center")
    _save(figure, path)


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
    figure, shown = panels(len(metrics))
    starts = list(dict.fromkeys(start_of(run) for run in runs))
    for axes, (metric, title) in zip(shown, metrics.items(), strict=True):
        for start in starts:
            means = {
                count: _mean(runs, variant, start, metric)
                for variant, count in labels.items()
            }
            line = {count: mean for count, mean in means.items() if mean}
            axes.errorbar(
                list(line),
                [value.mean for value in line.values()],
                yerr=[
                    [value.mean - value.low for value in line.values()],
                    [value.high - value.mean for value in line.values()],
                ],
                color=colour_of(start),
                ls="-" if "bridge" in start else "--",
                marker="o" if "bridge" in start else "s",
                ms=4,
                capsize=2,
                label=start,
            )
        axes.set(
            title=title,
            xlabel="labelled images",
            ylabel="test accuracy, %",
            xscale="log",
        )
    shown[0].legend(fontsize=8)
    _save(figure, path)


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
    figure, shown = panels(len(groups))
    highest = max(max(run.curve.scores[metric].values()) for run in runs)
    for axes, group in zip(shown, groups, strict=True):
        members = [run for run in runs if start_of(run).partition(", ")[2] == group]
        _draw_curves(
            axes,
            group,
            members,
            [run.curve.scores[metric] for run in members],
            ("iteration", f"{METRICS[metric]} on the validation scenes, %"),
            ranges=(None, (0, 1.1 * highest)),
            rule=None if constant is None else (constant, "never looks"),
        )
    _save(figure, path)


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
    figure, (axes,) = panels(1, width=8.0)
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
                ls=":",
                label="the type's commonest answer",
            )
    names = ["all" if kind == "qa" else METRICS[kind] for kind in kinds]
    axes.set(ylabel="right answers, %", ylim=(0, 100))
    axes.set_xticks(range(len(kinds)), names)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), fontsize=8, ncols=2, loc="upper left")
    _save(figure, path)


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


def _save(figure: Any, path: Path) -> None:
    write_whole(path, lambda part: figure.savefig(part, dpi=150))
