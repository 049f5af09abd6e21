"""Checkpoints that are there or not there, and never half there."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from lbbt_mm.registry import HOOKS

_BACKEND = "lbbt_mm.atomic"


class CheckpointWriteError(RuntimeError):
    """A checkpoint could not be written, for example on a full disk."""


class AtomicLocalBackend(LocalBackend):
    """Local files that appear under their names only when they are complete."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write beside the file, then rename.

        Args:
            obj: The content.
            filepath: The file.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            with open(part, "wb") as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            error.filename = str(path)  # a failing write() does not say
            raise


register_backend(_BACKEND, AtomicLocalBackend)


class _RemoveLater:
    """A file backend that keeps a list of what to remove."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.paths.append(path)

    rmtree = remove

    def do_it(self) -> None:
        for path in self.paths:
            if self._backend.isfile(path):
                self._backend.remove(path)
            elif self._backend.isdir(path):  # DeepSpeed's
                self._backend.rmtree(path)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` for machines that die and disks that fill up.

    It differs in three things. A checkpoint is written beside its place and renamed,
    so that a file with its name is complete. The old checkpoint of ``max_keep_ckpts``
    and of ``save_best`` is removed after the new one is there, not before: this takes
    room for one more. And a failure to write is one sentence.

    The first holds for local files written by mmengine's ``Runner``.

    Args:
        **kwargs: As for ``CheckpointHook``.
    """

    def before_train(self, runner: Runner) -> None:
        """As inherited, with the atomic backend where files are local."""
        out_dir = str(self.out_dir or runner.work_dir)
        if not self.backend_args and not self.file_client_args and "://" not in out_dir:
            self.backend_args = dict(backend=_BACKEND)
        super().before_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with self._old_ones_stay_until_done(runner):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._old_ones_stay_until_done(runner):
            super()._save_best_checkpoint(runner, metrics)

    @contextlib.contextmanager
    def _old_ones_stay_until_done(self, runner: Runner) -> Iterator[None]:
        backend = self.file_backend
        self.file_backend = later = _RemoveLater(backend)
        try:
            yield
        except (OSError, RuntimeError) as error:
            # What torch makes of a failing write where it opens the file itself.
            torchs_own = "PytorchStreamWriter", "inline_container"
            if not isinstance(error, OSError) and not any(
                word in str(error) for word in torchs_own
            ):
                raise
            raise CheckpointWriteError(self._sentence(runner, error)) from error
        finally:
            self.file_backend = backend
        later.do_it()

    def _sentence(self, runner: Runner, error: Exception) -> str:
        kept = latest_checkpoint(self.out_dir)
        intact = (
            f"The earlier one, {kept}, is intact: free some space and go on from it "
            "with --resume."
            if kept
            else "There is no earlier one: free some space and start again."
        )
        path = getattr(error, "filename", None) or self.last_ckpt
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        return f"The checkpoint {path} could not be written ({reason}). {intact}"


def is_complete(path: str | os.PathLike) -> bool:
    """Whether a checkpoint looks complete: cheap, and enough for an interrupted write.

    Args:
        path: A file, or a folder as DeepSpeed writes it.

    Returns:
        False for a missing or empty file, and for torch's format (a zip file) without
        its end.
    """
    path = Path(path)
    if path.is_dir():
        return any(path.iterdir())
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(2)
    return zipfile.is_zipfile(path) if start == b"PK" else len(start) == 2


def latest_checkpoint(work_dir: str | os.PathLike) -> str | None:
    """Find the checkpoint to resume from, past whatever an interrupted run has left.

    Args:
        work_dir: Folder of the run.

    Returns:
        The one that ``last_checkpoint`` names, if it is complete; else the newest
        complete ``epoch_*.pth`` or ``iter_*.pth``; None if there is none.
    """
    folder = Path(work_dir)
    candidates = []
    with contextlib.suppress(OSError):
        named = (folder / "last_checkpoint").read_text().strip()
        # A relative path is one from where the run was started: try beside it too.
        candidates += [Path(named), folder / Path(named).name] if named else []
    files = [*folder.glob("epoch_*.pth"), *folder.glob("iter_*.pth")]
    candidates += sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)
    return next((str(path) for path in candidates if is_complete(path)), None)
