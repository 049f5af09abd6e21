"""What a JSON file must look like before anything is made of it.

A shape is a function that takes a value and its place in the file, and returns the
value cleaned, or raises a ValueError that says what was expected there. Everything that
is read of a run goes through one of them once; what comes after need not ask again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Shape = Callable[[Any, str], Any]

_LONGEST = 20_000  # characters of a text
_DEEPEST = 40


def number(value: Any, place: str) -> float:
    """Accept a number, NaN and infinities among them; no bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong("a number", value, place)
    if 1e300 < abs(value) < math.inf:
        raise _wrong("a number below 1e300", value, place)
    return value


def whole(value: Any, place: str) -> int:
    """Accept a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 2**63:
        raise _wrong("a whole number", value, place)
    return value


def whole_or_none(value: Any) -> int | None:
    """Take a whole number out of what may hold anything there."""
    try:
        return whole(value, "")
    except ValueError:
        return None


def text(value: Any, place: str) -> str:
    """Accept a text; line breaks and other control characters become spaces."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise _wrong("a text", value, place)
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() else " " for c in value)


def name(value: Any, place: str) -> str:
    """Accept the plain name of a file or folder: no path leads out of its place."""
    plain = isinstance(value, str) and re.fullmatch(r"[^/\\\x00-\x1f]{1,200}", value)
    if not plain or value in (".", ".."):
        raise _wrong("the plain name of a file or folder", value, place)
    return value


