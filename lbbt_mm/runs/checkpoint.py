"""Which training a run's checkpoint is of, and whether a result is of it still."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from lbbt_mm.runs.log import newest_training


def reached(checkpoint: str, last: str) -> bool:
    """Tell whether a training's newest checkpoint is its last, or beyond that."""
    done, wanted = (re.match(r"(epoch_|iter_)(\d+)", n) for n in (checkpoint, last))
    if done and wanted and done[1] == wanted[1]:
        return int(done[2]) >= int(wanted[2])
    return checkpoint == last


def older_checkpoint(work_dir: Path, checkpoint: str, began: float | None) -> str:
    """Say if a checkpoint is of a training before the newest one in its folder.

    Args:
        work_dir: Folder of the run.
        checkpoint: Its file name.
        began: When the newest training did, where the log was read already.

    Returns:
        A sentence; empty if it is not, or if that cannot be known.
    """
    path = work_dir / checkpoint
    try:
        if began is None:
            began = next((part.time for part in newest_training(work_dir)), None)
        if began is None or path.stat().st_mtime >= began:
            return ""
    except (OSError, ValueError):
        return ""
    return (
        f"{path} is older than the newest training there: the curves are of that one, "
        "the checkpoint and its results are not."
    )


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
