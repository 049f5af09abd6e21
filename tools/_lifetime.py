"""How processes of the tools begin and end: words, children, work folders."""

from __future__ import annotations

import contextlib
import ctypes
import dis
import errno
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARENT = "LBBT_MM_PARENT"  # in the environment of a child: the process that waits
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_PR_SET_PDEATHSIG = 1


def follow_parent() -> None:
    """End like on SIGTERM when the tool that started this process is gone.

    Also when that was killed without a chance to say so. Other processes, which nobody
    waits for, are not changed.
    """
    # Not for the children of this one.
    parent = int(os.environ.pop(PARENT, "0"))
    if not parent or os.name == "nt":
        return
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) == 0:
            if os.getppid() != parent and not _lives(parent):  # it was quicker
                os.kill(os.getpid(), signal.SIGTERM)
            return

    def watch() -> None:  # other systems than Linux
        while _lives(parent):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _lives(pid: int) -> bool:
    """As :func:`lbbt_mm.files.is_alive`, which imports mmengine."""
    from lbbt_mm.files import is_alive

    return is_alive(pid)


@contextlib.contextmanager
def last_words() -> Iterator[None]:
    """Say so if SIGTERM, Ctrl-C or a value that this package refuses ends the tool.

    A training ends itself: see ``lbbt_mm.TerminationHook``. The exit status is 128 and
    the signal's number, or 2.
    """
    name = Path(sys.argv[0]).name

    def ended(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    def say(number: int) -> None:
        print(
            f"{name}: ended by {signal.Signals(number).name}; every file that has been "
            "written is complete.",
            file=sys.stderr,
        )

    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    except KeyboardInterrupt:
        say(signal.SIGINT)
        raise SystemExit(128 + signal.SIGINT) from None
    except SystemExit as end:
        if end.code == 128 + signal.SIGTERM and type(end) is SystemExit:
            say(signal.SIGTERM)
        raise
    except ValueError as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        from _launch import fail  # which imports this module

        fail(refusal)
    finally:
        signal.signal(signal.SIGTERM, before)


def _refusal(error: BaseException | None) -> str | None:
    """Find what this package said of a value, behind what a registry made of it.

    Args:
        error: What ended the tool.

    Returns:
        The sentence; ``None`` of an error that nobody raised on purpose, or that comes
        from elsewhere: its traceback is of use.
    """
    import lbbt_mm

    package = os.path.realpath(os.path.dirname(lbbt_mm.__file__)) + os.sep
    while error is not None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None and isinstance(error, ValueError):
            code = trace.tb_frame.f_code
            raised = dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
            if raised and os.path.realpath(code.co_filename).startswith(package):
                return str(error)
        error = error.__cause__ or error.__context__
    return None


def why_not_writable(
    folder: str | os.PathLike[str], what: str = "work", option: str = "--work-dir"
) -> str | None:
    """Say why nothing can be written into a folder; make it if it is missing.

    Args:
        folder: It.
        what: Which folder it is.
        option: Names another one.

    Returns:
        A sentence, or None if all is well.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(prefix=".lbbt_mm-", dir=folder):
            return None
    except FileExistsError:
        reason = "it is a file"
    except OSError as error:
        reason = error.strerror or str(error)
    return (
        f"the {what} folder {folder} cannot be written ({reason}): name another one "
        f"with {option}."
    )


def why_not_readable(checkpoint: str) -> str | None:
    """Say why a local checkpoint cannot be read.

    Args:
        checkpoint: A file, or an address that mmengine resolves (``https://...``).

    Returns:
        A sentence, or None if it can be tried.
    """
    if "://" in checkpoint:
        return None
    path = Path(checkpoint).expanduser()
    try:
        if path.is_dir():
            return (
                f"the checkpoint {checkpoint} is a folder: name a file in it, such as "
                f"{path / 'epoch_1.pth'}."
            )
        if not path.exists():
            return f"the checkpoint {checkpoint} does not exist (from {os.getcwd()})."
        with path.open("rb") as file:
            if not file.read(1):
                return (
                    f"the checkpoint {checkpoint} is empty: writing it was "
                    "interrupted, take an earlier one."
                )
    except OSError as error:
        return (
            f"the checkpoint {checkpoint} cannot be read ({error.strerror or error})."
        )
    return None


def say_once_that_the_log_is_full(logger: logging.Logger) -> None:
    """One sentence for a log that cannot be written, in place of tracebacks.

    Args:
        logger: Whose files.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = _Once(handler.baseFilename)  # type: ignore[method-assign]


class _Once:
    def __init__(self, path: str) -> None:
        self.path = path
        self.said = False

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.Handler().handleError(record)
        elif not self.said:
            self.said = True
            print(
                f"The log {self.path} cannot be written ({error.strerror}): what "
                "follows is on the screen only.",
                file=sys.stderr,
            )
