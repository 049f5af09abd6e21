"""What a JSON file must look like before anything is made of it.

A shape is a function like :func:`number`; ``[SHAPE]``, a list of one kind;
``{str: SHAPE}`` or ``{int: SHAPE}``, an object of any names; ``{'a': SHAPE, ...}``, an
object whose known names have values of known kinds, other names any; or
``(SHAPE, SHAPE)``, either. :func:`check` takes a value, a shape and the place in the
file, and returns the value cleaned, or raises a ValueError that says what was expected
there. Everything that is read of a run goes through it once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Shape = Any

_LONGEST = 20_000  # characters of a text
_DEEPEST = 40


def number(value: Any, place: str) -> float:
    """Accept a number, NaN and infinities among them; no bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong("a number", value, place)
    if 1e300 < abs(value) < math.inf:
        raise _wrong("a number below 1e300", value, place)
    return value


def number_or_none(value: Any, place: str) -> float | None:
    """Accept ``null`` too."""
    return None if value is None else number(value, place)


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


def options(value: Any, place: str) -> dict[str, Any]:
    """Accept settings of a config, of which ``null`` is one."""
    check(value, {}, place)  # an object, that is
    return anything(value, place)


def check(value: Any, shape: Shape, place: str = "", needed: tuple = ()) -> Any:
    """Accept a value of a shape.

    Args:
        value: Of a JSON file.
        shape: See above. In an object a ``null`` counts as not there.
        place: Where in the file it stands.
        needed: Names that an object must have.

    Returns:
        It, cleaned.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(shape, tuple):
        for one in shape[:-1]:
            try:
                return check(value, one, place)
            except ValueError:
                continue
        return check(value, shape[-1], place)  # says what is wrong
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise _wrong("a list", value, place)
        return [check(one, shape[0], f"{place}[{i}]") for i, one in enumerate(value)]
    if not isinstance(shape, dict):
        return shape(value, place)
    if not isinstance(value, Mapping):
        raise _wrong("an object", value, place)
    found: dict[Any, Any] = {}
    for key, one in value.items():
        label = text(key, place)
        inner = f"{place}.{label[:80]}".lstrip(".")
        if int in shape:
            try:
                key = int(label)
            except ValueError:
                raise _wrong("a number as its name", label, inner) from None
        kind = shape.get(label, shape.get(str, shape.get(int, anything)))
        if one is not None:
            found[key if int in shape else label] = check(one, kind, inner)
    for label in needed:
        if label not in found:
            raise ValueError(f"{place}.{label} is missing".lstrip("."))
    return found


def _wrong(expected: str, value: Any, place: str) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) < 60 else f"{shown[:57]}..."
    return ValueError(f"{place or 'the file'} should be {expected}, got {shown}")


def _object(shape: dict, *needed: str) -> Callable[[Any, str], dict[str, Any]]:
    """Accept an object with some names that it must have.

    What a model starts from is its ``initialisation``; 0.1.0 called it ``arm``.
    """

    def accept(value: Any, place: str) -> dict[str, Any]:
        found = check(value, shape, place)
        if "arm" in shape and "arm" in found:
            found.setdefault("initialisation", found.pop("arm"))
        return check(found, {str: lambda one, _: one}, place, needed)

    return accept


_ANY = {str: anything}
PROBE = _object(
    {
        "last_test_top1": number,
        "last_train_top1": number,
        "chance": number,
        "num_classes": whole,
        "checkpoint": text,
        "checkpoint_sha256": text,
        "command": text,
        "images": {str: whole},
        "machine": _ANY,
        "versions": _ANY,
    },
    "last_test_top1",
)
"""What tools/linear_probe.py writes."""
SETTINGS = _object({"config": text, "options": options}, "config")
"""Of a sweep's run, before it starts."""
SCORES = {"accuracy/top1": number}
"""What mmengine's evaluators write."""
CONSTANT = {str: number}
"""What tools/constant_baseline.py writes."""
COST = {str: (number, text)}
"""What CostHook writes."""
_RUN = {
    "name": name,
    "variant": text,
    "initialisation": text,
    "arm": text,
    "seed": whole,
    "point": {str: number},
    "settings": SETTINGS,
    "before": name,
    "curves": {str: {int: number}},
    "metrics": {str: number},
    "images_per_second": number,
    "probe": PROBE,
    "probe_before": PROBE,
    "test": SCORES,
    "test_tta": SCORES,
    "cost": COST,
    "seconds": number,
    "language_init": text,
    "environment": _ANY,
}
RUN = _object(_RUN, "name", "initialisation")
"""What a sweep writes of one run, in its folder."""
SWEEP_RUN = _object(
    _RUN,
    *("name", "variant", "initialisation", "seed", "point", "metrics"),
    *("environment", "seconds"),
)
"""And in the results of all of them, for tables."""
SWEEP = _object(
    {"plan": text, "constant": {str: number}, "runs": [anything]}, "plan", "runs"
)
"""What a sweep writes of all its runs; each of them is a RUN."""
_ANSWER = {
    "sample_id": text,
    "question": text,
    "said": text,
    "score": number,
    "answers": [text],
    "question_type": text,
    "img_paths": [text],
}
ANSWERS = [_object(_ANSWER, "sample_id", "question", "said", "score")]
"""What VQAMetric writes."""

