"""Measured on images: activation, loss landscape, separability, retrieval, probes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lbbt_mm.report.chart import Chart, line_chart
from lbbt_mm.report.groups import Model, Models
from lbbt_mm.report.maps import colour_bar, scatter_chart, surface_charts
from lbbt_mm.report.page import NUMBERS, Section
from lbbt_mm.report.tables import Columns, Table, as_table, cell, note, number, numbers


def activation(section: Section, models: Models) -> None:
    """Draw the activation ratio by block, and lay out the mean over blocks."""
    rules = {
        "zero": "mean MLP activation above 0",
        "reference": "the authors' rule, on attention's output",
    }

    def ratios(result: Any, rule: str) -> list[float]:
        return [100 * float(block["ratio"]) for block in result.get(rule) or []]

    charts, lines = [], []
    for rule, words in rules.items():
        series = []
        for model, seeds in models.items():
            ys = ratios(seeds[0].result, rule)
            xs = [int(b["block"]) + 1 for b in seeds[0].result.get(rule) or []]
            series += [model.line(xs, ys)] if ys else []
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
            found = [ratios(one.result, rule) for one in seeds]
            means.append(numbers([sum(r) / len(r) for r in found if r]))
        rows.append([model.name, *means])
    head = ["mean over blocks, %", *rules.values()]
    section.table(Table(head, rows, note(rows).strip()), folded=NUMBERS)


def landscape(section: Section, models: Models) -> None:
    """Draw surfaces of common colours, cuts through them, and their ends."""
    kinds = {
        "filter_normalised": "filter-normalised directions",
        "plain": "plain directions",
        "unit": "directions of length 1",
    }
    there = {kind for seeds in models.values() for kind in seeds[0].result}
    kinds = {kind: words for kind, words in kinds.items() if kind in there}
    ends: dict[Model, dict[str, str]] = {model: {} for model in models}
    for kind, words in kinds.items():
        found = {m: s[0].result for m, s in models.items() if s[0].result.get(kind)}
        if not found:
            continue
        surfaces = {
            model: [
                [math.nan if v is None else float(v) for v in row]
                for row in result[kind]["loss"]
            ]
            for model, result in found.items()
        }
        levels, ratios = _levels(
            [v for s in surfaces.values() for row in s for v in row]
        )
        first = not any(ends.values())  # it is open, other kinds fold away
        maps, hills, cuts = [], [], []
        for model, result in found.items():
            steps = result[kind].get("steps") or result.get("steps") or []
            surface = surfaces[model]
            above, side = surface_charts(model.name, steps, surface, levels)
            maps.append(above)
            hills.append(side)
            cuts.append(model.line(steps, surface[len(steps) // 2], marker=False))
            ends[model][words] = _ends(surface)
        title = f"{words[0].upper()}{words[1:]}"
        start = len(section.parts)
        section.figure(
            [*maps, colour_bar(levels, "loss")],
            f"{title}, the same in all panels, as are the colours; the cross is the "
            "model itself.",
            size="small",
        )
        labels = ("step along the second direction", "loss")
        logs = "y" if ratios else ""
        cut = line_chart("Cuts through the middle", cuts, *labels, logs=logs)
        section.figure(
            [cut],
            "The row of each surface that leads through the model itself"
            + (", or beside it." if kind == "unit" else "."),
            cuts,
        )
        if first:
            start = len(section.parts)
        caption = "The same colours and heights in all panels."
        section.figure(hills, caption, size="small")
        section.fold(start, "Seen from the side" if first else title)
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
    section.table(Table(head, rows, caption), folded=NUMBERS)


def _levels(values: Sequence[float]) -> tuple[list[float], bool]:
    """Choose edges of colours: equally far apart, or in equal ratios over a decade."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
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


def _rows(models: Models, keys: Iterable[str]) -> list[list[str]]:
    """A row a model: the numbers of its results, over seeds."""
    return [
        [model.name, *(numbers([one.result.get(k) for one in seeds]) for k in keys)]
        for model, seeds in models.items()
    ]


def separability(section: Section, models: Models) -> None:
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
    by_cluster = False
    for model, seeds in models.items():
        result = seeds[0].result
        if points := result.get("points"):
            by_cluster = result.get("coloured_by") == "clusters"
            colours = result["clusters" if by_cluster else "labels"]
            classes |= {*colours}
            said = f"{len(points)} images in {len(set(colours))} "
            said += "clusters" if by_cluster else "classes"
            said += f"; k-NN accuracy {number(result.get('knn_accuracy'))}."
            charts.append(scatter_chart(model.name, points, colours, said))
    section.figure(
        charts,
        "t-SNE of the features, a sample of the images, coloured by their "
        + ("cluster (KMeans on the map)." if by_cluster else "true class."),
        classes=sorted(classes),
        size="small",
    )
    rows = _rows(models, names)
    caption = (
        "Against the true classes, on the features themselves; in the last two "
        f"columns KMeans on the t-SNE map, as the paper has it.{note(rows)}"
    )
    table = Table(["features of", *names.values()], rows, caption)
    section.table(table, folded=NUMBERS)


def perplexity(section: Section, models: Models) -> None:
    """Lay out perplexity before and after."""
    names = {
        "before": "of the language model",
        "perplexity": "with these blocks in it",
        "before_bits_per_byte": "bits a byte, before",
        "bits_per_byte": "after",
    }
    rows = _rows(models, names)
    caption = (
        "Perplexity on a text, the lower the better; the blocks put back into the "
        f"language model that they came from, all else its own.{note(rows)}"
    )
    section.table(Table(["perplexity", *names.values()], rows, caption))


def retrieval(section: Section, models: Models) -> None:
    """Lay out retrieval."""
    section.table(as_table(retrieval_columns(models), "in %"))


def retrieval_columns(models: Models) -> Columns:
    """Give each model's scores."""
    found: Columns = {}
    for model, seeds in models.items():
        named = dict.fromkeys(key for one in seeds for key in one.result)
        keys = [key for key in named if key == "mAP" or "@" in key]
        found[model.name] = {
            key: cell([one.result.get(key) for one in seeds]) for key in keys
        }
    return found


def probe_grid(section: Section, models: Models, where: str = "") -> None:
    """Lay out the probe at each learning rate and weight decay."""
    points: dict[tuple[float, float], dict[Model, list[Any]]] = {}
    for model, seeds in models.items():
        for one in seeds:
            result = one.result
            for lr, row in zip(result["lrs"], result["test_top1"], strict=True):
                for decay, top1 in zip(result["weight_decays"], row, strict=True):
                    point = points.setdefault((float(lr), float(decay)), {})
                    point.setdefault(model, []).append(top1)
    rows = [
        [f"{lr:g}, {decay:g}", *(cell(point.get(model, [])) for model in models)]
        for (lr, decay), point in sorted(points.items())
    ]
    caption = f"{where}Test accuracy of the linear probe in %.{note(rows)}"
    head = ["learning rate, weight decay", *(model.name for model in models)]
    section.table(Table(head, rows, caption))
