"""Measured on images: activation, loss landscape, separability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lbbt_mm.report.chart import Chart, line_chart
from lbbt_mm.report.groups import Measured, Model, number, numbers
from lbbt_mm.report.maps import colour_bar, scatter_chart, surface_charts
from lbbt_mm.report.page import Section
from lbbt_mm.report.tables import Table, note

_Models = Mapping[Model, list[Measured]]
_NUMBERS = "The numbers"


def activation(section: Section, models: _Models) -> None:
    """Draw the activation ratio by block, and lay out the mean over blocks."""
    rules = {
        "zero": "mean MLP activation above 0",
        "reference": "the authors' rule, on attention's output",
    }
    charts, lines = [], []
    for rule, words in rules.items():
        series = []
        for model, seeds in models.items():
            blocks = seeds[0].result.get(rule) or []
            xs = [int(block["block"]) + 1 for block in blocks]
            ys = [100 * float(block["ratio"]) for block in blocks]
            series += [model.line(xs, ys)] if blocks else []
        if series:
            title = f"Activated (image, neuron) pairs: {words}"
            labels = ("block", "activation ratio, %")
            charts.append(line_chart(title, series, *labels, x_whole=True))
            lines += series
    section.figure(charts, "The first seed where there are several.", lines)
    rows = []
    for model, seeds in models.items():
        means = []
        for rule in rules:
            kept = [one.result.get(rule) or [] for one in seeds]
            ratios = [[100 * float(b["ratio"]) for b in blocks] for blocks in kept]
            means.append(numbers([sum(r) / len(r) for r in ratios if r]))
        rows.append([model.name, *means])
    head = ["mean over blocks, %", *rules.values()]
    section.table(Table(head, rows, note(rows).strip()), folded=_NUMBERS)


def landscape(section: Section, models: _Models) -> None:
    """Draw surfaces of common colours, cuts through them, and their ends."""
    kinds = {
        "filter_normalised": "filter-normalised directions",
        "plain": "plain directions",
    }
    ends: dict[Model, dict[str, str]] = {model: {} for model in models}
    for kind, words in kinds.items():
        found = {m: seeds[0].result for m, seeds in models.items()}
        found = {m: result for m, result in found.items() if result.get(kind)}
        if not found:
            continue
        surfaces = {
            model: [
                [math.nan if v is None else float(v) for v in row]
                for row in result[kind]["loss"]
            ]
            for model, result in found.items()
        }
        finite = [v for s in surfaces.values() for row in s for v in row]
        finite = [v for v in finite if math.isfinite(v)]
        levels, ratios = _levels(finite)
        maps, hills, cuts = [], [], []
        for model, result in found.items():
            steps = result[kind].get("steps") or result.get("steps") or []
            steps = [float(s) for s in steps]
            surface = surfaces[model]
            above, side = surface_charts(model.name, steps, surface, levels)
            maps.append(above)
            hills.append(side)
            cuts.append(model.line(steps, surface[len(steps) // 2], marker=False))
            ends[model][words] = _ends(surface)
        section.figure(
            [*maps, *hills],
            f"{words[0].upper()}{words[1:]}: the same directions, colours and heights "
            "in all panels; seen from above, where the cross is the model itself, and "
            "from the side. Colours: the bar of the cut below.",
            small=True,
        )
        labels = ("step along the second direction", "loss")
        cut = line_chart(
            "Cuts through the middle", cuts, *labels, logs="y" if ratios else ""
        )
        section.figure(
            [cut, colour_bar(levels, "loss")],
            "The row of each surface that leads through the model itself.",
            cuts,
        )
    rows = [
        [
            model.name,
            numbers([one.result.get("centre") for one in models[model]]),
            *(found.get(words, "not measured") for words in kinds.values()),
        ]
        for model, found in ends.items()
    ]
    head = ["model", "loss at the weights", *(f"over {w}" for w in kinds.values())]
    caption = f"Lowest and highest loss on the square.{note(rows)}"
    section.table(Table(head, rows, caption), folded=_NUMBERS)


def _levels(values: Sequence[float]) -> tuple[list[float], bool]:
    """Choose edges of colours: equally far apart, or in equal ratios over a decade."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    high = high if high > low else low + 1
    ratios = low > 0 and high / low > 10
    parts = [i / 10 for i in range(11)]
    if ratios:
        return [low * (high / low) ** part for part in parts], True
    return [low + (high - low) * part for part in parts], False


def _ends(surface: Sequence[Sequence[float]]) -> str:
    values = [value for row in surface for value in row]
    good = [value for value in values if math.isfinite(value)]
    lost = len(values) - len(good)
    words = f"{number(min(good))} to {number(max(good))}" if good else "none finite"
    return f"{words} ({lost} not finite)" if lost and good else words


def separability(section: Section, models: _Models) -> None:
    """Draw the maps, and lay out what needs no picture."""
    names = {
        "silhouette": "silhouette",
        "knn_accuracy": "k-NN accuracy",
        "kmeans_nmi": "KMeans NMI",
        "kmeans_ari": "KMeans ARI",
        "tsne_nmi": "NMI on the map",
        "tsne_ari": "ARI on the map",
    }
    charts: list[Chart] = []
    classes: set[int] = set()
    for model, seeds in models.items():
        result = seeds[0].result
        if points := result.get("points"):
            classes |= {*result["labels"]}
            said = f"{len(points)} images in {len(set(result['labels']))} classes; "
            said += f"k-NN accuracy {number(result.get('knn_accuracy'))}."
            charts.append(scatter_chart(model.name, points, result["labels"], said))
    section.figure(
        charts,
        "t-SNE of the features, a sample of the images, coloured by their true class.",
        classes=sorted(classes),
        small=True,
    )
    rows = [
        [m.name, *(numbers([one.result.get(k) for one in seeds]) for k in names)]
        for m, seeds in models.items()
    ]
    section.table(
        Table(
            ["features of", *names.values()],
            rows,
            "Against the true classes, on the features themselves; in the last two "
            f"columns KMeans on the t-SNE map, as the paper has it.{note(rows)}",
        ),
        folded=_NUMBERS,
    )
