"""One table, as text for a terminal and as HTML for a page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    Attributes:
        headings: One for each column; the first column holds the rows' names.
        rows: Cells as text; ``''`` where there is nothing to say.
        caption: What the numbers are, in one sentence.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

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
        """Write the table for a document; numbers stand at the right."""
        lines = [
            " | ".join(cell.replace("|", "\\|") for cell in row)
            for row in (self.headings, *self.rows)
        ]
        lines.insert(1, "|".join(["---", *["---:"] * (len(self.headings) - 1)]))
        caption = f"\n\n*{self.caption}*" if self.caption else ""
        return "\n".join(f"| {line} |" for line in lines) + caption

    def to_html(self) -> str:
        """Write the table as HTML, escaped."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.headings)
        body = "".join(
            "<tr>"
            + f"<th>{html.escape(row[0])}</th>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{html.escape(self.caption)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead>{body}</table>"


def percent(value: float | None) -> str:
    """Write a percentage with one decimal; nothing for ``None``."""
    return "" if value is None else f"{value:.1f}"
