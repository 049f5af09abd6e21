"""One HTML page that needs no other file, no network and no script."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbbt_mm.files import write_whole
from lbbt_mm.report.chart import CLASSES, COLOURS, VARIABLES, Chart, Series
from lbbt_mm.report.tables import Table
from lbbt_mm.version import require

NUMBERS = "The numbers"  # what a folded table is opened by


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


@dataclass
class Section:
    """A chapter or a part of one.

    Attributes:
        name: Its anchor: letters, digits and hyphens.
        title: Its heading.
        level: Of the heading, 2 or 3.
        parts: What is in it, in order; ``page.html`` knows each kind.
        gaps: What is missing in it; each is marked among the parts, too.
        charts: Panels, each with its name.
        tables: The tables among the parts, for other documents.
    """

    name: str
    title: str
    level: int = 2
    parts: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    charts: list[tuple[str, Chart]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def text(self, words: str, look: str = "") -> None:
        """Add a paragraph; ``look`` is a class of the style."""
        self.parts.append(dict(kind="text", words=words, look=look))

    def heading(self, words: str) -> None:
        """Add a heading below the section's own."""
        self.parts.append(dict(kind="heading", words=words))

    def table(self, table: Table, folded: str = "") -> None:
        """Add a table, behind a line that opens it if that is given."""
        self.tables.append(table)
        self.parts.append(dict(kind="table", table=table, folded=folded))

    def lines(self, lines: Sequence[str], folded: str = "") -> None:
        """Add commands as they are typed."""
        self.parts.append(
            dict(kind="lines", lines=list(dict.fromkeys(lines)), folded=folded)
        )

    def bullets(self, lines: Sequence[str], folded: str = "") -> None:
        """Add plain lines as a list."""
        self.parts.append(dict(kind="bullets", lines=list(lines), folded=folded))

    def figure(
        self,
        charts: Sequence[Chart],
        caption: str,
        key: Sequence[Series] = (),
        classes: Sequence[int] = (),
        size: str = "",
    ) -> None:
        """Add panels that flow beside each other.

        Args:
            charts: The panels; nothing is added without any.
            caption: What they show.
            key: Lines for the legend; the same look is named once.
            classes: Or the classes of points.
            size: ``'small'``: two of them fit on a phone; ``'wide'``: one fills a page.
        """
        if not charts:
            return
        named = []
        for chart in charts:
            named.append((f"{self.name}-{len(self.charts) + 1}", chart))
            self.charts.append(named[-1])
        looks = {(s.name, s.colour, s.dash, s.marker): s for s in key}
        self.parts.append(
            dict(
                kind="figure",
                charts=named,
                caption=caption,
                key=list(looks.values()),
                classes=sorted(set(classes)),
                size=size,
            )
        )

    def fold(self, start: int, words: str) -> None:
        """Put the parts from number ``start`` on behind a line that opens them."""
        parts = self.parts[start:]
        self.parts[start:] = [dict(kind="parts", parts=parts, folded=words)]

    def gap(self, what: str, why: str, command: str = "") -> None:
        """Mark what is missing."""
        gap = Gap(what, why, command)
        if gap not in self.gaps:
            self.gaps.append(gap)
            self.parts.append(dict(kind="gap", gap=gap))


def render_page(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """Lay out the whole page; every word is escaped.

    Args:
        title: Its heading.
        lead: Paragraphs below it.
        sections: In order; those of level 3 belong to the one of level 2 before.
    """
    return _template().render(title=title, lead=lead, sections=sections)


@functools.cache
def _template() -> Any:
    jinja2 = require("jinja2", "The page")
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= dict(
        svg=lambda name, chart: Markup(chart.inline(name)),
        variables=VARIABLES,
        colours=COLOURS,
        class_count=len(CLASSES),
    )
    return environment.get_template("page.html")


def write_charts(folder: Path, sections: Sequence[Section]) -> list[Path]:
    """Write every panel of some sections as an SVG file of its own."""
    paths = []
    for section in sections:
        for name, chart in section.charts:
            paths.append(folder / f"{name}.svg")
            write_whole(paths[-1], chart.to_file(name))
    return paths
