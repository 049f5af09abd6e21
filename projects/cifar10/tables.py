"""Write the tables of the results into the pages, and draw the picture.

Between `<!-- NAME -->` and `<!-- end -->` of docs/results.md and of this project's
README stands the table of that name, from the lines in results/. `--check` writes
nothing and tells whether it is so.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from cifar10.results import Results

HOME = Path(__file__).resolve().parent
ROOT = HOME.parents[1]
sys.path.insert(0, str(ROOT))
from lbbt_mm.files import write_whole  # noqa: E402
from lbbt_mm.report.chart import COLOURS, SOFT, style  # noqa: E402
from lbbt_mm.report.tables import Table, interval  # noqa: E402

PAGES = (HOME / "README.md", ROOT / "docs" / "results.md")
PICTURE = ROOT / "docs" / "images" / "cifar10_bridges.png"
NAMES = {
    "family": "scratch",
    "gpt2": "scratch, GPT-2's distribution",
    "gpt2-dropout": "the same, dropout and drop path 0.1",
}
WORDS = {
    "crop": "crop and flip",
    "none": "no augmentation",
    "plain": "no token",
    "token": "a token in front",
}
READOUTS = {"last": "last token", "mean": "mean of tokens"}
_PLACE = re.compile(r"<!-- ([\w-]+) -->\n.*?<!-- end -->", re.S)

LINES = {
    "language": ("language", COLOURS["language"][0]),
    "family": ("scratch", COLOURS["scratch"][0]),
    "gpt2": ("scratch as GPT-2", COLOURS["other"][0]),
}
Row = dict[str, Any]


def read(name: str) -> list[Row]:
    """Read results, one line each."""
    return Results(HOME / "results" / f"{name}.jsonl").rows


def readouts_table() -> Table:
    """Probes of unbridged blocks: what is read, of what, at what size."""
    rows = read("readouts")
    starts = ["language", "family", "gpt2", "mimetic"]
    lines = []
    for tokens, scale, readout in dict.fromkeys(
        (row["tokens"], row["scale"], row["readout"])
        for row in rows
        if row["start"] != "pixels"
    ):
        wanted = dict(tokens=tokens, scale=scale, readout=readout)
        cells = []
        for start in starts:
            found = _numbers(rows, _top1, **wanted, start=start)
            cells.append(_cell(found))
        title = f"{tokens} tokens, scale {scale}, {READOUTS[readout]}"
        lines.append([title, *cells])
    pixels = _cell(_numbers(rows, _top1, start="pixels"))
    lines.append(["raw pixels", pixels, *[""] * (len(starts) - 1)])
    return Table(["", *(NAMES.get(name, name) for name in starts)], lines)


def bridges_table() -> Table:
    """Bridges: labels fitted, and both read-outs before and after."""
    rows = [row for row in read("bridges") if "after" in row]
    run = {(r["augmentation"], r["variant"], r["initialisation"]) for r in rows}
    lines = []
    for augmentation, variant, start in sorted(run, key=_order):
        wanted = dict(augmentation=augmentation, variant=variant, initialisation=start)
        cells = [_cell(_numbers(rows, lambda row: row["fitted"][-1], **wanted))]
        for readout in READOUTS:
            for when in ("before", "after"):
                found = _numbers(rows, _probe(when, readout), **wanted)
                cells.append(f"{interval(found).mean:.1f}")
            changes = _numbers(rows, _change(readout), **wanted)
            cells.append(_cell(changes, signed=True))
        title = ", ".join(
            [WORDS[augmentation], WORDS.get(variant, variant), NAMES.get(start, start)]
        )
        lines.append([title, *cells])
    pixels = _cell(_numbers(read("bridges"), _top1, initialisation="pixels"))
    lines.append(["no model, raw pixels", "", pixels, *[""] * 5])
    headings = ["", "labels fitted, %"]
    for title in READOUTS.values():
        headings += [f"{title}, before", "after", "change"]
    return Table(headings, lines)


def _order(setting: tuple[str, str, str]) -> tuple[str, int, int]:
    augmentation, variant, start = setting
    starts = ["language", "family"]
    place = starts.index(start) if start in starts else 2
    return augmentation, variant != "plain", place


def _top1(row: Row) -> float:
    return row["top1"]


def _probe(when: str, readout: str) -> Callable[[Row], float]:
    return lambda row: row[when][readout]["top1"]


def _fitted(row: Row) -> list[float]:
    return row["fitted"]


def _change(readout: str) -> Callable[[Row], float]:
    after, before = _probe("after", readout), _probe("before", readout)
    return lambda row: after(row) - before(row)


def _numbers(rows: list[Row], get: Callable[[Row], float], **wanted: Any) -> list:
    return [get(row) for row in rows if wanted.items() <= row.items()]


def _cell(values: Sequence[float], signed: bool = False) -> str:
    if not values:
        return ""
    found, sign = interval(values), "+" if signed else ""
    words = f"{found.mean:{sign}.1f}"
    if found.count > 1:
        words += f" [{found.low:{sign}.1f}, {found.high:{sign}.1f}]"
    return words if found.count in (1, 3) else f"{words}, {found.count} seeds"


@style()
def draw(path: Path) -> None:
    """Draw how labels are fitted, and what becomes of the probes."""
    rows = [row for row in read("bridges") if "after" in row]
    shown = [row for row in rows if row["augmentation"] == "crop"]
    # Narrow, so that a phone shows its letters, too.
    figure = plt.figure(figsize=(6.4, 6.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    panels = dict(zip(("plain", "token"), above.subplots(1, 2), strict=True))
    for variant, panel in panels.items():
        for start, (name, colour) in LINES.items():
            curves = _numbers(shown, _fitted, variant=variant, initialisation=start)
            for number, curve in enumerate(curves):
                label = {"label": name} if number == 0 else {}
                epochs = range(1, len(curve) + 1)
                panel.plot(epochs, curve, color=colour, lw=1.5, **label)
        title = {"plain": "no token", "token": "a token"}[variant]
        panel.set(title=f"{title} in front of the patches", xlabel="epoch")
        panel.set(ylim=(0, 100), ylabel="random labels fitted, %")
    lines = panels["token"].get_legend_handles_labels()
    above.legend(*lines, loc="outside lower center", ncols=len(LINES))
    _draw_changes(below.subplots(), shown)
    write_whole(path, lambda part: figure.savefig(part, format="png", dpi=200))
    plt.close(figure)


def _draw_changes(axes: Any, rows: list[Row]) -> None:
    front, names = {"plain": "", "token": " + token"}, []
    for variant, (start, (name, colour)), (readout, words) in itertools.product(
        front, LINES.items(), READOUTS.items()
    ):
        wanted = dict(variant=variant, initialisation=start)
        changes = _numbers(rows, _change(readout), **wanted)
        if not changes:
            continue
        found, place = interval(changes), len(names)
        axes.plot([found.low, found.high], [place, place], color=colour, lw=1.2)
        axes.plot(changes, [place] * len(changes), "o", color=colour, alpha=0.6)
        axes.plot(found.mean, place, "|", color=colour, ms=14, mew=2)
        names.append(f"{name}{front[variant]}: {words.split()[0]}")
    axes.axvline(0, color=SOFT, lw=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title("what the bridge changes in a linear probe")
    axes.set_xlabel(
        "points; dot: a seed, stroke: their mean, line: 95 % interval\n"
        "(last token or mean of tokens; + token: one in front)"
    )


TABLES: dict[str, Callable[[], Table]] = {
    "readouts": readouts_table,
    "bridges": bridges_table,
}


def fill_in(text: str) -> str:
    """Put the tables into a page."""

    def table(match: re.Match[str]) -> str:
        words = TABLES[match[1]]().to_markdown()
        return f"<!-- {match[1]} -->\n\n{words}\n\n<!-- end -->"

    return _PLACE.sub(table, text)


def main(argv: list[str] | None = None) -> None:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if args.check and fill_in(text) != text:
            raise SystemExit(f"{page} is not what the results say: run {__file__}.")
        if not args.check:
            write_whole(page, fill_in(text))
    if not args.check:
        draw(PICTURE)


if __name__ == "__main__":
    main()
