"""Measured on weights: outliers, theorem 4.1's alignment, and the loss's curvature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lbbt_mm.report.chart import Series, line_chart
from lbbt_mm.report.groups import Measured, Model, Models
from lbbt_mm.report.page import NUMBERS, Section
from lbbt_mm.report.tables import Columns, Table, as_table, note, number, numbers

CURVATURE = {  # row -> names that a measurement may give it
    "eigenvalue decay rate": ("decay_rate", "eigenvalue_decay_rate"),
    "kurtosis of eigenvalues": ("kurtosis", "eigenvalue_kurtosis"),
    "trace of the Hessian": ("trace", "hessian_trace"),
    "spectral gap": ("spectral_gap", "gap"),
    "participation ratio": ("participation_ratio",),
    "noise-sensitivity AUC": ("noise_sensitivity", "noise_sensitivity_auc"),
    "gradient predictiveness": ("gradient_predictiveness",),
    "max parameter sensitivity": (
        "parameter_sensitivity",
        "max_parameter_sensitivity",
    ),
    "negative-eigenvalue ratio": ("negative_share", "negative_eigenvalue_ratio"),
}


def outliers(section: Section, models: Models) -> None:
    """Draw distributions and outliers by block, and lay out their numbers."""
    first = next(iter(models.values()))[0].result
    threshold, k = number(first.get("threshold", "?")), number(first.get("sigmas", "?"))
    results = {model: seeds[0].result for model, seeds in models.items()}

    def by_block(key: str, scale: int) -> list[Series]:
        lines = []
        for model, result in results.items():
            blocks = list((result.get("by_block") or {}).values())
            ys = [scale * float(block.get(key, math.nan)) for block in blocks]
            lines.append(model.line(range(1, len(ys) + 1), ys))
        return lines

    spread = [_distribution(m, r.get("histogram") or {}) for m, r in results.items()]
    key = by_block("share_above_sigmas", 100)
    words = ("weight", "share of the weights in a bin")
    charts = [line_chart("How the weights are distributed", spread, *words, logs="y")]
    for title, lines, ylabel in (
        (threshold, by_block("above", 1), f"number of |w| > {threshold}"),
        (f"{k} standard deviations", key, "share, %"),
    ):
        title = f"Weights beyond {title}, by block"
        charts.append(line_chart(title, lines, "block", ylabel, x_whole=True))
    section.figure(
        charts,
        "The first seed where there are several. Standard deviations are each "
        "tensor's own.",
        key,
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
    section.table(table, folded=NUMBERS)


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


def alignment(section: Section, models: Models) -> None:
    """Draw transfer curves, and lay out how well the data's directions fit."""
    trained = {model.initialisation for model in models if model.labels}
    # A trained model has the unbridged one of its initialisation as its beginning.
    shown = {
        model: [one.result for one in seeds]
        for model, seeds in models.items()
        if model.labels or model.initialisation not in trained
    }
    _lay_out_alignment(
        section,
        {model.name: (model, results) for model, results in shown.items()},
        "The variance of the patch embedding's weights along each eigenvector of the "
        "data's covariance, after training and as they began, and after training along "
        "a randomly rotated basis, where the curve should be flat but for chance. All "
        "panels have the same axes.",
    )


def synthetic(section: Section, models: Models) -> None:
    """Show that the theorem's statement holds where its assumptions do."""
    result = next(iter(models.values()))[0].result
    now, initial = (result.get(side) for side in ("after", "before"))
    result = {"now": now, "initial": initial} | dict(result)
    _lay_out_alignment(
        section,
        {"one wide layer": (Model("other", "random"), [result])},
        "Where the theorem's assumptions hold: the trained curve is smooth, the "
        "unbridged and the rotated ones are flat.",
    )


