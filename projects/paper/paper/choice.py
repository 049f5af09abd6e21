"""What a sweep found: choose hyper-parameters, average over seeds, lay out tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbbt_mm.report.tables import Table, interval
from lbbt_mm.runs.run import Run

METRICS = {
    "train_acc": "train acc.",
    "random_acc": "random labels",
    "true_acc": "true labels",
    "probe_before": "probe, unbridged",
    "probe_after": "probe, bridged",
    "test_before": "test, unbridged",
    "test": "test",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "miou": "mIoU",
    "miou_tta": "mIoU, several scales",
    "qa": "questions",
    "qa_what": "what",
    "qa_how_many": "how many",
    "qa_where": "where",
    "qa_larger": "larger",
    "shuffled": "images shuffled",
    "shuffled_what": "what, shuffled",
    "shuffled_how_many": "how many, shuffled",
    "shuffled_where": "where, shuffled",
    "shuffled_larger": "larger, shuffled",
}
# Measured on images that no hyper-parameter may be chosen on.
_OF_TEST_IMAGES = {*METRICS} - {"train_acc", "random_acc", "true_acc"}


def start_of(run: Run) -> str:
    """Name what a run starts from, with what a copy of it does not get right."""
    return run.initialisation + run.inexact


def epochs_to(train_acc: Mapping[int, float], accuracy: float) -> int | None:
    """Find how soon a training curve reaches an accuracy.

    Args:
        train_acc: Epoch -> accuracy, in %.
        accuracy: The accuracy, in %.

    Returns:
        The first epoch at or above it; ``None`` if it was not reached.
    """
    reached = [epoch for epoch, value in train_acc.items() if value >= accuracy]
    return min(reached) if reached else None


@dataclass(frozen=True)
class Selection:
    """How hyper-parameters are chosen.

    Attributes:
        over: Axes of the grid to choose on; others lay out the table.
        metric: The largest mean over seeds wins; never one of the test images.
        by: ``'each'`` initialisation chooses for itself, or one of them for all: the
            paper's way is to choose on the baseline and then to freeze.
    """

    over: tuple[str, ...] = ()
    metric: str = "train_acc"
    by: str = "each"

    def __post_init__(self) -> None:
        if self.metric in _OF_TEST_IMAGES:
            raise ValueError(
                f"Expected a metric of training images to choose by, got "
                f"{self.metric!r}, which is measured on the test images."
            )


def group_runs(
    runs: Sequence[Run], over: Sequence[str]
) -> dict[tuple[Any, ...], dict[tuple[Any, ...], list[Run]]]:
    """Sort runs by variant, initialisation and fixed axes, then by the chosen axes.

    Args:
        runs: The runs.
        over: Axes to choose on.

    Returns:
        (variant, fixed axes' values, initialisation) -> values of ``over`` -> the
        seeds' runs.
    """
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], list[Run]]] = {}
    for run in runs:
        fixed = tuple((k, v) for k, v in run.point.items() if k not in over)
        chosen = tuple(run.point.get(axis) for axis in over)
        group = groups.setdefault((run.variant, fixed, start_of(run)), {})
        group.setdefault(chosen, []).append(run)
    return groups


def mean_metric(runs: Sequence[Run], metric: str) -> float:
    """Average a metric over runs; minus infinity if one of them lacks it."""
    values = [run.metrics.get(metric) for run in runs]
    numbers = [v for v in values if v is not None and math.isfinite(v)]
    return sum(numbers) / len(runs) if len(numbers) == len(runs) else -math.inf


def select(
    runs: Sequence[Run], selection: Selection
) -> dict[tuple[Any, ...], tuple[tuple[Any, ...], list[Run]]]:
    """Choose a point for each variant and initialisation.

    Args:
        runs: Finished runs.
        selection: How.

    Returns:
        (variant, fixed axes' values, initialisation) -> (values of the chosen axes, the
        runs there). Groups whose choosing one has not run yet are left out.
    """
    groups = group_runs(runs, selection.over)
    chosen = {}
    for key, points in groups.items():
        variant, fixed, start = key
        judging = start if selection.by == "each" else selection.by
        judge = groups.get((variant, fixed, judging))
        if not judge:
            continue
        best = max(judge, key=lambda p: mean_metric(judge[p], selection.metric))
        if best in points:
            chosen[key] = (best, points[best])
    return chosen


def chosen_table(
    runs: Sequence[Run],
    selection: Selection,
    thresholds: Sequence[float] = (),
    metrics: Mapping[str, str] = METRICS,
    constant: Mapping[str, float] | None = None,
) -> Table:
    """Lay out every variant and initialisation at its chosen point.

    Args:
        runs: Finished runs.
        selection: How the points are chosen.
        thresholds: Training accuracies in %; a column tells the mean number of epochs
            to reach each, or how many seeds never did.
        metrics: Metric -> heading; those that no run has are left out.
        constant: Metric -> score of an answer that never looks at an image: the last
            row.
    """
    chosen = select(runs, selection)
    shown = [m for m in metrics if any(m in run.metrics for run in runs)]
    headings = ["run", *selection.over, *(metrics[m] for m in shown)]
    headings += [f"epochs to {t:g} %" for t in thresholds]
    rows = []
    for (variant, fixed, start), (point, seeds) in chosen.items():
        name = ", ".join([variant, *(f"{k}={v:g}" for k, v in fixed), start])
        row = [name, *(f"{value:g}" for value in point)]
        for metric in shown:
            values = [r.metrics[metric] for r in seeds if metric in r.metrics]
            row.append(str(interval(values)) if values else "")
        row += [_epochs_cell(seeds, threshold) for threshold in thresholds]
        rows.append(row)
    if constant:
        row = ["the same answer for every image", *("" for _ in selection.over)]
        row += [str(interval([constant[m]])) if m in constant else "" for m in shown]
        rows.append([*row, *("" for _ in thresholds)])
    counts = sorted({len(seeds) for _, seeds in chosen.values()})
    caption = f"Mean over {_either(counts)} seed(s)"
    if max(counts, default=1) > 1:
        caption += "; in brackets the 95 % interval by Student's t"
        caption += " (of two seeds: both values)" if 2 in counts else ""
    if selection.over:
        who = (
            "each initialisation" if selection.by == "each" else f"{selection.by} alone"
        )
        caption += (
            f". {', '.join(selection.over)} chosen by {who}: the highest "
            f"{metrics.get(selection.metric, selection.metric)}"
        )
    return Table(headings, rows, caption + ".")


def grid_table(runs: Sequence[Run], selection: Selection, metric: str) -> Table:
    """Lay out one metric at every point of the chosen axes.

    Args:
        runs: Finished runs.
        selection: Whose axes.
        metric: What to show.
    """
    groups = group_runs(runs, selection.over)
    points = sorted({point for group in groups.values() for point in group})
    axes = ", ".join(selection.over)
    headings = [axes, *(", ".join(f"{value:g}" for value in p) for p in points)]
    rows = []
    for (variant, fixed, start), group in groups.items():
        name = ", ".join([variant, *(f"{k}={v:g}" for k, v in fixed), start])
        cells = []
        for point in points:
            values = [
                r.metrics[metric] for r in group.get(point, []) if metric in r.metrics
            ]
            cells.append(str(interval(values)) if values else "")
        rows.append([name, *cells])
    return Table(headings, rows, METRICS.get(metric, metric) + ", %.")


def _epochs_cell(runs: Sequence[Run], accuracy: float) -> str:
    curves = [run.curve.train_acc for run in runs]
    reached = [epochs_to(curve, accuracy) for curve in curves if curve]
    numbers = [epoch for epoch in reached if epoch is not None]
    if not reached:
        return ""
    missed = len(reached) - len(numbers)
    mean = f"{sum(numbers) / len(numbers):.1f}" if numbers else ""
    if not missed:
        return mean
    never = "never" if missed == len(reached) else f"{missed} never"
    return f"{mean}, {never}" if mean else never


def _either(counts: Sequence[int]) -> str:
    return " or ".join(map(str, counts)) if counts else "no"
