"""Gather runs, probes and measurements into one self-contained HTML page.

It looks through all folders below WORK_DIR: runs of tools/train.py and of sweeps,
probes of tools/linear_probe.py and measurements of tools/analyze.py. What is missing
is marked on the page, with the command that makes it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _launch

_launch.require_torch()


def parse_args(name: str, description: str) -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        description, f"python {name} work_dirs/quickstart --out report.html"
    )
    parser.add_argument("work_dir", nargs="+", type=Path, metavar="WORK_DIR")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html",
        help="default: report.html in the first WORK_DIR",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="write every panel as an SVG file of its own, too",
    )
    parser.add_argument(
        "--copy",
        type=Path,
        metavar="DIR",
        help="copy what the page is made from, without weights, logs and paths of this "
        "machine; a page can be made of the copies, too",
    )
    return parser.parse_args()


def main(
    name: str = "tools/report.py",
    description: str = __doc__ or "",
    build: Callable[..., Any] | None = None,
    *words: Any,
) -> None:
    """Write the page.

    Args:
        name: Of the tool that is run.
        description: What it does.
        build: Builds the sections of what was gathered; by default those of any run.
        words: Title and introduction of the page, where they are not the default's.
    """
    args = parse_args(name, description)
    from lbbt_mm.files import write_whole
    from lbbt_mm.report.collect import collect
    from lbbt_mm.report.page import write_charts
    from lbbt_mm.report.report_page import build_page, build_sections, made_by
    from lbbt_mm.runs.find import gather

    out = args.out or args.work_dir[0] / "report.html"
    try:
        found = gather(args.work_dir)
        sections = (build or build_sections)(found)
        command = shlex.join(["python", name, *sys.argv[1:]])
        page = build_page(sections, made_by(command), *words)
    except (ImportError, ValueError) as error:
        _launch.fail(str(error))
    try:
        write_whole(out, page)
        if args.figures:
            files = write_charts(args.figures, sections)
            print(f"{len(files)} panels in {args.figures}")
        if args.copy:
            copies = collect(found, args.copy)
            print(f"{len(copies)} files in {args.copy}")
    except OSError as error:
        _launch.fail_to_write("the page", str(out), error)
    gaps = sum(len(section.gaps) for section in sections)
    print(
        f"{out} ({len(page.encode()) / 1000:.0f} kB). Runs: {len(found.runs)}; "
        f"measurements: {len(found.records)}; gaps marked: {gaps}; "
        f"files or measurements with problems: {len(found.problems)}."
    )


if __name__ == "__main__":
    main()
