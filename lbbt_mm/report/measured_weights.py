"""Measured on weights: outliers, and theorem 4.1's alignment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lbbt_mm.report.chart import Series, line_chart
from lbbt_mm.report.groups import Measured, Model, number, numbers
from lbbt_mm.report.page import Section
from lbbt_mm.report.tables import Table, note

_Models = Mapping[Model, list[Measured]]
_NUMBERS = "The numbers"


def outliers(section: Section, models: _Models) -> None:
    """Draw distributions and outliers by block, and lay out their numbers."""
    shapes: list[Any] = []
    beyond: list[Any] = []
    sigmas: list[Any] = []
    for model, seeds in models.items():
        result = seeds[0].result
        shapes.append(_distribution(model, result.get("histogram") or {}))
        blocks = list((result.get("by_block") or {}).values())
        xs = list(range(1, len(blocks) + 1))
        for key, lines, scale in (
            ("above", beyond, 1),
            ("share_above_sigmas", sigmas, 100),
        ):
            ys = [scale * float(block.get(key, math.nan)) for block in blocks]
            lines.append(model.line(xs, ys))
    first = next(iter(models.values()))[0].result
    threshold, k = number(first.get("threshold", "?")), number(first.get("sigmas", "?"))
    charts = [
        line_chart(
            "How the weights are distributed",
            shapes,
            "weight",
            "share of the weights in a bin",
            logs="y",
        ),
        line_chart(
            f"Weights beyond {threshold}, by block",
            beyond,
            "block",
            f"number of |w| > {threshold}",
            x_whole=True,
        ),
        line_chart(
            f"Weights beyond {k} standard deviations, by block",
            sigmas,
            "block",
            "share, %",
            x_whole=True,
        ),
    ]
    section.figure(
        charts,
        "The first seed where there are several. Standard deviations are each "
        "tensor's own.",
        sigmas,
    )
    names = {
        "count": "weights",
        "std": "standard deviation",
        "excess_kurtosis": "excess kurtosis",
        "quantile_0.999": "99.9 % of |w| below",
        "largest": "largest |w|",
        "above": f"|w| > {threshold}",
        "above_sigmas": f"|w| > {k} sigma",
    }
    rows = []
    for model, seeds in models.items():
        totals = [one.result.get("total") or {} for one in seeds]
        cells = [numbers([total.get(key) for total in totals]) for key in names]
        rows.append([model.name, *cells])
    table = Table(["whole model", *names.values()], rows, note(rows).strip())
    section.table(table, folded=_NUMBERS)


def _distribution(model: Model, histogram: Mapping[str, Any]) -> Series:
    edges = [float(e) for e in histogram.get("edges", [])]
    counts = [float(c) for c in histogram.get("counts", [])]
    if len(counts) == len(edges) + 1:  # with what lies outside at either end
        counts = counts[1:-1]
    total = sum(counts) or 1.0
    middles = [(a + b) / 2 for a, b in zip(edges[:-1], edges[1:], strict=True)]
    shown = len(middles) if len(middles) == len(counts) else 0
    # Where nothing is counted the line breaks: 0 has no logarithm.
    ys = [count / total for count in counts[:shown]]
    return model.line(middles[:shown], ys, marker=False)


def alignment(section: Section, models: _Models) -> None:
    """Draw transfer curves, and lay out how well the data's directions fit."""
    arms = {model.arm for model in models if model.labels}
    # A trained model has the untrained one of its arm as its beginning.
    shown = {m: s for m, s in models.items() if m.labels or m.arm not in arms}
    results = {model: seeds[0].result for model, seeds in shown.items()}
    panels = {
        m: _transfer(m, r.get("now") or {}, r.get("initial") or {}, r)
        for m, r in results.items()
    }
    _transfer_figure(
        section,
        {f"{model.name}: f(s) by s": lines for model, lines in panels.items()},
        "The variance of the patch embedding's weights along each eigenvector of the "
        "data's covariance, after training and as they began, and after training along "
        "a randomly rotated basis, where the curve should be flat but for chance. All "
        "panels have the same axes.",
    )
    rows = []
    for model, seeds in shown.items():
        for side, words in (("now", "after training"), ("initial", "initial")):
            sides = [one.result.get(side) for one in seeds]
            rows.append(_alignment_row(f"{model.name}, {words}", sides))
    section.table(_alignment_table(rows), folded=_NUMBERS)


