"""Write results_archive.md and its pictures from the logs in results/.

The words come from results.template.md beside this script, every number in a table
and every picture from the logs, which sweep.py wrote, and from the runs and
measurements in report/runs/. `--check` tells whether the page is what they say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import _launch  # noqa: E402
from paper.choice import chosen_table, grid_table
from paper.page import build_sections
from paper.plan import PlanError, read_plan
from paper.sweep_figures import (
    bridge_figure,
    few_labels_figure,
    questions_figure,
    score_figure,
    variants_figure,
)

from lbbt_mm.runs import shapes
from lbbt_mm.runs.files import read_json
from lbbt_mm.runs.find import gather
from lbbt_mm.runs.run import run_from_sweep

HOME = Path(__file__).resolve().parent
ROOT = HOME.parents[1]
# What logs call a variant, and what the page does.
WORDS = {"all": "all blocks", "first5": "first 5 blocks"}
WORDS |= {"correct labels": "true labels"}
CHANCE = 10.0  # %, of ten classes
_LABEL_PANELS = {"probe_before": "Frozen blocks, linear probe", "test": "Fine-tuned"}
_PLACE = re.compile(
    r"^<!-- (table|grid|figure|made|paper) ([\w.-]+)(?: (\w+))? -->$", re.M
)


class Log:
    """One committed log, and the plan that it was made by.

    Args:
        path: A file of results/.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.record = read_json(path, shapes.SWEEP, path.parent)
            runs = [
                shapes.SWEEP_RUN(run, f"{path}: runs[{number}]")
                for number, run in enumerate(self.record["runs"])
            ]
        except ValueError as error:
            _launch.fail(str(error))
        self.record["runs"] = runs
        # A plan is Python and is run: one of this repository, not any file.
        plan = (ROOT / self.record["plan"]).resolve()
        homes = [*ROOT.glob("projects/*/configs/sweeps")]
        if plan.parent not in homes:
            _launch.fail(
                f"{path}: expected a plan of projects/*/configs/sweeps/, got "
                f"{self.record['plan']!r}, which would be run."
            )
        self.plan = read_plan(plan)
        self.runs = [run_from_sweep(run, path) for run in runs]
        for run in self.runs:
            run.variant = WORDS.get(run.variant, run.variant)

    @property
    def constant(self) -> dict[str, float]:
        """Scores of the answer that never looks at an image, if they were taken."""
        return self.record.get("constant", {})

    def has(self, metric: str) -> bool:
        """Whether any run measured it."""
        return any(metric in run.metrics for run in self.runs)

    def table(self) -> str:
        """Lay out every initialisation at its chosen point."""
        plan = self.plan
        return chosen_table(
            self.runs, plan.selection, plan.thresholds, constant=self.constant
        ).to_markdown()

    def grid(self, metric: str) -> str:
        """Lay out one metric at every point."""
        return grid_table(self.runs, self.plan.selection, metric).to_markdown()

    def made(self) -> str:
        """Tell how the numbers came to be."""
        runs = self.record["runs"]
        where = {
            tuple(map(e.get, ("device", "cpus", "threads", "torch", "lbbt_mm")))
            for e in (run["environment"] for run in runs)
        }
        commits = sorted({str(run["environment"].get("commit")) for run in runs})
        machines = "; ".join(
            f"{device}, {cpus} cores, {threads} thread(s) a run, torch {torch}, "
            f"lbbt_mm {version}"
            for device, cpus, threads, torch, version in sorted(where, key=str)
        )
        seeds = sorted({run["seed"] for run in runs})
        minutes = sum(run["seconds"] for run in runs) / 60
        took = f"{minutes:.0f} minutes in all, " if minutes >= 1 else ""
        return (
            f"Made by `python projects/paper/sweep.py {self.record['plan']}`; plan "
            f"[{self.plan.path.name}](../../{self.record['plan']}), log "
            f"[{self.path.name}](results/{self.path.name}): "
            f"{len(runs)} runs, seeds "
            f"{', '.join(map(str, seeds))}, {took}commit "
            f"{', '.join(commits)}. {machines}."
        )

    def figure(self, kind: str, images: Path) -> str:
        """Draw the picture and refer to it."""
        name = f"results_{self.plan.name}_{kind}.png"
        draw: dict[str, Callable[[Path], None]] = {
            "bridge": lambda path: bridge_figure(self.runs, CHANCE, path),
            "variants": lambda path: variants_figure(
                self.runs, self.plan.selection, path
            ),
            "labels": lambda path: few_labels_figure(
                self.runs,
                {v: int(v.split()[0]) for v in self.plan.variants},
                {m: name for m, name in _LABEL_PANELS.items() if self.has(m)},
                path,
            ),
        }
        draw["questions"] = lambda path: questions_figure(
            self.runs, path, self.constant
        )
        for metric in ("ap", "miou"):
            draw[metric] = lambda path, metric=metric: score_figure(
                self.runs, metric, path, self.constant.get(metric)
            )
        images.mkdir(parents=True, exist_ok=True)
        draw[kind](images / name)
        return f"![{self.plan.name}: {kind}](images/{name})"


