"""Read files of runs as what they are: strangers' data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lbbt_mm.runs.shapes import Shape, check

_LARGEST = 50_000_000  # bytes of a file that could be a result


class UnreadableError(ValueError):
    """A file that is not used; one sentence.

    Args:
        path: The file.
        reason: What is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is left out: {reason}.")
        self.reason = reason


def read_text(path: Path, home: Path) -> str:
    """Read a text file that lies in its folder, and is no link out of it.

    Args:
        path: The file.
        home: The folder, which may itself be a link.

    Raises:
        UnreadableError: It cannot be read.
    """
    try:
        if not path.resolve().is_relative_to(home.resolve()):
            raise UnreadableError(path, f"it is a link that leads out of {home}")
        if not path.is_file():
            raise UnreadableError(path, "it is no file")
        if path.stat().st_size > _LARGEST:
            megabytes = _LARGEST // 1_000_000
            raise UnreadableError(path, f"it is larger than {megabytes} MB")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError(path, "it is no UTF-8 text") from None
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise UnreadableError(path, f"it cannot be read ({reason})") from None


def read_json(path: Path, shape: Shape, home: Path) -> Any:
    """Read a JSON file of a known shape.

    Args:
        path: The file.
        shape: Of :mod:`lbbt_mm.runs.shapes`.
        home: See :func:`read_text`.

    Returns:
        Its content, cleaned.

    Raises:
        UnreadableError: It cannot be read or is of another shape.
    """
    content = read_text(path, home)
    try:
        return check(json.loads(content), shape)
    except RecursionError:
        raise UnreadableError(path, "it has too many levels") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(path, f"it is no JSON ({error})") from None
    except ValueError as error:
        raise UnreadableError(path, str(error)) from None


class Reader:
    """Reads what is there, and remembers what was left out and why.

    Attributes:
        problems: A sentence each.
        left_out: The files.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.left_out: set[Path] = set()

    def leave_out(self, path: Path, error: Exception | str) -> None:
        """Note a file that could not be used."""
        self.left_out.add(path)
        if str(error) not in self.problems:
            self.problems.append(str(error))

    def json(self, path: Path, shape: Shape, home: Path) -> dict[str, Any]:
        """Read a JSON object; an empty one where there is no file, or no good one."""
        if not (path.exists() or path.is_symlink()):
            return {}
        try:
            return read_json(path, shape, home)
        except UnreadableError as error:
            self.leave_out(path, error)
            return {}