def synthetic(section: Section, models: _Models) -> None:
    """Show that the theorem's statement holds where its assumptions do."""
    result = next(iter(models.values()))[0].result
    after = result.get("after") or result.get("now") or {}
    before = result.get("before") or result.get("initial") or {}
    lines = _transfer(Model("other", "random"), after, before, result)
    _transfer_figure(
        section,
        {"Synthetic check: f(s) by s": lines},
        "Where the theorem's assumptions hold: the trained curve is smooth, the "
        "initial and the rotated ones are flat.",
    )
    rows = [
        _alignment_row("one wide layer, after training", [after]),
        _alignment_row("one wide layer, initial", [before]),
    ]
    section.table(_alignment_table(rows), folded=_NUMBERS)


def _transfer_figure(
    section: Section, panels: Mapping[str, Sequence[Series]], caption: str
) -> None:
    """Draw transfer curves on common axes."""
    lines = [line for found in panels.values() for line in found]
    ranges = []
    for values in ([v for s in lines for v in s.xs], [v for s in lines for v in s.ys]):
        good = [v for v in values if 0 < v < 1e30]
        ranges.append((min(good) / 1.5, max(good) * 1.5) if good else None)
    labels = ("s, eigenvalue of the data", "f(s), variance of the weights")
    charts = [
        line_chart(title, found, *labels, logs="xy", ranges=(ranges[0], ranges[1]))
        for title, found in panels.items()
    ]
    # The panels' titles name the arms.
    section.figure(charts, caption, [line._replace(colour="other") for line in lines])


def _transfer(
    model: Model,
    now: Mapping[str, Any],
    initial: Mapping[str, Any],
    result: Mapping[str, Any],
) -> list[Series]:
    s = [float(v) for v in now.get("eigenvalues") or result.get("eigenvalues") or []]
    found = []
    for name, side, basis, dash in (
        ("after training", now, "data", "solid"),
        ("initial", initial, "data", "dot"),
        ("after training, rotated basis", now, "rotated", "dash"),
    ):
        curve = [float(v) for v in (side.get(basis) or {}).get("curve", [])]
        size = min(len(s), len(curve))
        line = model.line(s[:size], curve[:size], marker=False)
        colour = line.colour if basis == "data" else "other"
        found.append(line._replace(name=name, dash=dash, colour=colour))
    return found


def _alignment_row(name: str, sides: Sequence[Mapping[str, Any] | None]) -> list[str]:
    cells = []
    for key in ("off_diagonal", "off_diagonal_deviation", "leading"):
        for basis in ("data", "rotated"):
            values = [((one or {}).get(basis) or {}).get(key) for one in sides]
            if key == "leading":
                pairs = (values[0] or {}).items()
                cells.append(", ".join(f"{k}: {number(v, 3)}" for k, v in pairs))
            else:
                cells.append(numbers(values, 3))
    return [name, *cells]


def _alignment_table(rows: Sequence[Sequence[str]]) -> Table:
    return Table(
        [
            "weights",
            *("off-diagonal energy", "rotated basis"),
            *("without the isotropic part", "rotated basis"),
            *("overlap of the leading k", "rotated basis"),
        ],
        rows,
        "Off-diagonal energy is 0 where every eigenvector of the data is one of the "
        "weights' covariance: aligned weights have less of it than at the start, and "
        f"less than in a rotated basis.{note(rows)}",
    )
