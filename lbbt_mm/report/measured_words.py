"""Measured on a LLaVA: where its visual tokens lie among the words, over training."""

from __future__ import annotations

import re
from bisect import bisect_left

from lbbt_mm.report.chart import Series, line_chart
from lbbt_mm.report.groups import Measured, Models
from lbbt_mm.report.page import NUMBERS, Section
from lbbt_mm.report.tables import Table, number

_SHARE = 1 / 16  # of the directions, that the curve over training is of
_COLOURS = {"LangBridgeProjector": "language", "MLPProjector": "scratch"}


def word_subspace(section: Section, models: Models) -> None:
    """Draw energy by number of directions, and that of a few of them by step."""
    found = [one for seeds in models.values() for one in seeds]
    found.sort(key=lambda one: (one.model.initialisation, _step(one)))
    last = max(map(_step, found))
    lines = []
    for one in found:
        step, result = _step(one), one.result
        dash = "dot" if not step else "solid" if step == last else "dash"
        name = f"{one.model.initialisation}, step {step:g}"
        lines.append(Series(name, result["ks"], result["visual"], _colour(one), dash))
    first = found[0].result
    ks, random = first["ks"], first["random"]
    lines.append(Series("the words themselves", ks, first["words"]))
    lines.append(Series("random vectors", ks, random, dash="dot"))
    words = ("leading directions of the words, k", "share of the energy")
    charts = [line_chart("Energy within k directions", lines, *words, logs="x")]
    place = min(bisect_left(ks, _SHARE * ks[-1]), len(ks) - 1)
    within = f"within {ks[place]:g} of {ks[-1]:g} directions"
    over = [
        _over_training(
            [one for one in found if one.model.initialisation == name], place
        )
        for name in dict.fromkeys(one.model.initialisation for one in found)
    ]
    if any(len(line.xs) > 1 for line in over):
        rule = (random[place], "random vectors")
        title = f"Energy {within}"
        charts.append(line_chart(title, over, "step", words[1], rule=rule))
    section.figure(
        charts,
        "Directions are the right singular vectors of the table of words, largest "
        "first; each token's energy counts as 1.",
        lines,
    )
    keys = ("visual_half", "words_half", "tokens")
    rows = [
        [
            one.model.initialisation,
            f"{_step(one):g}",
            number(one.result["visual"][place]),
            *(number(one.result[key]) for key in keys),
        ]
        for one in found
    ]
    head = ["model", "step", f"energy {within}", "directions that hold half of it"]
    table = Table([*head, "the same of the words", "tokens"], rows, "")
    section.table(table, folded=NUMBERS)


def _over_training(found: list[Measured], place: int) -> Series:
    """One model over its checkpoints."""
    xs, ys = map(_step, found), (one.result["visual"][place] for one in found)
    name = found[0].model.initialisation
    return Series(name, [*xs], [*ys], _colour(found[0]), marker="circle")


def _colour(one: Measured) -> str:
    return _COLOURS.get(one.result["projector"], "other")


def _step(one: Measured) -> float:
    """Read how far training had come from a checkpoint's name; 0 before it."""
    digits = re.findall(r"\d+", one.record.model.get("checkpoint") or "")
    return float(digits[-1]) if digits else 0.0
