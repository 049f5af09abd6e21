"""One table, for a terminal, a document and a page; numbers over seeds in it."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; then the normal's.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_NORMAL = 1.96
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
Columns = dict[str, dict[str, str]]  # heading -> row -> cell


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    Attributes:
        headings: One for each column; the first column holds the rows' names.
        rows: Cells as text; ``''`` where there is nothing to say.
        caption: What the numbers are, in one sentence.
        quoted: Columns of numbers that are not ours; a page sets them apart.
        heads: Titles above the headings but the first, each with the number of columns
            that it spans; a page shows them.
        words: Whether the cells are words, which stand at the left.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    quoted: Collection[int] = ()
    heads: Sequence[tuple[str, int]] = ()
    words: bool = False

    def to_text(self) -> str:
        """Lay the table out for a terminal; numbers stand at the right."""
        lines = [list(self.headings), *map(list, self.rows)]
        widths = [
            max(len(line[i]) for line in lines) for i in range(len(self.headings))
        ]
        laid_out = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        laid_out.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*laid_out, *([self.caption] if self.caption else [])])

    def to_markdown(self) -> str:
        """Write the table for a document; numbers stand at the right.

        What stands above several columns is repeated over each of them.
        """
        above = [title for title, span in self.heads for _ in range(span)]

        def plain(text: str) -> str:  # Markdown lets HTML through
            return html.escape(text, quote=False).replace("|", "\\|")

        headings = list(map(plain, self.headings))
        for place, title in enumerate(above, start=1):
            headings[place] = f"{plain(title)}:<br>{headings[place]}"
        rows = [headings, *(map(plain, row) for row in self.rows)]
        lines = [" | ".join(row) for row in rows]
        lines.insert(1, "|".join(["---", *["---:"] * (len(self.headings) - 1)]))
        caption = f"\n\n*{plain(self.caption)}*" if self.caption else ""
        return "\n".join(f"| {line} |" for line in lines) + caption


def as_table(columns: Columns, first: str) -> Table:
    """Put columns beside each other; ``first`` heads the names of the rows."""
    names = dict.fromkeys(name for rows in columns.values() for name in rows)
    rows = [[n, *(known.get(n, "") for known in columns.values())] for n in names]
    return Table([first, *columns], rows, note(rows).strip())


def percent(value: float | None) -> str:
    """Write a percentage with one decimal; nothing for ``None``."""
    return "" if value is None else f"{value:.1f}"


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and how far it can be trusted.

    Attributes:
        mean: The mean.
        low: Lower end.
        high: Upper end.
        count: Number of seeds.
    """

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.mean:.1f}"
        return f"{self.mean:.1f} [{self.low:.1f}, {self.high:.1f}]"


def interval(values: Sequence[float]) -> Interval:
    """Average over seeds.

    Args:
        values: One number a seed.

    Returns:
        The mean with its 95 % interval by Student's t; of two seeds, whose t interval
        would be six standard deviations wide, the two values themselves.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("Expected at least one seed's number, got none.")
    count, mean = len(values), sum(values) / len(values)
    if count < 3:
        return Interval(mean, min(values), max(values), count)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1))
    quantile = _T[count - 2] if count - 2 < len(_T) else _NORMAL
    half = quantile * spread / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def note(rows: Sequence[Sequence[str]]) -> str:
    """Explain brackets, where a cell has any."""
    if not any("[" in one for row in rows for one in row[1:]):
        return ""
    return (
        " In brackets the 95 % interval by Student's t over seeds (of two seeds: both "
        "values)."
    )


def cell(values: Iterable[float | None]) -> str:
    """Write a number over seeds: ``81.2``, or ``80.9 [80.1, 81.7], 3 seeds``.

    Values that are not finite are counted and left out.
    """
    given = [value for value in values if value is not None]
    good = [float(value) for value in given if math.isfinite(value)]
    words = [str(interval(good))] if good else []
    words += [f"{len(good)} seeds"] if len(good) > 1 else []
    lost = len(given) - len(good)
    return ", ".join([*words, f"{lost} not finite"] if lost else words)


def number(value: Any, digits: int = 4) -> str:
    """Write any number of a result; what is none is marked."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    if not math.isfinite(value):
        return "not finite"
    if isinstance(value, int) and abs(value) < 10**9:
        return thousands(value)
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        mantissa, _, power = f"{value:.{digits - 2}e}".partition("e")
        return f"{mantissa}·10{str(int(power)).translate(_RAISED)}"
    return f"{value:.{digits}g}" if size < 10**digits else f"{value:.0f}"


def numbers(values: Sequence[Any], digits: int = 4) -> str:
    """Write one number a seed: the only one, or mean and range."""
    good = [v for v in values if isinstance(v, (int, float)) and math.isfinite(v)]
    if len(good) < 2:
        return number(values[0], digits) if values else ""
    found = interval([float(v) for v in good])
    low, mean, high = (number(v, digits) for v in (found.low, found.mean, found.high))
    return f"{mean} [{low}, {high}], {len(good)} seeds"


def thousands(value: int) -> str:
    """Write a whole number in groups of three digits."""
    return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
