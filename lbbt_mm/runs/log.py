"""What a run logged: its newest training, told apart from others in the work folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lbbt_mm.runs import shapes
from lbbt_mm.runs.files import read_text

# Scores of mmdet, mmseg and VQAMetric -> our name, and what makes a percentage of it.
_SCORES = {
    "coco/bbox_mAP": ("ap", 100),
    "coco/bbox_mAP_50": ("ap50", 100),
    "coco/bbox_mAP_75": ("ap75", 100),
    "mIoU": ("miou", 1),
    "vqa/accuracy": ("qa", 1),
    "shuffled/accuracy": ("shuffled", 1),  # of questions with exchanged images
}
for _kind in ("what", "how_many", "where", "larger"):  # types of questions
    _SCORES[f"vqa/accuracy/{_kind}"] = (f"qa_{_kind}", 1)
    _SCORES[f"shuffled/accuracy/{_kind}"] = (f"shuffled_{_kind}", 1)

_LABELS = ("random_label/top1", "true_label/top1")
_LINE = {
    **dict.fromkeys(("epoch", "step", "iter"), shapes.whole),
    **dict.fromkeys(("images_per_second", "train_acc"), shapes.number),
    **dict.fromkeys((*_LABELS, *_SCORES), shapes.number),
}
_RESUMED = re.compile(r"resumed epoch: (\d+), iter: (\d+)")
_RESUME = re.compile(r"^resume = True", re.M)


@dataclass
class BridgeCurve:
    """What one training logged, by epoch.

    Attributes:
        train_acc: Epoch -> running accuracy over the epoch's training batches, in %.
        random_acc: Epoch -> accuracy of a clean pass on the random labels, in %.
        true_acc: Epoch -> accuracy of the same pass on the true labels, in %.
        images_per_second: Training throughput, the last value that was logged.
        scores: Of other tasks' validations, as in :func:`read_scores` -> epoch or
            iteration, whichever the run counts in -> value.
        began: When the training did, in seconds since the epoch; ``None`` if unknown.
    """

    train_acc: dict[int, float] = field(default_factory=dict)
    random_acc: dict[int, float] = field(default_factory=dict)
    true_acc: dict[int, float] = field(default_factory=dict)
    images_per_second: float | None = None
    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    began: float | None = None


def read_bridge_curve(work_dir: Path) -> BridgeCurve:
    """Collect accuracies and scores of the newest training in a work folder.

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
    parts = newest_training(work_dir)
    curve = BridgeCurve(began=parts[0].time if parts else None)
    for record in _records_of(parts):
        speed = record.get("images_per_second")
        curve.images_per_second = speed or curve.images_per_second
        if "train_acc" in record and "epoch" in record:
            curve.train_acc[record["epoch"]] = record["train_acc"]
            continue
        # mmengine numbers validations by epoch in `step`.
        for name, values in zip(
            _LABELS, (curve.random_acc, curve.true_acc), strict=True
        ):
            if _LABELS[0] in record and name in record:
                values[record["step"]] = record[name]
        for name, value in read_scores(record).items():
            curve.scores.setdefault(name, {})[record["step"]] = value
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


@dataclass(frozen=True)
class Start:
    """One process's part of a training.

    Attributes:
        folder: Its own, named by the time.
        records: What it logged.
        resumed: Epochs and iterations that were done before; ``None`` from scratch.
    """

    folder: Path
    records: list[dict[str, Any]]
    resumed: tuple[int, int] | None

    @property
    def time(self) -> float | None:
        """When it began, in seconds since the epoch; ``None`` without such a name."""
        try:
            return datetime.strptime(self.folder.name, "%Y%m%d_%H%M%S").timestamp()
        except ValueError:
            return None


def newest_training(work_dir: Path) -> list[Start]:
    """Find the newest training of a folder: its start, and all that resumed it.

    Args:
        work_dir: Folder of the run.

    Returns:
        Its parts, oldest first. What another training logged there before is left out.

    Raises:
        FileNotFoundError: The folder holds no log of a run.
        ValueError: A log is damaged; the message names it.
    """
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        raise FileNotFoundError(
            f"{work_dir} holds no */vis_data/scalars.json; expected the work_dir of a "
            f"training run."
        )
    parts: list[Start] = []
    for path in reversed(files):
        start = _read(path)
        if start.records:
            parts.insert(0, start)
            if start.resumed is None:
                break
    return parts


def _records_of(parts: list[Start]) -> Iterator[dict[str, Any]]:
    """Give what a training logged, without what it lost.

    An interrupted part goes on from a checkpoint: what it logged after that is not of
    this training.
    """
    epoch = iteration = float("inf")
    kept: list[list[dict[str, Any]]] = []
    for part in reversed(parts):
        by_epoch = any("epoch" in record for record in part.records)
        records = []
        for record in part.records:
            end = epoch if by_epoch and not _of_training(record) else iteration
            if record.get("step", record.get("iter", 0)) <= end:
                records.append(record)
        kept.append(records)
        if part.resumed is not None:
            epoch, iteration = (
                min(part.resumed[0], epoch),
                min(part.resumed[1], iteration),
            )
    for records in reversed(kept):
        yield from records


def _of_training(record: dict[str, Any]) -> bool:
    return "iter" in record or "epoch" in record


def _read(path: Path) -> Start:
    """Read JSON lines; a line that a killed run left half-written is passed over."""
    records = []
    lines = read_text(path, path.parents[2]).split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            record = shapes.check(record, _LINE, f"{path}, line {number}")
            if "step" not in record and {_LABELS[0], *_SCORES} & {*record}:
                raise ValueError(f"{path}, line {number}.step is missing")
            records.append(record)
    return Start(path.parents[1], records, _resumed(path, records))


def _resumed(path: Path, records: list[dict[str, Any]]) -> tuple[int, int] | None:
    logs = sorted(log for log in path.parents[1].glob("*.log") if log.is_file())
    for log in logs:
        found = _RESUMED.findall(log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return int(found[-1][0]), int(found[-1][1])
    first = next((record for record in records if _of_training(record)), {})
    # Copied without the log, or logged at a level that leaves the line out.
    config = path.with_name("config.py")
    says = (
        not logs
        and config.is_file()
        and _RESUME.search(config.read_text(encoding="utf-8", errors="replace"))
    )
    if says or first.get("epoch", 1) > 1:
        return int(first.get("epoch", 1)) - 1, int(first.get("step", 1)) - 1
    return None
