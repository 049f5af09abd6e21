"""A run that is asked to end writes a checkpoint, and says what it did."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from lbbt_mm.hooks.atomic_checkpoint import (
    CheckpointWriteError,
    latest_checkpoint,
    save_iteration,
)
from lbbt_mm.hooks.random_state import RandomStateHook
from lbbt_mm.neighbours.mmengine import loops_of
from lbbt_mm.registry import HOOKS

_TOGETHER = 5.0  # seconds in which a launcher and a terminal send the same twice
# Seconds in which the threads of a killed parent die; on Linux each sends SIGTERM.
_PARENTS_THREADS = 1.0


class RunEnded(SystemExit):
    """A signal ended the run; ``code`` is 128 and the signal's number."""


@HOOKS.register_module()
class TerminationHook(Hook):
    """End a run on a signal after the iteration, with a checkpoint and a sentence.

    On the first signal the iteration is finished, a checkpoint is written, the log says
    which and how to go on, and the process ends with 128 and the signal's number (143
    for SIGTERM, 130 for Ctrl-C). A second signal ends it at once, but for one SIGTERM
    right after another: a killed parent sends several. Several processes
    agree on an iteration, every ``interval`` ones. A signal in a validation ends it
    with what has been saved before.

    The checkpoint is ``iter_N.pth``; of a loop by epochs only with
    :class:`RandomStateHook`, which goes on in mid-epoch, and it is removed when the
    next epoch's is there.

    Args:
        signals: Names of signals; those that a system does not have are left out.
            ``SIGUSR1`` is what Slurm's ``--signal=USR1@120`` sends before the end of
            the time.
        interval: Iterations between two agreements of several processes.

    Raises:
        ValueError: ``interval`` below 1, or a name that is none of a signal.
        RunEnded: After an iteration, if a signal came; a ``SystemExit``.

    Example::

        custom_hooks = [
            dict(type="lbbt_mm.RandomStateHook"),
            dict(type="lbbt_mm.TerminationHook"),
        ]
    """

    # After the checkpoint of the iteration, if there is one, and its log.
    priority = "LOWEST"

    def __init__(
        self,
        signals: Sequence[str] = ("SIGTERM", "SIGINT", "SIGUSR1"),
        interval: int = 10,
    ) -> None:
        if interval < 1:
            raise ValueError(
                f"TerminationHook expects an interval of 1 or more, got {interval}."
            )
        for name in signals:
            if not name.startswith("SIG"):
                raise ValueError(
                    f"TerminationHook expects names such as 'SIGTERM', got {name!r}."
                )
        self.interval = interval
        self._signals = [getattr(signal, n) for n in signals if hasattr(signal, n)]
        self._previous: dict[int, Any] = {}
        self._received = 0

    def before_train(self, runner: Runner) -> None:
        """Listen from here on; in a thread, where Python cannot, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._received, self._since = 0, 0.0
        self._pid = os.getpid()
        self._loop = type(runner.train_loop).run.__code__
        for number in self._signals:
            before = signal.getsignal(number)
            # Of a run in this process that ended with an error, and listens no more.
            other = getattr(before, "__self__", None)
            while isinstance(other, TerminationHook) and other is not self:
                before = other._previous.get(number, signal.SIG_DFL)
                other = getattr(before, "__self__", None)
            # Whoever started this run shields it from that one: a shell its
            # background jobs from Ctrl-C, nohup, a scheduler.
            if before not in (self._receive, signal.SIG_IGN):
                self._previous[number] = before
                signal.signal(number, self._receive)
        for loop in (runner.train_loop, loops_of(runner)[1]):
            loader = getattr(loop, "dataloader", None)
            if loader is not None and not isinstance(loader.worker_init_fn, _Patient):
                loader.worker_init_fn = _Patient(loader.worker_init_fn, self._signals)

    def after_train(self, runner: Runner) -> None:
        """Listen no more."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        for number, before in self._previous.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        training = os.getpid() == self._pid and _runs(frame, self._loop)
        if training and self._received:
            several = get_world_size() > 1
            window = _PARENTS_THREADS if number == signal.SIGTERM else 0.0
            if now - self._since < (_TOGETHER if several else window):
                return
        if not training or self._received:
            self._stop_listening()
            os.kill(os.getpid(), number)
            return
        self._received, self._since = number, now
        name = signal.Signals(number).name
        if is_main_process():
            words = f"{name}: the run ends after this iteration; again: at once.\n"
            with contextlib.suppress(OSError):  # whoever read it may be gone
                os.write(2, words.encode())

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """End here if a signal came."""
        number = self._received
        if get_world_size() > 1:
            if (runner.iter + 1) % self.interval:
                return
            device = next(runner.model.parameters()).device
            flag = torch.tensor(number, device=device)
            all_reduce(flag, "max")
            number = int(flag)
        if number and runner.iter + 1 < runner.max_iters:
            self._end(runner, number, *_save(runner))

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """In one process: end here; several end after the next training iteration."""
        if self._received and get_world_size() == 1:
            latest = latest_checkpoint(runner.work_dir)
            self._end(runner, self._received, latest, "in a validation")

    def _end(
        self, runner: Runner, number: int, checkpoint: str | None, why: str
    ) -> None:
        name = signal.Signals(number).name
        step = runner.iter + 1 if not why.startswith("in a val") else runner.iter
        kept = (
            f"{checkpoint} is complete: go on from it with --resume"
            if checkpoint
            else "there is no checkpoint to go on from"
        )
        why = f" ({why})" if why else ""
        runner.logger.warning(
            f"TerminationHook: ended by {name} after iteration {step}{why}; {kept}."
        )
        self._stop_listening()
        barrier()  # the first process has written
        runner.call_hook("after_run")
        raise RunEnded(128 + number)


def _save(runner: Runner) -> tuple[str | None, str]:
    """Write a checkpoint where a resume can go on exactly.

    Returns:
        The newest checkpoint, and why it is not of this iteration, or nothing.
    """
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    states = [hook for hook in runner.hooks if isinstance(hook, RandomStateHook)]
    by_epoch = hasattr(runner.train_loop, "run_epoch")
    if not hooks:
        return None, "no CheckpointHook"
    if by_epoch and not any(hook.resumes_in_mid_epoch for hook in states):
        return latest_checkpoint(runner.work_dir), (
            "none of this iteration, as mmengine cannot resume in mid-epoch without "
            "RandomStateHook"
        )
    for hook in states:
        hook.gather()
    try:
        return save_iteration(runner, hooks[0]), ""
    except (CheckpointWriteError, OSError) as error:
        return latest_checkpoint(runner.work_dir), str(error)


def _runs(frame: FrameType | None, code: Any) -> bool:
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


class _Patient:
    """A worker's start, after which it outlives a signal to the whole group.

    The batch that is being trained on needs it. A second one ends it.
    """

    def __init__(
        self, inner: Callable[[int], None] | None, signals: Sequence[int]
    ) -> None:
        self.inner = inner
        self.signals = list(signals)

    def __call__(self, worker: int) -> None:
        for number in self.signals:
            signal.signal(number, _once)
        if self.inner is not None:
            self.inner(worker)


def _once(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
