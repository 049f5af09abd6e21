"""One way to draw: matplotlib, one style, a colour for each initialisation.

A panel of a page is an SVG about as wide as a phone; its colours become CSS variables
there, so that one drawing serves by day, by night and in print.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lbbt_mm.files import write_whole
from lbbt_mm.version import require

# Okabe and Ito's colours, told apart by people who see few colours; language and
# scratch are the same two everywhere. At night the lighter ones of the same set.
COLOURS = {
    "language": ("#0072b2", "#56b4e9"),
    "scratch": ("#c04f00", "#f0a13a"),
    "rotation": ("#007d5c", "#2fc79a"),
    "simclr": ("#a8487f", "#e08fbd"),
    "mae": ("#6b6b00", "#e5dc4a"),
    "other": ("#555555", "#b5b5b5"),
}
CLASSES = (
    *(("#1b6fa8", "#63b3e4"), ("#d55e01", "#ff9a4d"), ("#00805e", "#3cc79a")),
    *(("#b3478c", "#e58fc4"), ("#8a6d00", "#d9bc3f"), ("#5b4bb5", "#a79bf0")),
    *(("#c1272d", "#f47c80"), ("#3f7f00", "#93cf4f"), ("#007f8a", "#4fd0db")),
    ("#7a5230", "#c99f76"),
)
PAPER = {
    "ink": ("#1c1c1e", "#e8e8ea"),
    "soft": ("#5a5a60", "#a6a6ad"),
    "hair": ("#dcdce0", "#36373b"),
    "page": ("#ffffff", "#17181a"),
}
VARIABLES = {**COLOURS, **{f"k{i}": c for i, c in enumerate(CLASSES)}, **PAPER}
INK, SOFT, HAIR, PAGE = (pair[0] for pair in PAPER.values())
DASHES = {"solid": "-", "dash": (0, (5, 2)), "dot": (0, (1.2, 1.6))}
_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": HAIR,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "path.simplify": False,
    "svg.fonttype": "none",  # words stay words
}
_RULE: dict[str, Any] = dict(color=SOFT, ls=DASHES["dot"], lw=1, zorder=0.5)
_PAGE_WIDTH = 8.3  # inches: 830 pixels of a page at GitHub, its letters in their size
_LARGEST = 1e30  # no measurement; matplotlib's ticks overflow beyond


class Series(NamedTuple):
    """One line.

    Attributes:
        name: For the legend.
        xs: Along the axis.
        ys: Upwards; a gap where a number is not finite.
        colour: Of :data:`COLOURS`.
        dash: Of :data:`DASHES`.
        marker: ``'circle'``, ``'square'``, ``'open'`` or ``''``.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str = "other"
    dash: str = "solid"
    marker: str = ""