def anything(value: Any, place: str, depth: int = 0) -> Any:
    """Accept any JSON, of some depth, its texts cleaned."""
    if depth > _DEEPEST:
        raise ValueError(f"{place[:40]}... has more than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        return {
            text(key, place): anything(one, f"{place}.{key[:80]}", depth + 1)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [
            anything(one, f"{place}[{i}]", depth + 1) for i, one in enumerate(value)
        ]
    if isinstance(value, str):
        return text(value, place)
    return value if value is None or isinstance(value, bool) else number(value, place)


def many(shape: Shape) -> Shape:
    """Accept a list of one kind."""

    def check(value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong("a list", value, place)
        return [shape(one, f"{place}[{i}]") for i, one in enumerate(value)]

    return check


def maybe(shape: Shape) -> Shape:
    """Accept ``null`` too."""
    return lambda value, place: None if value is None else shape(value, place)


def either(*shapes: Shape) -> Shape:
    """Accept what one of them accepts; the last one says what is wrong."""

    def check(value: Any, place: str) -> Any:
        for shape in shapes[:-1]:
            try:
                return shape(value, place)
            except ValueError:
                continue
        return shapes[-1](value, place)

    return check


def each(shape: Shape, key: Callable[[Any], Any] = str) -> Shape:
    """Accept an object of any names with values of one kind.

    Args:
        shape: Of the values; those that are ``null`` are left out.
        key: What to make of each name, for example ``int``.
    """

    def check(value: Any, place: str) -> dict[Any, Any]:
        found = {}
        for label, one in fields(rest=shape)(value, place).items():
            try:
                found[key(label)] = one
            except ValueError:
                inner = f"{place}.{label[:80]}".lstrip(".")
                raise _wrong("a number as its name", label, inner) from None
        return found

    return check


def fields(*needed: str, rest: Shape = anything, **shapes: Shape) -> Shape:
    """Accept an object whose known names have values of known kinds.

    Args:
        needed: Names that it must have.
        rest: Kind of the values under other names; any by default.
        shapes: Name -> kind. A ``null`` counts as not there.
    """

    def check(value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong("an object", value, place)
        found = {}
        for label, one in value.items():
            inner = f"{place}.{text(label, place)[:80]}".lstrip(".")
            if one is not None:
                found[text(label, place)] = shapes.get(label, rest)(one, inner)
        for label in needed:
            if label not in found:
                raise ValueError(f"{place}.{label} is missing".lstrip("."))
        return found

    return check


def _wrong(expected: str, value: Any, place: str) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) < 60 else f"{shown[:57]}..."
    return ValueError(f"{place or 'the file'} should be {expected}, got {shown}")


def _with_initialisation(*needed: str, **shapes: Shape) -> Shape:
    """Accept an object that says what a model starts from; 0.1.0 called it ``arm``."""
    shape = fields(arm=text, initialisation=text, **shapes)

    def check(value: Any, place: str) -> dict[str, Any]:
        found = shape(value, place)
        if "arm" in found:
            found.setdefault("initialisation", found.pop("arm"))
        return fields(*needed, rest=lambda one, _: one)(found, place)

    return check


_anything = each(anything)
_row = many(number)
_matrix = many(many(maybe(number)))
PROBE = fields(
    "last_test_top1",
    last_test_top1=number,
    last_train_top1=number,
    chance=number,
    num_classes=whole,
    checkpoint=text,
    checkpoint_sha256=text,
    command=text,
    images=each(whole),
    machine=_anything,
    versions=_anything,
)
"""What tools/linear_probe.py writes."""
SETTINGS = fields(config=text, options=_anything)
"""Of a sweep's run, before it starts."""
SCORES = fields(**{"accuracy/top1": number})
"""What mmengine's evaluators write."""
CONSTANT = each(number)
"""What tools/constant_baseline.py writes."""
COST = each(either(number, text))
"""What CostHook writes."""
_RUN: dict[str, Shape] = dict(
    name=name,
    variant=text,
    seed=whole,
    point=each(number),
    settings=SETTINGS,
    before=name,
    curves=each(each(number, key=int)),
    metrics=each(number),
    images_per_second=number,
    probe=PROBE,
    probe_before=PROBE,
    test=SCORES,
    test_tta=SCORES,
    cost=COST,
    seconds=number,
    language_init=text,
    environment=_anything,
)
RUN = _with_initialisation(**_RUN)
"""What a sweep writes of one run, in its folder."""
SWEEP_RUN = _with_initialisation(
    *("name", "variant", "initialisation", "seed", "point", "metrics"),
    *("environment", "seconds"),
    **_RUN,
)
"""And in the results of all of them, for tables."""
SWEEP = fields("plan", "runs", plan=text, constant=each(number), runs=many(anything))
"""What a sweep writes of all its runs; each of them is a RUN."""
ANSWERS = many(
    fields(
        *("sample_id", "question", "said", "score"),
        sample_id=text,
        question=text,
        said=text,
        score=number,
        answers=many(text),
        question_type=text,
        img_paths=many(text),
    )
)
"""What VQAMetric writes."""


def _same_size(place: str, *lists: Any) -> None:
    if len({len(one) for one in lists}) > 1:
        sizes = " and ".join(str(len(one)) for one in lists)
        raise ValueError(f"{place} should be of one size, got {sizes}")


def _landscape(value: Any, place: str) -> dict[str, Any]:
    surface = fields("loss", loss=_matrix, steps=_row)
    shape = fields(steps=_row, centre=number, filter_normalised=surface, plain=surface)
    found = shape(value, place)
    for kind in {"filter_normalised", "plain"} & {*found}:
        steps = found[kind].get("steps") or found.get("steps") or []
        rows = found[kind]["loss"]
        _same_size(f"{place}.{kind}: steps, rows and columns", steps, rows, *rows)
        if not rows:
            raise ValueError(f"{place}.{kind}.loss is empty")
    return found


_SEPARABILITY: tuple[str, ...] = (
    "silhouette",
    "knn_accuracy",
    "kmeans_nmi",
    "kmeans_ari",
)
_SEPARABILITY += ("tsne_nmi", "tsne_ari")


def _separability(value: Any, place: str) -> dict[str, Any]:
    numbers = dict.fromkeys(_SEPARABILITY, number)
    found = fields(points=many(_row), labels=many(whole), **numbers)(value, place)
    points, labels = found.get("points", []), found.get("labels", [])
    if points:
        _same_size(f"{place}.points and {place}.labels", points, labels)
    for point in points:
        _same_size(f"{place}.points, x and y", point, "xy")
    return found


def _probe_grid(value: Any, place: str) -> dict[str, Any]:
    keys = dict(lrs=_row, weight_decays=_row, test_top1=_matrix)
    found = fields(*keys, **keys)(value, place)
    _same_size(f"{place}.lrs and test_top1", found["lrs"], found["test_top1"])
    for row in found["test_top1"]:
        _same_size(f"{place}.weight_decays and test_top1", found["weight_decays"], row)
    return found


_basis = fields(
    curve=_row,
    off_diagonal=number,
    off_diagonal_deviation=number,
    leading=each(number),
)
_side = fields(eigenvalues=_row, data=_basis, rotated=_basis)
_aligned = fields(now=_side, initial=_side, before=_side, after=_side, eigenvalues=_row)
_blocks = many(fields("block", "ratio", block=whole, ratio=number))
RESULTS: dict[str, Shape] = {
    "outliers": fields(
        threshold=number,
        sigmas=number,
        total=each(number),
        by_block=each(each(number)),
        histogram=fields(edges=_row, counts=_row),
    ),
    "activation": fields(zero=_blocks, reference=_blocks),
    "alignment": _aligned,
    "synthetic_alignment": _aligned,
    "landscape": _landscape,
    "curvature": fields(
        rest=either(number, many(anything), fields(value=number, error=number)),
        density=fields(grid=_row, values=_row),
        most_sensitive=text,
    ),
    "separability": _separability,
    "retrieval": each(number),
    "probe_grid": _probe_grid,
}
"""Measurement -> what docs/analysis.md says of its ``result``."""
_texts: tuple[str, ...] = (
    "name",
    "stage",
    "labels",
    "language_model",
    "copied_into",
    "config",
)
_texts += ("checkpoint", "sha256", "fingerprint")
RECORD = fields(
    "measurement",
    "model",
    measurement=name,
    error=text,
    result=_anything,
    model=_with_initialisation(**dict.fromkeys(_texts, text)),
    data=fields(dataset=text, split=text, images=whole, fingerprint=text),
    settings=_anything,
    provenance=fields(command=text),
    seconds=number,
)
"""What tools/analyze.py writes."""


def record(value: Any, place: str) -> dict[str, Any]:
    """Accept a measurement with the result that belongs to it."""
    found = RECORD(value, place)
    if found["model"].get("labels") == "correct":  # as 0.1.0 called them
        found["model"]["labels"] = "true"
    shape = RESULTS.get(found["measurement"])
    if shape and "result" in found:
        found["result"] = shape(found["result"], "result")
    return found
