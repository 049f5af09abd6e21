"""Checkpoints that are there or not there, and never half there."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from lbbt_mm.files import write_whole
from lbbt_mm.neighbours.mmengine import start_from
from lbbt_mm.registry import HOOKS

_BACKEND = "lbbt_mm.atomic"
_SMALL = 1 << 16  # bytes; more than a file with a word
_INTERRUPTED = "interrupted_ckpt"  # in the message hub


class CheckpointWriteError(RuntimeError):
    """A checkpoint could not be written, for example on a full disk."""


class AtomicLocalBackend(LocalBackend):
    """Local files that appear under their names only when they are complete."""

    streams: dict[str, dict] = {}
    """Checkpoints by a word that mmengine writes in their place."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write beside the file, then rename."""
        for word, checkpoint in self.streams.items():
            if word.encode() in obj[:_SMALL]:
                write_whole(filepath, partial(_stream, checkpoint))
                return
        write_whole(filepath, obj)


register_backend(_BACKEND, AtomicLocalBackend)


def _stream(checkpoint: dict, path: Path) -> None:
    with open(path, "wb") as file:  # torch's own opening hides why a write failed
        torch.save(checkpoint, file)


class _HandOver(Hook):
    """Takes the checkpoint when all hooks have seen it, and leaves a word.

    mmengine serialises what is left in memory before a backend sees it: with a word in
    place of the weights a file is written tensor by tensor.
    """

    priority = "LOWEST"

    def __init__(self, owner: AtomicCheckpointHook) -> None:
        self.owner = owner

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self.owner.saving and self.owner.backend_args == dict(backend=_BACKEND):
            AtomicLocalBackend.streams[self.owner.saving] = dict(checkpoint)
            checkpoint.clear()
            checkpoint["streamed"] = self.owner.saving


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

    It differs in six things. A checkpoint is written beside its place and renamed,
    so that a file with its name is complete. It is written tensor by tensor, where
    mmengine holds the whole file in memory first. The old checkpoint of
    ``max_keep_ckpts`` and of ``save_best`` is removed after the new one is there, not
    before: this takes room for one more. A failure to write is one sentence.
    ``resume=True`` goes on in the work folder, wherever it has been moved or copied to:
    mmengine's own way follows a path in ``last_checkpoint`` that may lead to the
    original. And with ``max_share`` a file is not written more often than it is worth.

    The first two hold for local files written by mmengine's ``Runner``.

    Args:
        *args: As for ``CheckpointHook``.
        max_share: Share of a run's time that checkpoints may take. One that is due is
            left out while less than the last one's seconds / ``max_share`` have passed
            since that one; the first and the last of a run are always written. It
            counts where ``max_keep_ckpts`` is 1, so that a checkpoint only serves to go
            on from. ``None`` writes every one that is due.
        **kwargs: As for ``CheckpointHook``.

    Raises:
        ValueError: ``max_share`` is not between 0 and 1.

    Example::

        default_hooks = dict(
            checkpoint=dict(type="lbbt_mm.AtomicCheckpointHook", interval=1)
        )
    """

    backend_args: dict | None  # mmengine's, which has no types
    file_backend: Any

    def __init__(
        self, *args: Any, max_share: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if max_share is not None and not 0 < max_share <= 1:
            raise ValueError(
                "AtomicCheckpointHook expects max_share to be a share of the time, "
                f"such as 0.02, or None, got {max_share!r}."
            )
        self.max_share = max_share
        self.saving = ""  # a word, while one is written
        self._seconds = 0.0  # that the last one took
        self._since = time.monotonic()

    def before_run(self, runner: Runner) -> None:
        """Choose what ``resume=True`` goes on from, before mmengine does."""
        start_from(runner, latest_checkpoint(runner.work_dir))

    def before_train(self, runner: Runner) -> None:
        """As inherited, with the atomic backend where files are local."""
        out_dir = str(self.out_dir or runner.work_dir)
        if not self.backend_args and not self.file_client_args and "://" not in out_dir:
            self.backend_args = dict(backend=_BACKEND)
        super().before_train(runner)
        self._bring_along(runner)
        handed = any(isinstance(hook, _HandOver) for hook in runner.hooks)
        if isinstance(runner, Runner) and not handed:  # strategies write by themselves
            runner.register_hook(_HandOver(self))
        self._since = time.monotonic()

    def after_train_epoch(self, runner: Runner) -> None:
        """As inherited, unless it would take too much of the time."""
        due = self.by_epoch and self.every_n_epochs(
            runner, self.interval, self.save_begin
        )
        if not due or self.is_last_train_epoch(runner) or self._is_worth_it():
            super().after_train_epoch(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Likewise, where ``by_epoch`` is false."""
        due = not self.by_epoch and self.every_n_train_iters(
            runner, self.interval, self.save_begin
        )
        if not due or self.is_last_train_iter(runner) or self._is_worth_it():
            super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def _is_worth_it(self) -> bool:
        if self.max_share is None or self.max_keep_ckpts != 1:
            return True
        passed = time.monotonic() - self._since
        answer = [self._seconds <= self.max_share * passed]
        broadcast_object_list(answer)  # all processes take part in writing one
        return answer[0]

    def _save_checkpoint(self, runner: Runner) -> None:
        start = time.monotonic()
        super()._save_checkpoint(runner)
        self._since = time.monotonic()
        self._seconds = self._since - start

    def _bring_along(self, runner: Runner) -> None:
        """Look for the best checkpoint here, not where the folder was copied from.

        The one that it names is removed when a better one comes.
        """
        if not self.save_best:
            return
        for key in self.key_indicators if len(self.key_indicators) > 1 else [None]:
            info = "best_ckpt" if key is None else f"best_ckpt_{key}"
            path = runner.message_hub.runtime_info.get(info)
            if not path:
                continue
            here = self.file_backend.join_path(self.out_dir, os.path.basename(path))
            runner.message_hub.update_info(info, here)
            if key is None:
                self.best_ckpt_path = here
            else:
                self.best_ckpt_path_dict[key] = here

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with self._old_ones_stay_until_done(runner):
            super()._save_checkpoint_with_step(runner, step, meta)
            interrupted = runner.message_hub.runtime_info.get(_INTERRUPTED)
            if interrupted and is_main_process():
                path = os.path.join(self.out_dir, os.path.basename(interrupted))
                if os.path.isfile(path) and path != self.last_ckpt:
                    self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:  # of a validation alone, before which nothing is set up
            return
        with self._old_ones_stay_until_done(runner):
            super()._save_best_checkpoint(runner, metrics)

    @contextlib.contextmanager
    def _old_ones_stay_until_done(self, runner: Runner) -> Iterator[None]:
        backend = self.file_backend
        self.file_backend = later = _RemoveLater(backend)
        self.saving = f"lbbt_mm.{secrets.token_hex(16)}"
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
            AtomicLocalBackend.streams.pop(self.saving, None)
            self.saving = ""
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
        first: BaseException | None = error
        while first and not getattr(first, "strerror", None):  # under what torch says
            first = first.__context__
        reason = getattr(first, "strerror", None) or str(error).splitlines()[0]
        return f"The checkpoint {path} could not be written ({reason}). {intact}"


