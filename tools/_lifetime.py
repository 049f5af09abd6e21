"""How processes of the tools begin and end: words, children, work folders."""

from __future__ import annotations

import contextlib
import ctypes
import dis
import errno
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

PARENT = "LBBT_MM_PARENT"  # in the environment of a child: the process that waits
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_PR_SET_PDEATHSIG = 1


def follow_parent() -> None:
    """End like on SIGTERM when the tool that started this process is gone."""
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
def last_words(stop: Callable[[], None] | None = None) -> Iterator[None]:
    """Say so if SIGTERM, Ctrl-C or a value that this package refuses ends the tool.

    A training ends itself: see ``lbbt_mm.TerminationHook``. The exit status is 128 and
    the signal's number, or 2.

    Args:
        stop: Ends what the tool has started.
    """
    name = Path(sys.argv[0]).name

    def ended(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    def say(number: int) -> None:
        words = "; every file that has been written is complete."
        if stop is not None:
            stop()
            words = (
                ", and so was all that it had started; the same command goes on from "
                "here."
            )
        said = f"{name}: ended by {signal.Signals(number).name}{words}"
        print(said, file=sys.stderr)

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
    except (ValueError, TypeError, KeyError) as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        from _launch import fail  # which imports this module

        fail(refusal)
    finally:
        signal.signal(signal.SIGTERM, before)


def _refusal(error: BaseException | None) -> str | None:
    """Find what this package said of a value, behind what a registry made of it.

    And what a registry said of a name or an option that does not exist. Of an error
    that nobody raised on purpose, or that comes from elsewhere, the traceback is of
    use: nothing is found.
    """
    import lbbt_mm

    package = os.path.realpath(os.path.dirname(lbbt_mm.__file__)) + os.sep
    while error is not None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None and isinstance(error, (ValueError, TypeError, KeyError)):
            code = trace.tb_frame.f_code
            if said := _of_registry(error, code):
                return said
            raised = dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
            if raised and os.path.realpath(code.co_filename).startswith(package):
                return str(error)
        error = error.__cause__ or error.__context__
    return None


def _of_registry(error: BaseException, code: CodeType) -> str | None:
    """Say what of a config mmengine's registry could not build.

    Args:
        error: What was raised.
        code: Where: the registry, or a constructor that passes options on.
    """
    in_registry = code.co_filename.endswith("build_functions.py")
    if not in_registry and code.co_name != "__init__":
        return None
    said = str(error.args[0]) if error.args else ""
    option = re.match(
        r"(\w+)\.__init__\(\) got an unexpected .* argument '(\w+)'", said
    )
    if option:
        return f"the config gives {option[1]} the option {option[2]}, which it has not."
    name = re.match(r"(\S+) is not in the (\S+) registry", said)
    if not name or not in_registry:
        return None
    import mmengine.registry as registries

    from lbbt_mm.config.names import nearest

    kind = name[2].rpartition(":")[2]
    every = [one for one in vars(registries).values() if hasattr(one, "module_dict")]
    roots = [one for one in every if one.name == kind]
    scopes = [(c.scope, c) for root in roots for c in root.children.values()]
    known = [n for root in roots for n in root.module_dict]
    known += [n for _, child in scopes for n in child.module_dict]
    known += [f"{scope}.{n}" for scope, child in scopes for n in child.module_dict]
    meant = nearest(name[1], known)
    return (
        f"the config names {name[1]}, which none of the libraries has as a {kind}"
        + (
            f": did you mean {meant}?"
            if meant
            else ": custom_imports imports your own."
        )
    )


def say_once_that_the_log_is_full(logger: logging.Logger) -> None:
    """One sentence for a log that cannot be written, in place of tracebacks."""
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = _say_once(handler.baseFilename)  # type: ignore[method-assign]


def _say_once(path: str) -> Callable[[logging.LogRecord], None]:
    said = []

    def handle(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.Handler().handleError(record)
        elif not said:
            said.append(path)
            print(
                f"The log {path} cannot be written ({error.strerror}): what follows is "
                "on the screen only.",
                file=sys.stderr,
            )

    return handle
