"""Read what a run logged."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
    """Collect a bridge's accuracies from the scalars of all its starts and resumes.

    Args:
        work_dir: Folder of the run.

    Returns:
        The curves; of an epoch that was trained twice, the later one.

    Raises:
        FileNotFoundError: The folder holds no log of a run.
    """
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        raise FileNotFoundError(
            f"{work_dir} holds no */vis_data/scalars.json; expected the work_dir of a "
            f"training run."
        )
    curve = BridgeCurve()
    for path in files:
        for record in _records(path):
            if "train_acc" in record:
                curve.train_acc[record["epoch"]] = record["train_acc"]
                speed = record.get("images_per_second")
                curve.images_per_second = speed or curve.images_per_second
            # mmengine numbers validations by epoch in `step`.
            elif "random_label/top1" in record:
                curve.random_acc[record["step"]] = record["random_label/top1"]
                if "true_label/top1" in record:
                    curve.true_acc[record["step"]] = record["true_label/top1"]
    return curve


def _records(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a line that a killed run left half-written is passed over."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records
