"""A measurement in a few numbers, and two models' beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lbbt_mm.runs.measurement import FOLDER, SUFFIX, MeasurementRecord, record_folder

# Measurement -> words for a reader -> where in the result it stands, or what makes it.
_NUMBERS: dict[str, dict[str, str]] = {
    "outliers": {
        "largest |w|": "total.largest",
        "|w| above the threshold": "total.above",
        "share beyond sigmas": "total.share_above_sigmas",
        "excess kurtosis": "total.excess_kurtosis",
    },
    "alignment": {
        "off-diagonal share": "now.data.off_diagonal",
        "of its deviation": "now.data.off_diagonal_deviation",
    },
    "synthetic_alignment": {
        "off-diagonal deviation before": "before.data.off_diagonal_deviation",
        "after": "after.data.off_diagonal_deviation",
    },
    "landscape": {"loss at the weights": "centre"},
    "curvature": {
        "trace of the Hessian": "hessian_trace.value",
        "spectral gap": "spectral_gap.value",
        "noise-sensitivity AUC": "noise_sensitivity_auc.value",
    },
    "separability": {
        "silhouette": "silhouette",
        "accuracy of nearest neighbours": "knn_accuracy",
        "KMeans NMI": "kmeans_nmi",
    },
    "word_subspace": {
        "directions for half of a visual token": "visual_half",
        "for half of a word": "words_half",
    },
    "perplexity": {
        "perplexity of a text before": "before",
        "after": "perplexity",
    },
    "retrieval": {"mAP, %": "mAP", "Pass@1, %": "Pass@1", "Recall@5, %": "Recall@5"},
}


def summary(measurement: str, result: Mapping[str, Any] | None) -> dict[str, float]:
    """Pick the numbers that say most.

    Args:
        measurement: Its name.
        result: Of a record.

    Returns:
        Words -> number; without those that the result does not have.

    Example:
        >>> summary("retrieval", {"mAP": 29.0, "Pass@1": 57.2})
        {'mAP, %': 29.0, 'Pass@1, %': 57.2}
    """
    name, result = measurement.removesuffix("_as_released"), result or {}
    found: dict[str, Any] = {
        words: _at(result, key) for words, key in _NUMBERS.get(name, {}).items()
    }
    if name == "activation":
        for rule in ("zero", "reference"):
            ratios = [block["ratio"] for block in result.get(rule) or []]
            if ratios:
                found[f"mean ratio ({rule})"] = math.fsum(ratios) / len(ratios)
    elif name == "probe_grid":
        rows = [one for row in result.get("test_top1") or [] for one in row]
        found["best test top-1, %"] = max(
            (one for one in rows if one is not None), default=None
        )
    return {words: float(n) for words, n in found.items() if _is_number(n)}


def in_words(record: MeasurementRecord) -> str:
    """Say what a measurement found, in one line: its numbers, or why it failed."""
    if record.error:
        return record.error
    numbers = summary(record.measurement, record.result)
    said = ", ".join(f"{words} {_shown(number)}" for words, number in numbers.items())
    return said or "measured"


def folder_of(path: Path) -> Path:
    """Find the measurements of a model.

    Args:
        path: A checkpoint, a run with one measured model, or the folder of its files.

    Raises:
        ValueError: There are none, or of several models.
    """
    if path.is_dir() and any(path.glob(f"*{SUFFIX}")) and path.parent.name == FOLDER:
        return path
    if path.is_dir():
        found = sorted({file.parent for file in path.glob(f"{FOLDER}/*/*{SUFFIX}")})
        if len(found) > 1:
            raise ValueError(
                f"{path} has measurements of several models: name one of "
                + ", ".join(map(str, found))
            )
        found = found or [path / FOLDER]
    else:
        found = [record_folder(path.parent, path.name)]
    if not any(found[0].glob(f"*{SUFFIX}")):
        raise ValueError(
            f"{path} has no measurements (none in {found[0]}, from {Path.cwd()}): "
            "measure it with tools/analyze.py CONFIG CHECKPOINT."
        )
    return found[0]


def compare(folders: Sequence[Path]) -> Iterable[str]:
    """Lay out the numbers of two models, measurement by measurement.

    Args:
        folders: Two, of :func:`folder_of`.

    Yields:
        Lines of a table. Numbers of other images or options stand side by side with
        that said, and without a difference.

    Raises:
        ValueError: A file is not the result of a measurement.
    """
    one, other = (
        {path.stem: MeasurementRecord.read(path) for path in sorted(f.glob("*.json"))}
        for f in folders
    )
    rows: list[tuple[str, ...]] = [("", "A", "B", "B - A")]
    for name in one | other:
        a, b = one.get(name), other.get(name)
        unlike = _unlike(a, b)
        rows.append((f"{name}{unlike}", "", "", ""))
        left, right = (
            summary(name, record.result) if record else {} for record in (a, b)
        )
        for words in left | right:
            x, y = left.get(words), right.get(words)
            shown = ("-" if n is None else _shown(n) for n in (x, y))
            change = "" if unlike or x is None or y is None else _shown(y - x, "+")
            rows.append((f"  {words}", *shown, change))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield from (f"{name}: {folder}" for name, folder in zip("AB", folders, strict=True))
    for first, *cells in rows:
        line = [first.ljust(widths[0])]
        line += [c.rjust(w) for c, w in zip(cells, widths[1:], strict=True)]
        yield "  ".join(line).rstrip()


def _unlike(a: MeasurementRecord | None, b: MeasurementRecord | None) -> str:
    """Say why two results are not to be subtracted; empty if they may be."""
    if a is None or b is None:
        return f" (only {'A' if a else 'B'} was measured)"
    if a.error or b.error:
        return f" ({'A' if a.error else 'B'} failed: {a.error or b.error})"
    if a.settings != b.settings:
        return f" (with other options: {other_options(a.settings, b.settings)})"
    if a.data != b.data:
        return " (on other images)"
    return ""


def other_options(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Name the options in which two settings differ, such as ``'images 12, not 9'``."""
    return ", ".join(
        f"{key} {one.get(key)}, not {other.get(key)}"
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    )


def _shown(number: float, sign: str = "") -> str:
    whole = number == round(number) and abs(number) < 1e15
    return f"{number:{sign}.0f}" if whole else f"{number:{sign}.4g}"


def _at(node: Any, key: str) -> Any:
    for step in key.split("."):
        node = node.get(step) if isinstance(node, Mapping) else None
    return node


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
