"""What one measurement of one model found: the JSON files between tools and page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lbbt_mm.files import write_whole
from lbbt_mm.runs import shapes
from lbbt_mm.runs.files import UnreadableError, read_json

FOLDER = "analysis"  # beside the checkpoints
SUFFIX = ".json"


@dataclass(frozen=True)
class MeasurementRecord:
    """One measurement of one model on some images.

    Attributes:
        measurement: What was measured: ``'outliers'``, ``'retrieval'`` ...
        result: Its numbers, as docs/analysis.md lists them; ``None`` if it failed.
        error: Why it failed, in one sentence; ``None`` if it did not.
        model: What was measured: ``name`` (of the run), ``initialisation``
            (``'language'`` or ``'scratch'``), ``stage`` (``'initial'`` for a model that
            is not trained, or ``'trained'``), ``labels`` (``'random'``, ``'true'``
            ...), ``language_model``, ``config``, ``checkpoint`` (file name or
            ``None``), ``sha256`` of that file.
        data: On which images: ``dataset``, ``split``, ``images``, ``classes`` and a
            ``fingerprint`` that differs between datasets; empty if none were needed.
        settings: Of the measurement, its seed among them.
        provenance: ``command``, machine, versions, commit, date.
        seconds: How long it took.
    """

    measurement: str
    result: dict[str, Any] | None
    error: str | None
    model: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def write(self, folder: Path) -> Path:
        """Write ``MEASUREMENT.json`` into a folder, whole or not at all."""
        path = folder / f"{self.measurement}{SUFFIX}"
        write_whole(path, json.dumps(asdict(self), indent=1, allow_nan=True) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> MeasurementRecord:
        """Read what :meth:`write` wrote; anything else is a ValueError."""
        try:
            found = read_json(path, shapes.record, path.parents[2])
            return cls(**dict(dict(result=None, error=None), **found))
        except (UnreadableError, TypeError) as error:
            reason = getattr(error, "reason", error)
            raise ValueError(
                f"{path} is not the result of a measurement ({reason}): delete it and "
                f"run tools/analyze.py again."
            ) from error


def record_folder(work_dir: Path, checkpoint: str | None) -> Path:
    """Say where measurements of a checkpoint lie, or (``None``) of the built model."""
    return work_dir / FOLDER / (Path(checkpoint).stem if checkpoint else "initial")


def find_records(folder: Path) -> Iterator[Path]:
    """Find all files of measurements below a folder of one run or of many, sorted."""
    return iter(sorted(folder.rglob(f"{FOLDER}/*/*{SUFFIX}")))
