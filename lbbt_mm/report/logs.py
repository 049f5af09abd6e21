"""Read what a run logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbbt_mm.report import shapes
from lbbt_mm.report.starts import records_of

# Types of questions whose accuracies have names of their own here.
_QUESTIONS = ("what", "how_many", "where", "larger")
# Scores of mmdet, mmseg and VQAMetric -> our name, and what makes a percentage of it.
_SCORES = {
    # With `shuffled` as the metric's prefix: of questions with exchanged images.
    **{
        f"{prefix}/accuracy{kind and '/' + kind}": (
            "_".join(filter(None, (name, kind))),
            1,
        )
        for prefix, name in (("vqa", "qa"), ("shuffled", "shuffled"))
        for kind in ("", *_QUESTIONS)
    },
    "coco/bbox_mAP": ("ap", 100),
    "coco/bbox_mAP_50": ("ap50", 100),
    "coco/bbox_mAP_75": ("ap75", 100),
    "mIoU": ("miou", 1),
}


_NUMBERS = shapes.fields(
    images_per_second=shapes.number,
    train_acc=shapes.number,
    **{f"{labels}_label/top1": shapes.number for labels in ("random", "true")},
    **dict.fromkeys(_SCORES, shapes.number),
)


def _checked(line: Mapping[str, Any]) -> dict[str, Any]:
    """Check a line of a log: what is read of it are numbers, at an epoch or a step."""
    record = _NUMBERS(line, "in a line of scalars.json,")
    scored = any(key in record for key in ("random_label/top1", *_SCORES))
    needed = ["step"] * scored
    return shapes.fields(*needed)(record, "in a line of scalars.json,")


@dataclass
class BridgeCurve:
    """What one bridge logged, by epoch.

    Attributes:
        train_acc: Epoch -> running accuracy over the epoch's training batches, in %.
        random_acc: Epoch -> accuracy of a clean pass on the random labels, in %.
        true_acc: Epoch -> accuracy of the same pass on the true labels, in %.
        images_per_second: Training throughput, the last value that was logged.
    """

    train_acc: dict[int, float] = field(default_factory=dict)
    random_acc: dict[int, float] = field(default_factory=dict)
    true_acc: dict[int, float] = field(default_factory=dict)
    images_per_second: float | None = None


def read_bridge_curve(work_dir: Path) -> BridgeCurve:
    """Collect a bridge's accuracies from the newest training in its folder.

    What other trainings logged there before is left out; the parts of one that was
    interrupted and resumed are joined.

    Args:
        work_dir: Folder of the run.

    Returns:
        The curves; of an epoch that was trained twice, the later one.

    Raises:
        FileNotFoundError: The folder holds no log of a run.
        ValueError: A line of it holds something else than numbers.
    """
    curve = BridgeCurve()
    for record in map(_checked, records_of(work_dir)):
        speed = record.get("images_per_second")
        curve.images_per_second = speed or curve.images_per_second
        if "train_acc" in record and "epoch" in record:
            curve.train_acc[record["epoch"]] = record["train_acc"]
        # mmengine numbers validations by epoch in `step`.
        elif "random_label/top1" in record:
            curve.random_acc[record["step"]] = record["random_label/top1"]
            if "true_label/top1" in record:
                curve.true_acc[record["step"]] = record["true_label/top1"]
    return curve


def read_scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Pick the scores of a task out of what mmengine calls metrics.

    Args:
        metrics: Of a validation or a test.

    Returns:
        ``ap``, ``ap50``, ``ap75``, ``miou``, ``qa`` and ``shuffled``, these two also by
        type of question (``qa_what``); those that are there, in %.
    """
    return {
        name: round(factor * metrics[key], 4)  # not 1.7000000000000002
        for key, (name, factor) in _SCORES.items()
        if key in metrics
    }


def read_score_curves(work_dir: Path) -> dict[str, dict[int, float]]:
    """Collect the scores of all validations of the newest training in a folder.

    Args:
        work_dir: Folder of the run.

    Returns:
        Score, as in :func:`read_scores` -> epoch or iteration, whichever the run
        counts in -> value.

    Raises:
        FileNotFoundError: The folder holds no log of a run.
        ValueError: A line of it holds something else than numbers.
    """
    curves: dict[str, dict[int, float]] = {}
    for record in map(_checked, records_of(work_dir)):
        for name, value in read_scores(record).items():
            curves.setdefault(name, {})[record["step"]] = value
    return curves