_ROW = [number]
_BASIS = {
    "curve": _ROW,
    "off_diagonal": number,
    "off_diagonal_deviation": number,
    "leading": {str: number},
}
_SIDE = {"eigenvalues": _ROW, "data": _BASIS, "rotated": _BASIS}
_ALIGNED = {
    **dict.fromkeys(("now", "initial", "before", "after"), _SIDE),
    "eigenvalues": _ROW,
}
_BLOCKS = [_object({"block": whole, "ratio": number}, "block", "ratio")]
_SURFACE = _object({"loss": [[number_or_none]], "steps": _ROW}, "loss")
_GRID = {"lrs": _ROW, "weight_decays": _ROW, "test_top1": [[number_or_none]]}
_SUBSPACE = {
    "projector": text,
    **dict.fromkeys(("tokens", "visual_half", "words_half"), whole),
    **dict.fromkeys(("ks", "visual", "words", "random"), _ROW),
}
RESULTS: dict[str, Shape] = {
    "outliers": {
        "threshold": number,
        "sigmas": number,
        "total": {str: number},
        "by_block": {str: {str: number}},
        "histogram": {"edges": _ROW, "counts": _ROW},
    },
    "activation": {"zero": _BLOCKS, "reference": _BLOCKS},
    "alignment": _ALIGNED,
    "synthetic_alignment": _ALIGNED,
    "landscape": {
        "steps": _ROW,
        "centre": number,
        "filter_normalised": _SURFACE,
        "plain": _SURFACE,
        "unit": _SURFACE,
    },
    "curvature": {
        "density": {"grid": _ROW, "values": _ROW},
        "most_sensitive": text,
        str: (number, [anything], {"value": number, "error": number}),
    },
    "separability": {
        "points": [_ROW],
        "labels": [whole],
        "clusters": [whole],
        "coloured_by": text,
        **dict.fromkeys(("silhouette", "knn_accuracy", "kmeans_nmi"), number),
        **dict.fromkeys(("kmeans_ari", "tsne_nmi", "tsne_ari"), number),
    },
    "retrieval": {str: number},
    "probe_grid": _object(_GRID, *_GRID),
    "word_subspace": _object(_SUBSPACE, *_SUBSPACE),
    "perplexity": {str: number},
}
"""Measurement -> what docs/analysis.md says of its ``result``."""
_texts = ("name", "initialisation", "arm", "stage", "labels", "language_model")
_MODEL = dict.fromkeys((*_texts, "copied_into", "config"), text)
_MODEL |= dict.fromkeys(("checkpoint", "sha256", "fingerprint"), text)
_RECORD = {
    "measurement": name,
    "error": text,
    "result": _ANY,
    "model": _object(_MODEL),
    "data": {"dataset": text, "split": text, "images": whole, "fingerprint": text},
    "settings": _ANY,
    "provenance": {"command": text},
    "seconds": number,
}


def record(value: Any, place: str) -> dict[str, Any]:
    """Accept what tools/analyze.py writes: a measurement and what belongs to it."""
    found = check(value, _RECORD, place, ("measurement", "model"))
    if found["model"].get("labels") == "correct":  # as 0.1.0 called them
        found["model"]["labels"] = "true"
    if "result" in found:
        kind = found["measurement"].removesuffix("_as_released")
        found["result"] = check(found["result"], RESULTS.get(kind, anything), "result")
        _check_sizes(kind, found["result"])
    return found


def _check_sizes(measurement: str, result: Mapping[str, Any]) -> None:
    """Refuse lists that belong to each other and differ in length."""
    together: dict[str, tuple[Any, ...]] = {}
    if measurement == "landscape":
        for kind in {"filter_normalised", "plain", "unit"} & {*result}:
            rows = result[kind]["loss"]
            steps = result[kind].get("steps") or result.get("steps") or []
            together[f"{kind}: steps, rows and columns"] = (steps, rows, *rows)
            if not rows:
                raise ValueError(f"result.{kind}.loss is empty")
    elif measurement == "separability" and result.get("points"):
        together["points and labels"] = (result["points"], result.get("labels", []))
        together["points, x and y"] = ("xy", *result["points"])
    elif measurement == "word_subspace":
        names = ("ks", "visual", "words", "random")
        together[" and ".join(names)] = tuple(result[name] for name in names)
    elif measurement == "probe_grid":
        rows = result["test_top1"]
        together["lrs and test_top1"] = (result["lrs"], rows)
        together["weight_decays and test_top1"] = (result["weight_decays"], *rows)
    for words, lists in together.items():
        sizes = list(dict.fromkeys(len(one) for one in lists))
        if len(sizes) > 1:
            shown = " and ".join(map(str, sizes[:5]))
            raise ValueError(f"result.{words} should be of one size, got {shown}")
