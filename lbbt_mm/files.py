"""Files that are there or not there, and never half there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_PART = re.compile(rf"\.{_HOST}-(\d+)-[0-9a-f]+\.part")


def write_whole(
    path: str | os.PathLike[str], content: str | bytes | Callable[[Path], Any]
) -> None:
    """Write a file whole or not at all; an earlier one stays until then.

    The content goes to a hidden file beside it, whose name no other process uses, onto
    the disk, and takes the name then. Parts that killed processes of this machine have
    left of the same file are removed.

    Args:
        path: The file; its folder is made. A link's target is written, the permissions
            of an earlier file are kept.
        content: Text (written as UTF-8), bytes, or what writes to the path that it is
            given, which ends like ``path``.

    Raises:
        OSError: It could not be written; its ``filename`` is ``path``, nothing is left
            of it, and the earlier file is as it was.

    Example::

        write_whole("work_dirs/a/result.json", json.dumps(result))
        write_whole("weights.pth", lambda part: torch.save(weights, part))
    """
    target = Path(os.path.realpath(path))
    token = f"{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.part"
    part = target.with_name(f".{target.name}.{token}")
    if callable(content):  # many writers choose the format by the ending
        part = target.with_name(f"{part.name}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(target)
        if callable(content):
            content(part)
        else:
            data = content.encode() if isinstance(content, str) else content
            part.write_bytes(data)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, part)
        os.replace(part, target)
    except OSError as error:
        if error.errno is not None:  # torch and others raise some without
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _remove_left(target: Path) -> None:
    for part in target.parent.glob(f".{_escaped(target.name)}.*.part*"):
        match = _PART.search(part.name)
        if match and not is_alive(int(match[1])):
            with contextlib.suppress(OSError):
                part.unlink()


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs.

    Args:
        pid: Its number.
    """
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True
