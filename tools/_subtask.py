"""Run a tool of this repository: its output in a log file, its progress on screen."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import _lifetime

_TRAIN_LINE = re.compile(  # mmseg's count iterations and no epochs
    r"(?:Epoch|Iter)\(train\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\].*?eta: ([\d:]+)"
)
_NUMBER = {  # a classifier tells its accuracy, a detector or segmenter its loss
    name: re.compile(rf"(?<![\w.]){name}: ([\d.]+)")
    for name in ("images_per_second", "train_acc", "loss")
}


_running: set[subprocess.Popen] = set()
_stopped = threading.Event()


class SubtaskError(Exception):
    """A tool ended with an error; the message is one sentence for the user."""


class Progress:
    """Show a tool's progress in one changing line, or in few lines of a log file.

    Args:
        title: What is being done.
        one_line: Redraw one line of a terminal. Wrong where several tools run at once.
    """

    def __init__(self, title: str, one_line: bool = True) -> None:
        self.title = title
        self.tty = one_line and sys.stdout.isatty()
        self.start = time.monotonic()
        self.shown = 0.0

    def show(self, text: str, important: bool = False) -> None:
        """Show where the work stands."""
        now = time.monotonic()
        if self.tty:  # a line that wraps cannot be drawn over
            line = f"  {self.title}: {text}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r\033[K{line}", end="", flush=True)
        elif important or now - self.shown > 20:
            print(f"  {self.title}: {text}", flush=True)
            self.shown = now

    def close(self, text: str) -> None:
        """Leave a last line."""
        seconds = time.monotonic() - self.start
        start = "\r\033[K" if self.tty else ""
        print(f"{start}  {self.title}: {text} ({seconds:.0f} s)", flush=True)


def run_tool(
    command: list[str],
    log: Path,
    progress: Progress,
    env: dict[str, str] | None = None,
) -> str:
    """Run a tool.

    Args:
        command: Arguments after the Python interpreter.
        log: File that keeps everything the tool says; appended to.
        progress: Where to show it.
        env: Variables added to this process's environment.

    Returns:
        The last progress that was shown.

    Raises:
        SubtaskError: The tool failed, or :func:`stop_all` was called.
    """
    if _stopped.is_set():
        raise SubtaskError(f"{command[0]} was not begun.")
    log.parent.mkdir(parents=True, exist_ok=True)
    progress.show("starting", important=True)
    latest, tail = "", []
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(['python', *command])}\n")
        file.flush()
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # It ends when this process does, whatever ends that; what a terminal sends
            # to a whole group comes through stop_all(), once.
            env={**os.environ, **(env or {}), _lifetime.PARENT: str(os.getpid())},
            start_new_session=True,
        )
        _running.add(process)
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            file.flush()
            tail = [*tail[-14:], line.rstrip()]
            match = _TRAIN_LINE.search(line)
            if match:
                epoch, step, steps, eta = match.groups()
                found = {n: r.search(line) for n, r in _NUMBER.items()}
                said = {n: float(m[1]) for n, m in found.items() if m}
                words = [f"epoch {epoch}"] if epoch else []
                words.append(f"step {step}/{steps}")
                if "train_acc" in said:
                    latest = f"{said['train_acc']:.1f} % of the labels"
                elif "loss" in said:
                    latest = f"loss {said['loss']:.2f}"
                words += [latest] if latest else []
                if "images_per_second" in said:
                    words.append(f"{said['images_per_second']:.0f} images/s")
                words.append(f"{eta} left")
                progress.show(", ".join(words), important=step == steps)
            elif "features" in line and "%" in line:
                progress.show(line.strip().splitlines()[-1][:70])
    status = process.wait()
    _running.discard(process)
    if status != 0:
        progress.close("stopped" if _stopped.is_set() else "failed")
        # The sentence at the end of a traceback says it all; otherwise the last lines.
        sentences = [
            line
            for line in tail
            if re.match(r"(?:[\w.]+: )?[\w.]*(Error|error): ", line)
        ]
        said = sentences[-1] if sentences else "\n".join(tail)
        raise SubtaskError(
            f"{command[0]} ended with exit status {process.returncode}: {said}\n"
            f"Everything it said is in {log}. The same command goes on from here."
        )
    return latest


def is_stopped() -> bool:
    """Whether :func:`stop_all` was called: nothing is begun any more."""
    return _stopped.is_set()


def stop_all(seconds: float = 120) -> None:
    """Ask all tools that run to end; a training writes a checkpoint first.

    Args:
        seconds: After which one is killed.
    """
    _stopped.set()
    processes = list(_running)
    for process in processes:
        process.terminate()
    end = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def stopping_together() -> contextlib.AbstractContextManager[None]:
    """End all tools, and say so in a sentence, when SIGTERM or Ctrl-C ends this one."""
    _stopped.clear()
    return _lifetime.last_words(stop_all)


def wait_until_free(work_dir: Path, progress: Progress, seconds: float = 120) -> None:
    """Wait for a training that a stopped call has left: it writes a checkpoint.

    After so many seconds the next training is left to find out who is there.
    """
    from lbbt_mm.folder_lock import is_free

    end = time.monotonic() + seconds
    if not is_free(work_dir):
        progress.show("waiting for the training that still ends there", important=True)
    while not is_free(work_dir) and time.monotonic() < end:
        time.sleep(0.5)


def last_checkpoint(work_dir: Path, length: int, by_epoch: bool = True) -> Path | None:
    """Find the checkpoint of a training that came to its end."""
    checkpoint = work_dir / f"{'epoch' if by_epoch else 'iter'}_{length}.pth"
    # mmengine names a checkpoint here only after it is completely written.
    latest = work_dir / "last_checkpoint"
    named = Path(latest.read_text().strip()).name if latest.exists() else None
    return checkpoint if named == checkpoint.name and checkpoint.exists() else None
