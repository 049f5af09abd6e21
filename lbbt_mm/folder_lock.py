"""One training a work folder: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import IO

from lbbt_mm.files import is_alive

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_TAKEN = {errno.EACCES, errno.EAGAIN}
_held: dict[str, FolderLock] = {}


class FolderInUseError(RuntimeError):
    """Another process works in a folder; the message is one sentence."""


class FolderLock:
    """Keeps other processes out of a folder, on this machine and on a shared disk.

    The kernel holds the lock (``fcntl``), so that it is gone the moment the process is,
    however that ended. Where there is none, a file with the process's number takes its
    place; the number of a process of this machine that has ended does not count.

    Args:
        folder: Made if it is missing.

    Raises:
        FolderInUseError: Another process has it.
        OSError: The folder cannot be made or written.

    Example::

        lock = FolderLock("work_dirs/a")
        ...
        lock.release()
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(os.path.realpath(folder))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / NAME
        self._file: IO[str] | None = None
        self._pid: int
        self._shared = _held.get(str(self.folder))
        if self._shared is None or self._shared._pid != os.getpid():
            self._shared = None
            self._pid = os.getpid()
            self._take()
            _held[str(self.folder)] = self

    def _take(self) -> None:
        while True:
            file = self.path.open("a+", encoding="utf-8")
            try:
                _lock(file)
            except OSError as error:
                if error.errno in _TAKEN:
                    raise FolderInUseError(self._sentence(file, True)) from None
                self._take_without_kernel(file)  # a disk without locks
            else:
                # Whoever had it may have removed the file in the meantime.
                if not _is(file, self.path):
                    file.close()
                    continue
            break
        file.seek(0)
        file.truncate()
        json.dump(_this_process(), file)
        file.flush()
        self._file = file

    def _take_without_kernel(self, file: IO[str]) -> None:
        other = _read(file)
        here = other.get("machine") == platform.node()
        if not other or other.get("pid") == os.getpid():
            return
        pid = other.get("pid")
        if here and not (isinstance(pid, int) and is_alive(pid)):
            return
        raise FolderInUseError(self._sentence(file, False))

    def _sentence(self, file: IO[str], kernel: bool) -> str:
        other = _read(file)
        file.close()
        who = (
            f"process {other['pid']} on {other['machine']} (since {other['since']}: "
            f"{other['command']})"
            if {"pid", "machine", "since", "command"} <= other.keys()
            else "another process"
        )
        # The kernel knows whether a process is gone, a file does not.
        hint = "" if kernel else f" If that process is gone, remove {self.path}."
        return (
            f"{who} is at work in {self.folder}, and two would overwrite each other's "
            f"files: wait for it, or name another work folder.{hint}"
        )

    def release(self) -> None:
        """Let others in; a second call does nothing."""
        if self._file is None or self._pid != os.getpid():
            return
        # Before the lock is gone, or the next one's file would be removed.
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._file.close()
        self._file = None
        _held.pop(str(self.folder), None)


def is_free(folder: str | os.PathLike[str]) -> bool:
    """Whether a process could take a folder's lock now.

    Args:
        folder: It may be missing.
    """
    if not Path(folder, NAME).exists():
        return True
    try:
        lock = FolderLock(folder)
    except FolderInUseError:
        return False
    lock.release()
    return True


def _lock(file: IO[str]) -> None:
    if fcntl is None:
        raise OSError(errno.ENOLCK, "no fcntl")
    # Not flock: a data loader's worker that outlives a killed run would keep that.
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read(file: IO[str]) -> dict:
    file.seek(0)
    try:
        found = json.loads(file.read())
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _this_process() -> dict[str, object]:
    return dict(
        pid=os.getpid(),
        machine=platform.node(),
        since=time.strftime("%Y-%m-%d %H:%M:%S"),
        command=" ".join(sys.argv)[:200],
    )
