"""Results as lines of JSON: what is done is kept, and not done again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class Results:
    """A file of results, one line each.

    Args:
        path: Of the file; need not exist yet.

    Attributes:
        rows: What it holds.
    """

    def __init__(self, path: str | Path) -> None:
        self._path, self._start = Path(path), time.monotonic()
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def where(self, **settings: Any) -> list[dict[str, Any]]:
        """Find the results of some settings."""
        return [row for row in self.rows if settings.items() <= row.items()]

    def keep(self, **row: Any) -> None:
        """Append a result, and say it."""
        self.rows.append(row)
        with self._path.open("a") as file:
            print(json.dumps(row), file=file)
        print(f"{time.monotonic() - self._start:6.0f} s  {row}", flush=True)
