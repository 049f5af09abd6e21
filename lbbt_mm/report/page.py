"""One HTML page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lbbt_mm.files import write_whole
from lbbt_mm.report.charts import Chart
from lbbt_mm.report.style import CHART, PAGE, SCHEMES
from lbbt_mm.report.tables import Table


@dataclass(frozen=True)
class Gap:
    """Something that the page would show if it had been measured.

    Attributes:
        what: Name of the figure, table or cells.
        why: What is missing, in one sentence.
        command: What would make it; ``''`` if no command does.
    """

    what: str
    why: str
    command: str = ""

    def to_html(self) -> str:
        """Mark the gap where the figure or table would stand."""
        command = preformatted(self.command) if self.command else ""
        command = folded("How to get it", command) if command else ""
        return (
            f'<div class="gap" role="note"><p><strong>Missing: '
            f"{html.escape(self.what)}.</strong> {html.escape(self.why)}</p>"
            f"{command}</div>"
        )


@dataclass
class Section:
    """A chapter or a part of one.

    Attributes:
        name: Its anchor: letters, digits and hyphens.
        title: Its heading.
        level: Of the heading, 2 or 3.
        parts: What is in it, in order: HTML of this module's functions.
        gaps: What is missing in it; each is marked among the parts, too.
        charts: Panels for files, each with its name.
        tables: The tables among the parts, for other documents.
    """

    name: str
    title: str
    level: int = 3
    parts: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    charts: list[tuple[str, Chart]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def text(self, words: str, kind: str = "") -> None:
        """Add a paragraph."""
        self.parts.append(paragraph(words, kind))

    def heading(self, words: str) -> None:
        """Add a heading below the section's own."""
        level = self.level + 1
        self.parts.append(f"<h{level}>{html.escape(words)}</h{level}>")

    def table(self, table: Table) -> None:
        """Add a table in a box of its own, which scrolls where it is too wide."""
        self.tables.append(table)
        self.parts.append(boxed(table))

    def figure(
        self,
        charts: Sequence[Chart],
        caption: str,
        key: str = "",
        small: bool = False,
    ) -> None:
        """Add panels that belong together.

        Args:
            charts: The panels.
            caption: Under them.
            key: Their legend, HTML.
            small: Two of them have place beside each other on a phone.
        """
        first = len(self.charts) + 1
        self.charts += [
            (f"{self.name}-{first + i}", chart) for i, chart in enumerate(charts)
        ]
        panels = "".join(chart.to_html() for chart in charts)
        kind = "panels maps" if small else "panels"
        self.parts.append(
            f'<figure><div class="{kind}">{panels}</div>{key}'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def gap(self, what: str, why: str, command: str = "") -> None:
        """Mark what is missing."""
        gap = Gap(what, why, command)
        if gap not in self.gaps:
            self.gaps.append(gap)
            self.parts.append(gap.to_html())

    def to_html(self, below: Sequence[Section] = ()) -> str:
        """Give the whole section.

        Args:
            below: Those of the chapter, to be linked to at its head.
        """
        level = self.level
        links = "".join(
            f'<li><a href="#{s.name}">{html.escape(s.title)}</a></li>' for s in below
        )
        jump = f'<ul class="jump">{links}</ul>' if below else ""
        return (
            f'<section id="{self.name}" aria-labelledby="{self.name}-title">'
            f'<h{level} id="{self.name}-title">{html.escape(self.title)}</h{level}>\n'
            + "\n".join(self.parts)
            + jump
            + "</section>"
        )


def paragraph(text: str, kind: str = "") -> str:
    """Write plain text as a paragraph.

    Args:
        text: The words.
        kind: Class of the style, such as ``'paper'``.
    """
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{html.escape(text)}</p>"


def preformatted(text: str) -> str:
    """Write text as it is, for commands and settings."""
    return f"<pre>{html.escape(text)}</pre>"


def bullets(lines: Iterable[str]) -> str:
    """Write plain lines as a list."""
    return "<ul>" + "".join(f"<li>{html.escape(one)}</li>" for one in lines) + "</ul>"


def folded(summary: str, inside: str) -> str:
    """Hide HTML behind a line that opens it."""
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"


def boxed(table: Table) -> str:
    """Put a table in a box that scrolls; the keyboard reaches it."""
    label = html.escape(table.caption or "table", quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">'
        f"{table.to_html()}</div>"
    )


def render_page(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """Lay out the whole page.

    Args:
        title: Its heading.
        lead: HTML between heading and navigation.
        sections: In order; those of level 3 belong to the one of level 2 before.

    Returns:
        HTML that needs no other file.
    """
    links = "".join(
        f'<li><a href="#{s.name}">{html.escape(s.title)}</a></li>'
        for s in sections
        if s.level == 2
    )
    name = html.escape(title)
    chapters: list[list[Section]] = []
    for section in sections:
        if section.level == 2:
            chapters.append([])
        chapters[-1].append(section)
    body = "\n".join(
        section.to_html(chapter[1:] if section is chapter[0] else ())
        for chapter in chapters
        for section in chapter
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n'
        f"<title>{name}</title>\n<style>\n{SCHEMES}{CHART}{PAGE}</style>\n</head>\n"
        f"<body>\n<header><h1>{name}</h1>\n" + "\n".join(lead) + "</header>\n"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n<main>\n{body}\n</main>\n'
        f"</body>\n</html>\n"
    )


def write_charts(folder: Path, sections: Sequence[Section]) -> list[Path]:
    """Write every panel as an SVG file of its own.

    Args:
        folder: Where to.
        sections: Whose panels.

    Returns:
        The files.
    """
    paths = []
    for section in sections:
        for name, chart in section.charts:
            paths.append(folder / f"{name}.svg")
            write_whole(paths[-1], chart.to_file(SCHEMES + CHART) + "\n")
    return paths
