"""Small charts as SVG whose colours are CSS variables: one panel, no text cut off.

A panel is about as wide as a phone; several of them flow beside each other on a wide
screen. Letters keep their size so, and light, dark and print need one drawing only.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 340, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 10, 38
_DASHES = {"solid": "", "dash": "6 3", "dot": "1.5 3.5"}


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        name: In the legend.
        xs: Where.
        ys: What; points that are not finite are left out.
        colour: Name of a CSS variable without its dashes: ``'language'`` ...
        dash: ``'solid'``, ``'dash'`` or ``'dot'``.
        marker: ``'circle'``, ``'square'``, ``'open'`` or ``''``.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str
    dash: str = "solid"
    marker: str = "circle"


class Chart(NamedTuple):
    """A drawn panel.

    Attributes:
        title: Above it.
        description: For a reader who does not see it.
        svg: The drawing itself, without its outer element.
        width: In pixels, as ``height``.
        height: See there.
    """

    title: str
    description: str
    svg: str
    width: int = WIDTH
    height: int = HEIGHT

    def to_html(self) -> str:
        """Give the panel with its title."""
        title = f'<p class="panel-title">{html.escape(self.title)}</p>'
        return f'<div class="panel">{title}{self._svg()}</div>'

    def to_file(self, style: str) -> str:
        """Give the picture as a file of its own.

        Args:
            style: The page's style of charts and colours.
        """
        return self._svg(
            ' xmlns="http://www.w3.org/2000/svg"', f"<style>{style}</style>"
        )

    def _svg(self, attribute: str = "", inside: str = "") -> str:
        label = html.escape(f"{self.title}. {self.description}", quote=True)
        return (
            f'<svg{attribute} role="img" aria-label="{label}" '
            f'viewBox="0 0 {self.width} {self.height}">{inside}{self.svg}</svg>'
        )


class Axis:
    """Numbers -> pixels.

    Args:
        low: Smallest number.
        high: Largest number.
        start: Pixel of the smallest.
        end: Pixel of the largest.
        log: Equal ratios are equally long.
        whole: Ticks are whole numbers.
    """

    def __init__(
        self,
        low: float,
        high: float,
        start: float,
        end: float,
        log: bool = False,
        whole: bool = False,
    ) -> None:
        if log:
            low = max(low, high * 1e-12, 1e-300)
        if not high > low:
            pad = abs(low) * 0.1 or 1.0
            low, high = (low / 2, low * 2) if log else (low - pad, high + pad)
        self.low, self.high, self.start, self.end = low, high, start, end
        self.log, self.whole = log, whole

    def __call__(self, value: float) -> float:
        """Give the pixel of a number."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = (
                math.log10(low),
                math.log10(high),
                math.log10(max(value, 1e-300)),
            )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Choose round numbers that lie on the axis."""
        from matplotlib.ticker import MaxNLocator

        if self.log:
            first = math.ceil(math.log10(self.low) - 1e-9)
            last = math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((last - first) / 5))
            found = [10.0**power for power in range(first, last + 1, step)]
            if len(found) < 3:  # 1, 2 and 5 between the powers, too
                powers = range(first - 1, last + 2)
                some = [m * 10.0**power for power in powers for m in (1, 2, 5)]
                found = [v for v in some if self.low <= v <= self.high]
            if len(found) > 1:
                return found
        locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=self.whole)
        values = locator.tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [
            float(value)
            for value in values
            if self.low - slack <= value <= self.high + slack
            and (not self.log or value > 0)
        ]


def short(value: float) -> str:
    """Write a number briefly: ``0.02``, ``1500``, ``1e-6``, ``3.1e7``."""
    if value == 0:
        return "0"
    size = abs(value)
    if not math.isfinite(value):
        return "not finite"
    if 1e-3 <= size < 1e5:
        return f"{value:.4g}"
    mantissa, _, power = f"{value:.2g}".partition("e")
    if not power:
        mantissa, _, power = f"{value:.1e}".partition("e")
        mantissa = mantissa.removesuffix(".0")
    return f"{mantissa}e{int(power)}"


def line_chart(
    title: str,
    series: Sequence[Series],
    xlabel: str,
    ylabel: str,
    *,
    x_log: bool = False,
    y_log: bool = False,
    x_whole: bool = False,
    y_range: tuple[float, float] | None = None,
    rule: tuple[float, str] | None = None,
) -> Chart:
    """Draw lines.

    Args:
        title: Above the panel.
        series: The lines.
        xlabel: Name of the horizontal axis, with its unit.
        ylabel: Name of the vertical axis, with its unit.
        x_log: Logarithmic horizontal axis.
        y_log: Logarithmic vertical axis.
        x_whole: Ticks at whole numbers only, such as epochs.
        y_range: Ends of the vertical axis; those of the numbers by default.
        rule: A level to mark, and its name.

    Returns:
        The panel.
    """

    def good(x: float, y: float) -> bool:
        finite = math.isfinite(x) and math.isfinite(y)
        return finite and (x > 0 or not x_log) and (y > 0 or not y_log)

    pairs = [
        (x, y) for s in series for x, y in zip(s.xs, s.ys, strict=True) if good(x, y)
    ]
    if not pairs:
        return Chart(title, "There is no finite number to draw.", nothing())
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    if rule:
        ys.append(rule[0])
    low, high = y_range or _margins(min(ys), max(ys), y_log)
    across = Axis(min(xs), max(xs), _LEFT + 6, WIDTH - _RIGHT - 6, x_log, x_whole)
    up = Axis(low, high, HEIGHT - _BOTTOM, _TOP, y_log)
    parts = [_frame(across, up, xlabel, ylabel)]
    if rule:
        y = up(rule[0])
        parts.append(
            f'<path class="rule" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
            f'<text class="note over" x="{WIDTH - _RIGHT}" y="{y + 12:.1f}" '
            f'text-anchor="end">{html.escape(rule[1])}</text>'
        )
    said = []
    for s in series:
        points = [
            (across(x), up(y)) if good(x, y) else None
            for x, y in zip(s.xs, s.ys, strict=True)
        ]
        parts.append(_line(points, s))
        known = [y for x, y in zip(s.xs, s.ys, strict=True) if good(x, y)]
        if known:
            said.append(f"{s.name}: from {short(known[0])} to {short(known[-1])}")
    return Chart(
        title, f"{ylabel} by {xlabel}. " + "; ".join(said) + ".", "".join(parts)
    )


def bar_chart(
    title: str,
    bars: Sequence[tuple[str, float, float, float, str, bool]],
    xlabel: str,
    rule: tuple[float, str] | None = None,
) -> Chart:
    """Draw lying bars with their numbers, from 0 to 100 %.

    Args:
        title: Above the panel.
        bars: Name, value, lower and upper end of its interval, colour, and whether it
            is filled.
        xlabel: What the numbers are.
        rule: A level to mark, and its name.

    Returns:
        The panel.
    """
    bars = [bar for bar in bars if math.isfinite(bar[1])]
    if not bars:
        return Chart(title, "There is no finite number to draw.", nothing())
    step, left, right = 40, 8, WIDTH - 44
    height = 14 + step * len(bars) + 40
    across = Axis(0, 100, left, right)
    bottom = height - 38
    parts = []
    for value in (0, 25, 50, 75, 100):
        x = across(value)
        parts.append(
            f'<path class="grid" d="M{x:.1f} 8V{bottom}"/><text x="{x:.1f}" '
            f'y="{bottom + 15}" text-anchor="middle">{value}</text>'
        )
    parts.append(
        f'<text class="label" x="{(left + right) / 2}" y="{height - 6}" '
        f'text-anchor="middle">{html.escape(xlabel)}</text>'
    )
    if rule:
        parts.append(f'<path class="rule" d="M{across(rule[0]):.1f} 8V{bottom}"/>')
    for place, (name, value, low, high, colour, filled) in enumerate(bars):
        y = 12 + step * place
        width = max(across(min(value, 100)) - left, 1)
        kind = "bar" if filled else "bar hollow"
        parts.append(
            f'<text class="over" x="{left + 2}" y="{y + 9}">{html.escape(name)}</text>'
            f'<rect class="{kind} c-{colour}" x="{left}" y="{y + 13}" '
            f'width="{width:.1f}" height="16"/>'
            f'<text class="value" x="{across(max(value, high)) + 6:.1f}" '
            f'y="{y + 25}">{value:.1f}</text>'
        )
        if high > low:
            a, b = across(low), across(min(high, 100))
            parts.append(f'<path class="whisker" d="M{a:.1f} {y + 21}H{b:.1f}"/>')
    said = "; ".join(f"{name}: {value:.1f}" for name, value, *_ in bars)
    if rule:
        said += f"; {rule[1]}: {rule[0]:.1f}, dotted"
    return Chart(title, said + ".", "".join(parts), WIDTH, height)


def legend(series: Sequence[Series]) -> str:
    """Name the lines of one or several charts once, as HTML."""
    seen = {(s.name, s.colour, s.dash, s.marker): s for s in series}
    items = []
    for s in seen.values():
        mark = _line([(2.0, 7.0), (17.0, 7.0), (32.0, 7.0)], s, middle=True)
        items.append(
            f'<li><svg aria-hidden="true" viewBox="0 0 34 14">{mark}</svg>'
            f"{html.escape(s.name)}</li>"
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _line(
    points: Sequence[tuple[float, float] | None], s: Series, middle: bool = False
) -> str:
    d, move = [], "M"
    for point in points:
        if point is None:
            move = "M"
            continue
        d.append(f"{move}{point[0]:.1f} {point[1]:.1f}")
        move = "L"
    dash = _DASHES[s.dash]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    parts = [f'<path class="line c-{s.colour}"{dashes} d="{"".join(d)}"/>']
    shown = [p for p in points if p is not None]
    if s.marker and (middle or len(shown) <= 40):
        for x, y in shown[1:2] if middle else shown:
            parts.append(_marker(x, y, s))
    return "".join(parts)


def _marker(x: float, y: float, s: Series) -> str:
    if s.marker == "square":
        return (
            f'<rect class="mark c-{s.colour}" x="{x - 3:.1f}" y="{y - 3:.1f}" '
            f'width="6" height="6"/>'
        )
    kind = "mark open" if s.marker == "open" else "mark"
    return f'<circle class="{kind} c-{s.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


def _frame(across: Axis, up: Axis, xlabel: str, ylabel: str) -> str:
    bottom = HEIGHT - _BOTTOM
    parts = []
    for value in up.ticks():
        y = up(value)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">'
            f"{short(value)}</text>"
        )
    for value in across.ticks():
        x = across(value)
        parts.append(
            f'<path class="axis" d="M{x:.1f} {bottom}v4"/><text x="{x:.1f}" '
            f'y="{bottom + 16}" text-anchor="middle">{short(value)}</text>'
        )
    parts.append(
        f'<path class="axis" d="M{_LEFT} {bottom}H{WIDTH - _RIGHT}"/>'
        f'<text class="label" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 5}" '
        f'text-anchor="middle">{html.escape(xlabel)}</text>'
        f'<text class="label" text-anchor="middle" transform="translate(10 '
        f'{(_TOP + bottom) / 2}) rotate(-90)">{html.escape(ylabel)}</text>'
    )
    return "".join(parts)


def _margins(low: float, high: float, log: bool) -> tuple[float, float]:
    if log:
        return low / 1.3, high * 1.3
    room = (high - low) * 0.06
    return (low - room if low < 0 or low > room else 0.0), high + room


def nothing() -> str:
    """Draw that there is nothing to draw."""
    return (
        f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no finite '
        f"number</text>"
    )