class Measured:
    """The committed runs and measurements, as tools/report.py reads them.

    Args:
        folder: report/runs.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.sections = build_sections(gather([folder]))
        except ValueError as error:
            _launch.fail(str(error))

    def table(self, number: str) -> str:
        """Lay out the paper's table of this number, and ours beside it."""
        name = f"table-{number}"
        found = [s.tables for s in self.sections if s.name == name and s.tables]
        if not found:
            _launch.fail(f"the template asks for table {number}, which is no table.")
        return "\n\n".join(table.to_markdown() for table in found[0])


def render(template: str, folder: Path, images: Path) -> str:
    """Fill in a template.

    Args:
        template: Text with lines ``<!-- table NAME -->``, ``<!-- grid NAME METRIC
            -->``, ``<!-- figure NAME KIND -->`` (bridge, variants, labels, questions,
            ap or miou) and ``<!-- made NAME -->``; NAME is a file of ``folder``
            without ``.json``. ``<!-- paper NUMBER -->`` is a table of the paper beside
            what was measured here, from ``report/runs`` beside ``folder``.
        folder: Of the logs.
        images: Where the pictures go.

    Returns:
        The page.
    """
    logs: dict[str, Log] = {}
    measured: list[Measured] = []

    def fill_in(match: re.Match[str]) -> str:
        what, name, detail = match.groups()
        if what == "paper":
            if not measured:
                measured.append(Measured(folder.parent / "report" / "runs"))
            return measured[0].table(name)
        path = folder / f"{name}.json"
        if not path.is_file():
            _launch.fail(f"the template names {name}, but {path} does not exist.")
        log = logs.setdefault(name, Log(path))
        if what == "figure":
            return log.figure(detail, images)
        return log.grid(detail) if what == "grid" else getattr(log, what)()

    return _PLACE.sub(fill_in, template)


def main() -> None:
    """Write the page, or compare it."""
    parser = _launch.argument_parser(__doc__)
    parser.add_argument(
        "--home",
        type=Path,
        default=HOME,
        help="folder of the page, its template, results/ and report/runs/",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if it would change"
    )
    args = parser.parse_args()
    page, images = args.home / "results_archive.md", args.home / "images"
    template = (args.home / "results.template.md").read_text(encoding="utf-8")
    if args.check:
        import tempfile

        with tempfile.TemporaryDirectory() as scratch:
            text = _rendered(template, args.home / "results", Path(scratch))
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            _launch.fail(
                f"{page} is not what the logs say: run projects/paper/results.py."
            )
        return
    _launch.write_whole(page, _rendered(template, args.home / "results", images))
    print(f"Written to {page} and {images}")


def _rendered(template: str, folder: Path, images: Path) -> str:
    head = (
        "<!-- Written by projects/paper/results.py from the template beside it. -->\n"
    )
    try:
        return head + render(template, folder, images)
    except PlanError as error:
        _launch.fail(str(error))


if __name__ == "__main__":
    main()