@dataclass(frozen=True)
class Chart:
    """A panel, drawn when it is asked for.

    Attributes:
        title: Above it.
        alt: What it shows, for who does not see it.
        draw: Draws on matplotlib's axes.
        size: In inches.
        projection: Of the axes, such as ``'3d'``.
    """

    title: str
    alt: str
    draw: Callable[[Any], None]
    size: tuple[float, float] = (3.7, 2.7)
    projection: str | None = None

    def empty_figure(self) -> Any:
        """Open a figure of its size and kind of axes; inside :func:`style`."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=self.size, layout="constrained")
        figure.patch.set_alpha(0)
        figure.add_subplot(projection=self.projection)
        return figure

    def to_file(self, salt: str = "") -> str:
        """Give an SVG file."""
        with style({"svg.hashsalt": salt or self.title}):
            figure = self.empty_figure()
            try:
                self.draw(figure.axes[0])
                return _written(figure)
            except (ArithmeticError, ValueError, IndexError):
                # Numbers that are none, as in a foreign file: the table has them.
                figure.clear()
                figure.text(0.5, 0.5, "These numbers cannot be drawn.", ha="center")
                return _written(figure)

    def inline(self, salt: str) -> str:
        """Give the SVG for a page that sets the colours.

        Args:
            salt: Another for each panel of a page, since ids are made of it.
        """
        text = self.to_file(salt)
        text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->", "", text, flags=re.S)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        # Words stay as they are: only tags are shortened.
        text = re.sub(r"<[^>]*>", lambda tag: _shorter(tag[0]), text)
        for name, (day, _) in VARIABLES.items():
            text = text.replace(day, f"var(--{name})")
        return re.sub(r"\s*\n\s*", " ", text).strip()


@contextmanager
def style(more: dict[str, Any] | None = None) -> Iterator[None]:
    """Draw in the one style while this is open; needs matplotlib.

    Args:
        more: Other settings of matplotlib.
    """
    matplotlib = require("matplotlib", "A picture of results")
    with matplotlib.rc_context({**_STYLE, **(more or {})}):
        yield


def panels(rows: Sequence[Sequence[str]], height: float = 3.4) -> tuple[Any, Any]:
    """Open a picture of a document, as wide as a page; inside :func:`style`.

    Args:
        rows: Names of the panels; one named twice in its row takes both places.
        height: In inches, of all.

    Returns:
        The figure, and name -> axes. :func:`save` writes it.
    """
    # Not pyplot: it would pick a backend for the whole process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PAGE_WIDTH, height), layout="constrained")
    return figure, figure.subplot_mosaic([list(row) for row in rows])


def save(figure: Any, path: Path) -> None:
    """Write a picture, its legend (of labels that several panels share) below it."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    columns = next((n for n in (3, 2) if len(found) % n == 0), 3)
    if found:
        figure.legend(
            *(found.values(), found), ncols=columns, loc="outside lower center"
        )
    write_whole(path, lambda part: figure.savefig(part, dpi=200))


def chance_line(axes: Any, value: float, words: str = "chance") -> None:
    """Draw chance behind everything, its name beside the panel, where no line runs."""
    axes.axhline(value, **_RULE)
    look = dict(color=SOFT, fontsize=8, va="center", xytext=(3, 0))
    place = dict(xycoords=("axes fraction", "data"), textcoords="offset points")
    axes.annotate(words, (1, value), **place, **look)


def line_chart(
    title: str,
    series: Sequence[Series],
    xlabel: str,
    ylabel: str,
    *,
    logs: str = "",
    x_whole: bool = False,
    ranges: tuple[Any, Any] = (None, None),
    rule: tuple[float, str] | None = None,
) -> Chart:
    """Draw lines; two points are no line, and stay points.

    Args:
        title: Above the panel.
        series: The lines.
        xlabel: Name of the axis.
        ylabel: Name of the axis upwards.
        logs: ``'x'``, ``'y'`` or ``'xy'``: axes in powers of ten.
        x_whole: Only whole numbers along the axis.
        ranges: Ends of either axis, where they are given.
        rule: A level and its name.
    """

    def draw(axes: Any) -> None:
        for one in series:
            axes.plot(
                plain(one.xs, "x" in logs),
                plain(one.ys, "y" in logs),
                color=COLOURS.get(one.colour, COLOURS["other"])[0],
                ls=DASHES[one.dash] if len(one.xs) > 2 or not one.marker else "",
                marker={"circle": "o", "open": "o", "square": "s"}.get(one.marker),
                mfc=PAGE if one.marker == "open" else None,
                label=one.name,
            )
        axes.set(xlabel=xlabel, ylabel=ylabel)
        for name, axis, ends in zip(
            "xy", (axes.xaxis, axes.yaxis), ranges, strict=True
        ):
            if name in logs:
                _logarithmic(axes, axis, name)
            if ends:
                axes.set(**{f"{name}lim": ends})
        if "x" not in logs:
            from matplotlib.ticker import MaxNLocator

            steps = MaxNLocator(6, steps=[1, 2, 5, 10], integer=x_whole)
            axes.xaxis.set_major_locator(steps)
        if rule:
            chance_line(axes, *rule)

    said = []
    for one in series:
        good = [(x, y) for x, y in zip(one.xs, one.ys, strict=True) if _good(x, y)]
        ends = f": {good[0][1]:.3g} to {good[-1][1]:.3g}" if good else ": no numbers"
        said.append(one.name + ends)
    return Chart(title, f"{title}. {ylabel} by {xlabel}. {'; '.join(said)}.", draw)


