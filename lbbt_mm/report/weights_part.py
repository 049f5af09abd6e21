"""Weights: outliers (figures 2, 10, 11, 14) and theorem 4.1's alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbbt_mm.report.charts import Series, legend, line_chart
from lbbt_mm.report.groups import Group, Measured, Model, number, numbers
from lbbt_mm.report.page import Section
from lbbt_mm.report.tables import Table

_STATISTICS = {
    "count": "weights",
    "std": "standard deviation",
    "excess_kurtosis": "excess kurtosis",
    "quantile_0.999": "99.9 % of |w| below",
    "largest": "largest |w|",
    "above": "above threshold",
    "above_sigmas": "above sigmas",
}


def outliers(
    section: Section, group: Group, models: Mapping[Model, list[Measured]]
) -> None:
    """Draw distributions and outliers by block, and lay out their numbers.

    Args:
        section: Where to.
        group: Whose.
        models: Measurements by model, one a seed.
    """
    shapes, shares, sigmas = [], [], []
    for model, seeds in models.items():
        result = seeds[0].result
        shapes.append(_distribution(model, result.get("histogram") or {}))
        blocks = list((result.get("by_block") or {}).values())
        xs = list(range(1, len(blocks) + 1))
        for key, lines in (("above", shares), ("share_above_sigmas", sigmas)):
            ys = [float(block.get(key, float("nan"))) for block in blocks]
            scale = 100 if key.startswith("share") else 1
            lines.append(model.line(xs, [scale * y for y in ys]))
    first = next(iter(models.values()))[0].result
    threshold = number(first.get("threshold", "?"))
    k = number(first.get("sigmas", "?"))
    section.figure(
        [
            line_chart(
                "How the weights are distributed",
                shapes,
                "weight",
                "share of the weights in a bin",
                y_log=True,
            ),
            line_chart(
                f"Weights beyond {threshold}, by block",
                shares,
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
        ],
        f"Our figures 2, 10, 11 and 14 for {group.name}; the first seed where there "
        "are several. Standard deviations are each tensor's own.",
        legend(sigmas),
    )
    rows = []
    for model, seeds in models.items():
        totals = [one.result.get("total") or {} for one in seeds]
        rows.append(
            [
                model.name,
                *(numbers([total.get(key) for total in totals]) for key in _STATISTICS),
            ]
        )
    names = [*_STATISTICS.values()]
    names[-2:] = [f"|w| > {threshold}", f"|w| > {k} sigma"]
    section.table(
        Table(
            ["whole model", *names],
            rows,
            f"Measured here on {group.name}. The paper gives no numbers with these "
            "figures in our source of it.",
        )
    )


def _distribution(model: Model, histogram: Mapping[str, Any]) -> Series:
    edges = [float(e) for e in histogram.get("edges", [])]
    counts = [float(c) for c in histogram.get("counts", [])]
    if len(counts) == len(edges) + 1:  # with what lies outside at either end
        counts = counts[1:-1]
    total = sum(counts) or 1.0
    middles = [(a + b) / 2 for a, b in zip(edges[:-1], edges[1:], strict=True)]
    shown = len(middles) if len(middles) == len(counts) else 0
    # Where nothing is counted the line breaks: 0 has no logarithm.
    return model.line(
        middles[:shown], [count / total for count in counts[:shown]], marker=False
    )


def alignment(
    section: Section, group: Group, models: Mapping[Model, list[Measured]]
) -> None:
    """Draw transfer curves, and lay out how well the data's directions fit.

    Args:
        section: Where to.
        group: Whose.
        models: Measurements by model, one a seed.
    """
    charts, rows = [], []
    keys: list[Series] = []
    arms = {model.arm for model in models if model.labels}
    for model, seeds in models.items():
        if not model.labels and model.arm in arms:
            continue  # a trained one of this arm has it as its beginning
        result = seeds[0].result
        now, initial = result.get("now") or {}, result.get("initial") or {}
        lines = _transfer(model, now, initial, result)
        keys += lines
        charts.append(
            line_chart(
                f"{model.name}: f(s) by s",
                lines,
                "s, eigenvalue of the data",
                "f(s), variance of the weights",
                x_log=True,
                y_log=True,
            )
        )
        rows += alignment_rows(
            model.name,
            {
                "now": [one.result.get("now") for one in seeds],
                "initial": [one.result.get("initial") for one in seeds],
            },
        )
    section.figure(
        charts,
        f"Transfer curves of the patch embedding, {group.name}: the variance of the "
        "weights along each eigenvector of the data's covariance, after training and "
        "as they began, and after training along the directions of a randomly rotated "
        "basis, where the curve should be flat but for chance.",
        legend(_by_look(keys)),
    )
    section.table(_alignment_table(rows, f"Measured here on {group.name}."))


def synthetic(section: Section, models: Mapping[Model, list[Measured]]) -> None:
    """Show that the theorem's statement holds where its assumptions do.

    Args:
        section: Where to.
        models: Measurements of the synthetic check.
    """
    one = next(iter(models.values()))[0]
    result = one.result
    after = result.get("after") or result.get("now") or {}
    before = result.get("before") or result.get("initial") or {}
    model = Model("language", "random")
    lines = [
        line._replace(colour="other")
        for line in _transfer(model, after, before, result)
    ]
    section.heading("Synthetic check: Gaussian inputs, one wide layer, random labels")
    section.figure(
        [
            line_chart(
                "Synthetic check: f(s) by s",
                lines,
                "s, eigenvalue of the data",
                "f(s), variance of the weights",
                x_log=True,
                y_log=True,
            )
        ],
        "Where the theorem's assumptions hold: the trained curve is smooth, the "
        "initial and the rotated ones are flat.",
        legend(lines),
    )
    rows = alignment_rows("one wide layer", {"now": [after], "initial": [before]})
    section.table(_alignment_table(rows, "No images are in it."))


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


def alignment_rows(
    name: str, sides: Mapping[str, Sequence[Mapping[str, Any] | None]]
) -> list[list[str]]:
    """Lay out one model, now and at its start: the data's basis and a rotated one."""
    rows = []
    for side, words in (("now", "after training"), ("initial", "initial")):
        found = {
            basis: [(one or {}).get(basis) or {} for one in sides[side]]
            for basis in ("data", "rotated")
        }
        cells = [
            numbers([one.get(key) for one in seeds], 3)
            for key in ("off_diagonal", "off_diagonal_deviation")
            for seeds in found.values()
        ]
        cells += [
            ", ".join(
                f"{k}: {number(v, 3)}"
                for k, v in (seeds[0].get("leading") or {}).items()
            )
            for seeds in found.values()
        ]
        rows.append([f"{name}, {words}", *cells])
    return rows


def _alignment_table(rows: Sequence[Sequence[str]], where: str) -> Table:
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
        f"less than in a rotated basis. {where}",
    )


def _by_look(lines: Sequence[Series]) -> list[Series]:
    """Name each dash once; the panels' titles name the arms."""
    return list({line.name: line._replace(colour="other") for line in lines}.values())
