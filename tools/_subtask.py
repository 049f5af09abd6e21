"""Run a tool of this repository: its output in a log file, its progress on screen."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

_TRAIN_LINE = re.compile(  # mmseg's count iterations and no epochs
    r"(?:Epoch|Iter)\(train\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\].*?eta: ([\d:]+)"
)
_NUMBER = {  # a classifier tells its accuracy, a detector or segmenter its loss
    name: re.compile(rf"(?<![\w.]){name}: ([\d.]+)")
    for name in ("images_per_second", "train_acc", "loss")
}


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
        if self.tty:
            print(f"\r\033[K  {self.title}: {text}", end="", flush=True)
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
        SubtaskError: The tool failed.
    """
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
            env={**os.environ, **(env or {})},
        )
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
    if process.wait() != 0:
        progress.close("failed")
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


def last_checkpoint(work_dir: Path, length: int, by_epoch: bool = True) -> Path | None:
    """Find the checkpoint of a finished training.

    Args:
        work_dir: Folder of the run.
        length: Epochs or iterations that it was to train.
        by_epoch: Whether they are epochs.

    Returns:
        The file, or ``None`` if the training did not come to its end.
    """
    checkpoint = work_dir / f"{'epoch' if by_epoch else 'iter'}_{length}.pth"
    # mmengine names a checkpoint here only after it is completely written.
    latest = work_dir / "last_checkpoint"
    named = Path(latest.read_text().strip()).name if latest.exists() else None
    return checkpoint if named == checkpoint.name and checkpoint.exists() else None