class Change(NamedTuple):
    """What one model scored before and after; each a mean with its interval.

    Attributes:
        name: Of the model.
        colour: Of :data:`COLOURS`.
        before: Mean, low, high; ``None`` if it was not measured.
        after: The same.
    """

    name: str
    colour: str
    before: tuple[float, float, float] | None
    after: tuple[float, float, float] | None


def change_chart(
    title: str, changes: Sequence[Change], xlabel: str, chance: float | None = None
) -> Chart:
    """Draw a hollow dot before, a full one after, and the way between them.

    Args:
        title: Above the panel.
        changes: One a model.
        xlabel: What is measured.
        chance: Of guessing.
    """

    def draw(axes: Any) -> None:
        # What is written interrupts the chance line, wherever that is.
        plate = dict(facecolor=PAGE, edgecolor="none", pad=1)
        for y, one in enumerate(changes):
            colour = COLOURS.get(one.colour, COLOURS["other"])[0]
            pairs = [
                (pair, face)
                for pair, face in ((one.before, PAGE), (one.after, colour))
                if pair
            ]
            means = [pair[0] for pair, _ in pairs]
            ends = [end for pair, _ in pairs for end in pair]
            axes.plot(means, [y] * len(means), color=colour, lw=2.5, alpha=0.45)
            for number, (pair, face) in enumerate(pairs):
                axes.plot(pair[1:], [y, y], color=INK, lw=1)
                axes.plot(pair[0], y, "o", color=colour, mfc=face, ms=7)
                # The larger has its digits at the right; of a tie, the last.
                right = len(pairs) == 1 or bool(number) == (means[-1] >= means[0])
                axes.annotate(
                    f"{pair[0]:.1f}",
                    (max(ends) if right else min(ends), y),
                    (7 if right else -7, 0),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    va="center",
                    bbox=plate,
                )
        names = [one.name.replace("$", r"\$").replace(", ", ",\n") for one in changes]
        axes.set_yticks(range(len(changes)), names, color=INK)
        dotted = "" if chance is None else f"\n(dotted: chance, {chance:g})"
        axes.set(
            xlabel=textwrap.fill(xlabel, 36) + dotted, ylim=(len(changes) - 0.4, -0.6)
        )
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.18)
        if chance is not None:
            axes.axvline(chance, **_RULE)

    words = [
        f"{one.name}: "
        + " to ".join(f"{pair[0]:.1f}" for pair in (one.before, one.after) if pair)
        for one in changes
    ]
    height = 0.9 + 0.5 * len(changes)
    return Chart(title, f"{title}. {'; '.join(words)}.", draw, (4.3, height))


def _written(figure: Any) -> str:
    # Date and version would differ between two pages of the same numbers.
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue()


def _shorter(tag: str) -> str:
    """Leave out of a tag what no browser needs: ids of groups, families, digits."""
    tag = re.sub(r'<g id="[^"]*"', "<g", tag)
    tag = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", tag)
    tag = re.sub(r"font-family: [^;\"]*;?", "", tag)  # the page has its own
    tag = re.sub(r"(\d\.\d)\d+", r"\1", tag)
    tag = re.sub(r"M ([\d.]+ [\d.]+) L \1(?= )", r"M\1h0", tag)  # a dot
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"|; stroke-dashoffset: 0', "", tag)
    tag = re.sub(r" ?\b([MLCQ]) (?=[-\d])", r"\1", tag)
    for long, short in ((": ", ":"), ("; ", ";"), (".0 ", " "), (" z", "z")):
        tag = tag.replace(long, short)
    return re.sub(r"\s+", " ", tag)


def plain(values: Sequence[float], log: bool = False) -> list[float]:
    """Leave a gap where there is no number to draw."""
    low = 0 if log else -_LARGEST
    return [v if _good(v) and low < v < _LARGEST else math.nan for v in values]


def _good(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def _logarithmic(axes: Any, axis: Any, name: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{name}scale": "log"})
    low, high = axis.get_view_interval()
    narrow = low > 0 and high / low < 100
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
