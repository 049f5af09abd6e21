"""How fast is it? One command prints the whole table; --only prints one row of it.

Each line is a ratio against a named baseline. The two take turns in this process; where
both compute the same, their results are compared first. Processor seconds count, wall
seconds are in results.json; the share is of this machine's own rate of matrix products
of that size and dtype, measured between the steps. `--before PATH` measures ours once
more in another checkout, in the same rounds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import ROOT, Case, measure, serve  # noqa: E402

# row: (module, function, rounds, rounds of --quick)
ROWS = {
    "bridge-step": ("bridge_step", "cases", 7, 5),
    "detr-layer": ("detr_layer", "cases", 7, 5),
    "linear-probe": ("linear_probe", "cases", 3, 1),
    "gguf": ("loading", "gguf_cases", 3, 2),
    "first-blocks": ("bridge_step", "partial_cases", 3, 1),
    "transplant": ("loading", "transplant_cases", 7, 5),
    "tools": ("loading", "tool_cases", 5, 3),
    "first-step": ("loading", "first_step_cases", 3, 2),
    "loader": ("loading", "loader_cases", 5, 5),
    "labels": ("loading", "label_cases", 5, 3),
    "growth": ("bridge_step", "growth_cases", 7, 5),
}
RESULTS = ROOT / "benchmarks/results.json"
PAGE = ROOT / "docs/speed.md"
BEGIN, END = "<!-- measured: benchmarks/run.py writes this -->", "<!-- end -->"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", default=[])
    parser.add_argument("--list", action="store_true", help="the rows and their lines")
    parser.add_argument("--rounds", type=int, help="instead of each row's own number")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--before", type=Path, help="another checkout of lbbt_mm")
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the rows into benchmarks/results.json and docs/speed.md",
    )
    parser.add_argument("--page", action="store_true", help="only write docs/speed.md")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def cases_of(row: str) -> list[Case]:
    """The lines of a row."""
    module, function, *_ = ROWS[row]
    return getattr(import_module(module), function)()


def machine(threads: int) -> dict[str, Any]:
    """What the numbers depend on."""
    found = Path("/proc/cpuinfo")
    lines = found.read_text().splitlines() if found.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    packages = ("torch", "transformers", "onedl-mmengine", "mmengine")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ImportError:  # the fork or the original
            continue
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
    )
    name = names[0] if names else platform.processor()
    return dict(
        date=f"{datetime.date.today()}",
        processor=f"{platform.machine()}, {name}",
        cores=os.cpu_count(),
        threads=threads,
        load=round(os.getloadavg()[0], 1),
        python=platform.python_version(),
        commit=commit.stdout.strip(),
        **versions,
    )


def meets(goal: str, ratio: float, seconds: float) -> bool | None:
    """Whether a goal is met; None without one.

    Example:
        >>> meets("<= 5 s", 2.0, 4.8), meets(">= 1.8", 1.7, 4.8), meets("", 1.7, 4.8)
        (True, False, None)
    """
    if not goal:
        return None
    sign, number, *unit = goal.split()
    value = seconds if unit else ratio
    # As the table shows it: two digits behind the point.
    value, limit = round(value, 2), float(number)
    return value >= limit if sign == ">=" else value <= limit


def verdicts(one: dict) -> list[tuple[str, str, bool | None]]:
    """What is compared in a line: words, goal, whether it is met."""
    clock = one["clock"]
    median, low, high = one[f"ratio_{clock}"]
    seconds = one["seconds"]["ours"][clock][0]
    words = f"{median:.2f} ({low:.2f} to {high:.2f})"
    found = [(words, one["goal"], meets(one["goal"], median, seconds))]
    if "before" in one:
        value, low, high = one["before"]
        words = f"before: {value:.2f} ({low:.2f} to {high:.2f})"
        met = meets(one["before_goal"], value, 0)
        found.append((words, one["before_goal"], met))
    if "mib" in one:
        share = one["mib"]["ours"][0] / one["mib"]["baseline"][0]
        goal = one["memory_goal"]
        found.append((f"memory: {share:.2f}", goal, meets(goal, share, 0)))
    return found


def duration(seconds: float) -> str:
    """Time of an arm."""
    if seconds < 1:
        return f"{1e3 * seconds:.0f} ms"
    return f"{seconds:.{2 if seconds < 100 else 0}f} s"


def table(results: list[dict]) -> str:
    """The Markdown tables of measured lines, one for each row and baseline."""
    lines = []
    for (row, baseline), found in groupby(results, itemgetter("row", "baseline")):
        lines += ["", f"**{row}**; baseline: {baseline}", ""]
        lines += ["| what | ours | baseline | ratio | goal | |", f"|{6 * '---|'}"]
        lines += map(line, found)
    return "\n".join(lines).strip()


def line(one: dict) -> str:
    """What was measured of one case."""
    cells = [one["case"]]
    for arm in ("ours", "baseline"):
        words = [duration(one["seconds"][arm][one["clock"]][0])]
        if "share" in one:
            words[0] += f" ({one['share'][arm]:.0%})"
        if arm in one["said"]:
            words.append(one["said"][arm])
        if "mib" in one:
            words.append(f"{one['mib'][arm][0]:.0f} MiB")
        cells.append(", ".join(words))
    words, goals, met = zip(*verdicts(one), strict=True)
    marks = {True: "met", False: "**missed**", None: ""}
    cells += ["<br>".join(words), "<br>".join(goals)]
    cells.append("<br>".join(marks[one] for one in met))
    return f"| {' | '.join(cells)} |"


def page(stored: dict, old: str) -> str:
    """The page with the measured part exchanged; the rest is written by hand."""
    before, rest = old.split(BEGIN)
    _, after = rest.split(END)
    facts = stored["machine"]
    versions = ", ".join(
        f"{name} {facts[name]}"
        for name in ("torch", "transformers", "onedl-mmengine", "mmengine")
        if name in facts
    )
    rates: dict[str, float] = {}
    for one in stored["rows"]:
        for dtype, rate in one.get("matmul_rate", {}).items():
            rates[dtype] = max(rate, rates.get(dtype, 0))
    commits, loads = (
        ", ".join(dict.fromkeys(str(one[key]) for one in stored["rows"]))
        for key in ("commit", "load")
    )
    reached = [f"{rate / 1e9:.0f} G in {dtype}" for dtype, rate in rates.items()]
    words = (
        f"{facts['date']}, {facts['processor']}, {facts['cores']} cores, "
        f"{facts['threads']} thread(s), load {loads} before the start; CPython "
        f"{facts['python']}, {versions}; commit {commits}. Operations a second in "
        f"matrix products: {', '.join(reached) or 'not measured'}."
    )
    return f"{before}{BEGIN}\n{words}\n\n{table(stored['rows'])}\n{END}{after}"


def store(results: list[dict], facts: dict[str, Any]) -> None:
    """Exchange measured lines in the stored results, in the order of `ROWS`."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else dict(rows=[])
    new = {(one["row"], one["case"]): one for one in results}
    rows = [one for one in stored["rows"] if one["row"] not in {r for r, _ in new}]
    rows = sorted([*rows, *results], key=lambda one: list(ROWS).index(one["row"]))
    RESULTS.write_text(json.dumps(dict(machine=facts, rows=rows), indent=1) + "\n")


def main() -> None:
    """Measure and print."""
    args = parse_args()
    if args.list:
        for row in ROWS:
            print(row, *(f"  {one.name}" for one in cases_of(row)), sep="\n")
        return
    if not args.page:
        import torch
        from mmengine.logging import MMLogger

        import lbbt_mm

        MMLogger.get_instance("benchmark", log_level="ERROR")
        torch.set_num_threads(args.threads)
        assert ROOT in Path(lbbt_mm.__file__).parents, lbbt_mm.__file__
    if args.serve:
        row, name, arm = args.serve
        serve(next(one for one in cases_of(row) if one.name == name), arm)
        return
    if not args.page:
        results, facts = [], machine(args.threads)
        for row in args.only or ROWS:
            for case in cases_of(row):
                rounds = args.rounds or ROWS[row][3 if args.quick else 2]
                found = measure(row, case, rounds, args.before)
                results.append(dict(found, commit=facts["commit"], load=facts["load"]))
                print(line(results[-1]), file=sys.stderr, flush=True)
        print(table(results))
        if args.write:
            store(results, facts)
    if args.write or args.page:
        stored = json.loads(RESULTS.read_text())
        PAGE.write_text(page(stored, PAGE.read_text()))


if __name__ == "__main__":
    main()