def save_iteration(runner: Runner, hook: CheckpointHook) -> str:
    """Write a checkpoint of the iteration that has just been trained, if there is none.

    All processes call it.

    Args:
        runner: Of the training, in ``after_train_iter``.
        hook: Says where and how checkpoints are written.

    Returns:
        The file.

    Raises:
        CheckpointWriteError: It could not be written.
    """
    step = runner.iter + 1
    if not hook.by_epoch:
        path = os.path.join(str(hook.out_dir), hook.filename_tmpl.format(step))
        if hook.last_ckpt != path:
            hook._save_checkpoint(runner)
        return str(hook.last_ckpt)
    name = f"iter_{step}.pth"
    path = os.path.join(str(hook.out_dir), name)
    runner.message_hub.update_info(_INTERRUPTED, name)
    hook.last_ckpt = path
    guard = (
        hook._old_ones_stay_until_done(runner)
        if isinstance(hook, AtomicCheckpointHook)
        else contextlib.nullcontext()
    )
    with guard:
        runner.save_checkpoint(
            hook.out_dir,
            name,
            hook.file_client_args,
            save_optimizer=hook.save_optimizer,
            save_param_scheduler=hook.save_param_scheduler,
            meta=dict(epoch=runner.epoch, iter=step),
            by_epoch=False,
            backend_args=hook.backend_args,
        )
    if is_main_process():
        write_whole(Path(runner.work_dir, "last_checkpoint"), path)
    return path


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
        Of the complete ones: the one in this folder with the name that is written in
        ``last_checkpoint``; else the newest ``epoch_*.pth`` or ``iter_*.pth`` of the
        folder; else, where checkpoints are kept in another folder, the one that
        ``last_checkpoint`` leads to. None if there is none.
    """
    folder = Path(work_dir)
    named = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        named = (folder / "last_checkpoint").read_text().strip()
    # The name before the path, which leads a folder that was copied to the original.
    candidates = [folder / Path(named).name] if named else []
    files = [*folder.glob("epoch_*.pth"), *folder.glob("iter_*.pth")]
    candidates += sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)
    candidates += [Path(named)] if named else []
    return next((str(path) for path in candidates if is_complete(path)), None)
