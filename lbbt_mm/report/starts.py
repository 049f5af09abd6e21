"""Tell the starts of trainings in one work folder apart."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lbbt_mm.report import shapes
from lbbt_mm.report.reading import read_text

_PLACE = shapes.fields(epoch=shapes.whole, step=shapes.whole, iter=shapes.whole)
_RESUMED = re.compile(r"resumed epoch: (\d+), iter: (\d+)")
_RESUME = re.compile(r"^resume = True", re.M)


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


def records_of(work_dir: Path) -> Iterator[dict[str, Any]]:
    """Read what the newest training of a folder logged, without what it lost.

    An interrupted part goes on from a checkpoint: what it logged after that is not of
    this training.

    Args:
        work_dir: Folder of the run.

    Raises:
        FileNotFoundError: The folder holds no log of a run.
    """
    parts = newest_training(work_dir)
    epoch = iteration = float("inf")
    kept: list[list[dict[str, Any]]] = []
    for part in reversed(parts):
        by_epoch = any("epoch" in record for record in part.records)
        kept.append(
            [
                record
                for record in part.records
                if _step(record)
                <= (epoch if by_epoch and not _of_training(record) else iteration)
            ]
        )
        if part.resumed is not None:
            epoch, iteration = map(
                min, zip(part.resumed, (epoch, iteration), strict=True)
            )
    for records in reversed(kept):
        yield from records


def _of_training(record: dict[str, Any]) -> bool:
    return "iter" in record or "epoch" in record


def _step(record: dict[str, Any]) -> float:
    step = record.get("step", record.get("iter", 0))
    return step if isinstance(step, (int, float)) else 0


def _read(path: Path) -> Start:
    """Read JSON lines; a line that a killed run left half-written is passed over.

    Raises:
        ValueError: The file is none, or a line says something else than a number where
            an epoch or a step should stand.
    """
    records = []
    lines = read_text(path, path.parents[2]).split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records.append(_PLACE(record, f"{path}, line {number}"))
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


def older_checkpoint(work_dir: Path, checkpoint: str) -> str:
    """Say if a checkpoint is of a training before the newest one in its folder.

    Args:
        work_dir: Folder of the run.
        checkpoint: Its file name.

    Returns:
        A sentence; empty if it is not, or if that cannot be known.
    """
    path = work_dir / checkpoint
    try:
        first = newest_training(work_dir)[:1]
        began = first[0].time if first else None
        if began is None or path.stat().st_mtime >= began:
            return ""
    except (OSError, ValueError):
        return ""
    return (
        f"{path} is older than the newest training there: the curves are of that one, "
        "the checkpoint and its results are not."
    )


def reached(checkpoint: str, last: str) -> bool:
    """Tell whether a training came to its end, or beyond one that was set later.

    Args:
        checkpoint: File name of its newest checkpoint.
        last: File name of the checkpoint that its config ends with.
    """
    names = [re.match(r"(epoch_|iter_)(\d+)", name) for name in (checkpoint, last)]
    done, wanted = names
    if done and wanted and done[1] == wanted[1]:
        return int(done[2]) >= int(wanted[2])
    return checkpoint == last


def outdated(result: Path, home: Path, checkpoint: Any, sha256: Any) -> str:
    """Say if a result is of a checkpoint that has been overwritten since.

    Args:
        result: A file that says what was measured.
        home: Folder of the run.
        checkpoint: The file that the result names.
        sha256: Of that file, by the result.

    Returns:
        A sentence; empty if it is not, or if that cannot be known. The checkpoint is
        read only if it has been written after the result.
    """
    if not checkpoint or not sha256:
        return ""
    path = home / Path(str(checkpoint)).name
    try:
        if result.stat().st_mtime >= path.stat().st_mtime:
            return ""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    except OSError:
        return ""
    if digest.hexdigest() == sha256:
        return ""
    return f"{result} is of an earlier {path.name}, and left out: measure it again."