def _lay_out_alignment(
    section: Section,
    models: Mapping[str, tuple[Model, Sequence[Mapping[str, Any]]]],
    caption: str,
) -> None:
    """Draw transfer curves on common axes, and lay out the numbers."""
    panels = {
        f"{name}: f(s) by s": _transfer(model, results[0])
        for name, (model, results) in models.items()
    }
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
    # The panels' titles name the initialisations.
    section.figure(charts, caption, [line._replace(colour="other") for line in lines])
    rows = []
    for name, (_, results) in models.items():
        for side, words in (("now", "after training"), ("initial", "unbridged")):
            sides = [result.get(side) for result in results]
            rows.append([f"{name}, {words}", *_alignment_cells(sides)])
    heads = ["off-diagonal energy", "the same without the isotropic part"]
    heads += ["overlap of the leading k directions"]
    head = ["weights", *("data's basis", "rotated basis") * 3]
    explained = (
        "Off-diagonal energy is 0 where every eigenvector of the data is one of the "
        "weights' covariance: aligned weights have less of it than at the start, and "
        f"less than in a rotated basis.{note(rows)}"
    )
    table = Table(head, rows, explained, heads=[(words, 2) for words in heads])
    section.table(table, folded=NUMBERS)


def _transfer(model: Model, result: Mapping[str, Any]) -> list[Series]:
    now, start = (result.get(side) or {} for side in ("now", "initial"))
    s = [float(v) for v in now.get("eigenvalues") or result.get("eigenvalues") or []]
    found = []
    for name, side, basis, dash in (
        ("after training", now, "data", "solid"),
        ("unbridged", start, "data", "dot"),
        ("after training, rotated basis", now, "rotated", "dash"),
    ):
        curve = [float(v) for v in (side.get(basis) or {}).get("curve", [])]
        size = min(len(s), len(curve))
        line = model.line(s[:size], curve[:size], marker=False)
        colour = line.colour if basis == "data" else "other"
        found.append(line._replace(name=name, dash=dash, colour=colour))
    return found


def _alignment_cells(sides: Sequence[Mapping[str, Any] | None]) -> list[str]:
    cells = []
    for key in ("off_diagonal", "off_diagonal_deviation", "leading"):
        for basis in ("data", "rotated"):
            values = [((one or {}).get(basis) or {}).get(key) for one in sides]
            if key == "leading":
                pairs = (values[0] or {}).items()
                cells.append(", ".join(f"{k}: {number(v, 3)}" for k, v in pairs))
            else:
                cells.append(numbers(values, 3))
    return cells


def curvature(section: Section, models: Models) -> None:
    """Lay out the curvature, and draw the eigenvalues' density."""
    section.table(as_table(curvature_columns(models), "number"))
    density(section, models)


def curvature_columns(models: Models) -> Columns:
    """Give each model's numbers, as table 15 names them."""
    found: Columns = {}
    known = {name for names in CURVATURE.values() for name in names}
    for model, seeds in models.items():
        column = {row: _estimates(seeds, names) for row, names in CURVATURE.items()}
        for name, value in seeds[0].result.items():
            if name not in known and isinstance(value, dict) and "value" in value:
                column[name.replace("_", " ")] = _estimates(seeds, (name,))
        found[model.name] = column
    return found


def _estimates(seeds: Sequence[Measured], names: Sequence[str]) -> str:
    found = []
    for one in seeds:
        found += [one.result[name] for name in names if name in one.result][:1]
    values = [e.get("value") if isinstance(e, dict) else e for e in found]
    if len(found) == 1 and isinstance(found[0], dict):
        error = found[0].get("error")
        words = number(values[0])
        return f"{words} ± {number(error, 2)}" if error is not None else words
    return numbers([value for value in values if value is not None])


def density(section: Section, models: Models, where: str = "") -> None:
    """Draw the density of the Hessian's eigenvalues."""
    lines = []
    for model, seeds in models.items():
        found = seeds[0].result.get("density") or {}
        grid, values = found.get("grid") or [], found.get("values") or []
        if grid and len(grid) == len(values):
            lines.append(model.line(grid, values, marker=False))
    if not lines:
        return
    # Far from every eigenvalue a smoothed density has no floor.
    highest = max((v for line in lines for v in line.ys if v < 1e30), default=1.0)
    chart = line_chart(
        "Density of the Hessian's eigenvalues",
        lines,
        "eigenvalue",
        "share of the eigenvalues per unit",
        logs="y",
        ranges=(None, (highest * 1e-8, highest * 2) if highest > 0 else None),
    )
    section.figure([chart], f"{where}The first seed.", lines)
