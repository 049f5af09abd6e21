"""Activation (figure 7), loss landscape (figure 4) and separability (figure 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lbbt_mm.report.charts import legend, line_chart
from lbbt_mm.report.groups import Group, Measured, Model, number, numbers
from lbbt_mm.report.maps import colour_bar, contour_chart, scatter_chart
from lbbt_mm.report.page import Section
from lbbt_mm.report.surface import surface_chart
from lbbt_mm.report.tables import Table

_RULES = {
    "zero": "mean MLP activation above 0",
    "reference": "the authors' rule, on attention's output",
}
_SEPARABILITY = {
    "silhouette": "silhouette",
    "knn_accuracy": "k-NN accuracy",
    "kmeans_nmi": "KMeans NMI",
    "kmeans_ari": "KMeans ARI",
    "tsne_nmi": "NMI on the map",
    "tsne_ari": "ARI on the map",
}
_NORMALISATIONS = {
    "filter_normalised": "filter-normalised directions",
    "plain": "plain directions",
}
_LEVELS = 10
_Models = Mapping[Model, list[Measured]]


def activation(section: Section, group: Group, models: _Models) -> None:
    """Draw the activation ratio by block, and lay out the mean over blocks."""
    charts, lines = [], []
    for rule, words in _RULES.items():
        series = []
        for model, seeds in models.items():
            blocks = seeds[0].result.get(rule) or []
            if blocks:
                xs = [int(block["block"]) + 1 for block in blocks]
                ys = [100 * float(block["ratio"]) for block in blocks]
                series.append(model.line(xs, ys))
        if series:
            title = f"Activated (image, neuron) pairs: {words}"
            charts.append(
                line_chart(
                    title,
                    series,
                    "block",
                    "activation ratio, %",
                    x_whole=True,
                )
            )
            lines += series
    section.figure(
        charts,
        f"Our figure 7 for {group.name}; the first seed where there are several.",
        legend(lines),
    )
    rows = []
    for model, seeds in models.items():
        means = []
        for rule in _RULES:
            per_seed = [one.result.get(rule) or [] for one in seeds]
            means.append(
                numbers(
                    [
                        100 * sum(float(b["ratio"]) for b in blocks) / len(blocks)
                        for blocks in per_seed
                        if blocks
                    ]
                )
            )
        rows.append([model.name, *means])
    section.table(
        Table(
            ["mean over blocks, %", *_RULES.values()],
            rows,
            f"Measured here on {group.name}.",
        )
    )


def landscape(section: Section, group: Group, models: _Models) -> None:
    """Draw surfaces of common colours, cuts through them, and their ends."""
    ends: dict[Model, dict[str, str]] = {model: {} for model in models}
    for normalisation, words in _NORMALISATIONS.items():
        found = {
            model: seeds[0].result
            for model, seeds in models.items()
            if seeds[0].result.get(normalisation)
        }
        if not found:
            continue
        surfaces = {
            model: [[_float(v) for v in row] for row in result[normalisation]["loss"]]
            for model, result in found.items()
        }
        finite = [
            value
            for surface in surfaces.values()
            for row in surface
            for value in row
            if math.isfinite(value)
        ]
        levels = _levels(finite)
        maps, cuts, hills = [], [], []
        for model, result in found.items():
            steps = [float(s) for s in _steps(result, normalisation)]
            surface = surfaces[model]
            maps.append(contour_chart(model.name, steps, surface, levels))
            hills.append(surface_chart(model.name, steps, surface, levels))
            cuts.append(model.line(steps, surface[len(steps) // 2], marker=False))
            ends[model][words] = _ends(surface)
        section.heading(words[0].upper() + words[1:])
        section.figure(
            maps,
            f"Our figure 4 for {group.name}, {words}: steps along either direction, "
            "the same directions and the same colours in all panels. The cross is the "
            "model itself.",
            colour_bar(levels, "Loss"),
            small=True,
        )
        section.figure(
            hills,
            "The same surfaces seen from the side, all of one height scale.",
            small=True,
        )
        section.figure(
            [
                line_chart(
                    f"Cuts through the middle, {words}",
                    cuts,
                    "step along the second direction",
                    "loss",
                    y_log=_by_ratios(finite),
                )
            ],
            "The row of each surface that leads through the model itself.",
            legend(cuts),
        )
    names = [words for words in _NORMALISATIONS.values()]
    rows = [
        [
            model.name,
            numbers([one.result.get("centre") for one in models[model]]),
            *(found.get(words, "not measured") for words in names),
        ]
        for model, found in ends.items()
    ]
    section.table(
        Table(
            ["model", "loss at the weights", *(f"over {words}" for words in names)],
            rows,
            f"Lowest and highest loss on the square; measured here on {group.name}.",
        )
    )


def _steps(result: Mapping, normalisation: str) -> Sequence[float]:
    return result[normalisation].get("steps") or result.get("steps") or []


def _by_ratios(values: Sequence[float]) -> bool:
    """Tell whether a loss spans more than one power of ten."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > 10


def _levels(values: Sequence[float]) -> list[float]:
    """Choose edges of colours, equally far apart or in equal ratios."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if not high > low:
        high = low + 1
    parts = range(_LEVELS + 1)
    if _by_ratios(values):
        return [low * (high / low) ** (i / _LEVELS) for i in parts]
    return [low + (high - low) * i / _LEVELS for i in parts]


def _ends(surface: Sequence[Sequence[float]]) -> str:
    values = [value for row in surface for value in row]
    good = [value for value in values if math.isfinite(value)]
    lost = len(values) - len(good)
    words = f"{number(min(good))} to {number(max(good))}" if good else "none finite"
    return f"{words} ({lost} not finite)" if lost and good else words


def separability(section: Section, group: Group, models: _Models) -> None:
    """Draw the maps, and lay out what needs no picture."""
    charts = []
    for model, seeds in models.items():
        result = seeds[0].result
        points = result.get("points") or []
        if not points:
            continue
        said = f"{len(points)} images in {len(set(result['labels']))} classes; "
        said += f"k-NN accuracy {number(result.get('knn_accuracy'))}."
        charts.append(scatter_chart(model.name, points, result["labels"], said))
    if charts:
        section.figure(
            charts,
            f"Our figure 5 for {group.name}: t-SNE of the features, a sample of the "
            "images, coloured by their true class (round dots, then square ones).",
            small=True,
        )
    rows = [
        [
            model.name,
            *(numbers([one.result.get(k) for one in seeds]) for k in _SEPARABILITY),
        ]
        for model, seeds in models.items()
    ]
    section.table(
        Table(
            ["features of", *_SEPARABILITY.values()],
            rows,
            "Silhouette, k-NN, NMI and ARI against the true classes, on the features "
            f"themselves; measured here on {group.name}. KMeans on the t-SNE map, as "
            "the paper has it, in the last two columns.",
        )
    )


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
