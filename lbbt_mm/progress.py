"""How far a long loop has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
_SECONDS = 10  # between two lines of a log file, at least


def follow(
    items: Iterable[T],
    description: str,
    progress: bool = True,
    total: int | None = None,
    unit: str = "",
) -> Iterator[T]:
    """Loop over items and show on stderr how far it is.

    On a terminal a bar, which is gone when the loop ends, however it ends; in a log
    file a line for a tenth, at most every ten seconds, and one at the end.

    Args:
        items: What to loop over.
        description: What is being done.
        progress: Whether to show anything.
        total: How many items there are; their own length by default, if they have one.
        unit: What an item is, in the plural.

    Yields:
        The items.
    """
    if not progress:
        yield from items
    elif sys.stderr.isatty():
        with tqdm(items, description, total, leave=False, file=sys.stderr) as bar:
            yield from bar
    else:
        if total is None:
            total = len(items) if isinstance(items, Sized) else 0
        start = shown = time.perf_counter()
        tenth = 0
        for done, item in enumerate(items, 1):
            yield item
            now = time.perf_counter()
            if done != total and now - shown < _SECONDS:
                continue
            if total and done * 10 // total > tenth:
                shown, tenth = now, done * 10 // total
                print(
                    f"{description}: {done * 100 // total} % "
                    f"({f'{done}/{total} {unit}'.rstrip()}, {now - start:.0f} s)",
                    file=sys.stderr,
                    flush=True,
                )
