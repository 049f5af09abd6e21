"""The end of tools/quickstart.sh: table, results.json and picture of two bridges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbbt_mm.files import write_whole
from lbbt_mm.report.chart import COLOURS, chance_line, panels, style
from lbbt_mm.report.tables import Table, percent
from lbbt_mm.runs.run import Run

_PROBES = ("unbridged", "bridged")


@dataclass(frozen=True)
class BridgeReport:
    """What became of both initialisations, and how to get it again.

    Attributes:
        runs: Initialisation -> its bridge, with its probes.
        chance: Accuracy of guessing, in %.
        provenance: Command, settings, machine, versions, logs: what a number needs to
            be trusted.
    """

    runs: Mapping[str, Run]
    chance: float
    provenance: Mapping[str, Any]

    def table(self) -> Table:
        """Lay out both side by side."""
        curves = [run.curve for run in self.runs.values()]
        rows: dict[str, list[float | None]] = {
            "bridge: random labels, last epoch's batches": [
                _last(curve.train_acc) for curve in curves
            ],
            "bridge: random labels, clean pass": [
                _last(curve.random_acc) for curve in curves
            ],
            "bridge: true labels, clean pass": [
                _last(curve.true_acc) for curve in curves
            ],
        }
        for when in _PROBES:
            name = f"linear probe: test images, {when}"
            rows[name] = [run.probe(when) for run in self.runs.values()]
        return Table(
            headings=["top-1 accuracy, %", *self.runs, "chance"],
            rows=[[n, *map(percent, [*row, self.chance])] for n, row in rows.items()],
            caption="Measured by this run, one seed. The probe is the last epoch's.",
        )

    def write(self, folder: Path) -> dict[str, Path]:
        """Write ``results.json`` and ``curves.png``.

        Args:
            folder: Where to.

        Returns:
            Name -> path of what was written.
        """
        paths = {name: folder / name for name in ("results.json", "curves.png")}
        record = {
            "bridges": {
                start: {
                    "train_acc": run.curve.train_acc,
                    "random_label_acc": run.curve.random_acc,
                    "true_label_acc": run.curve.true_acc,
                    "images_per_second": run.curve.images_per_second,
                }
                for start, run in self.runs.items()
            },
            "probes": {start: run.probes for start, run in self.runs.items()},
            "chance": self.chance,
            "provenance": self.provenance,
        }
        text = json.dumps(record, indent=2, default=str) + "\n"
        write_whole(paths["results.json"], text)
        with style():
            figure, (left, right) = panels(2, 4.0, 5.0)
            self._draw_bridges(left)
            self._draw_probes(right)
            write_whole(paths["curves.png"], lambda part: figure.savefig(part, dpi=150))
        return paths

    def _draw_bridges(self, axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        for start, run in self.runs.items():
            accuracies = dict(sorted(run.curve.train_acc.items()))
            clean = dict(sorted(run.curve.random_acc.items()))
            end = f"{start}: {_last(accuracies) or 0:.0f} % at the end"
            look = dict(color=COLOURS[start][0], marker="o", ms=3, label=end)
            axes.plot(list(accuracies), list(accuracies.values()), **look)
            look |= dict(ls="none", marker="D", mfc="white", ms=4.5)
            look |= dict(label=f"{start}, clean pass")
            axes.plot(list(clean), list(clean.values()), **look)
        chance_line(axes, self.chance)
        axes.set(
            title="Bridge: fitting random labels",
            xlabel="epoch",
            ylabel="training accuracy, %",
            ylim=(0, 102),
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.08)
        axes.legend(loc="upper left")

    def _draw_probes(self, axes: Any) -> None:
        width = 0.35
        for place, (start, run) in enumerate(self.runs.items()):
            for side, when in enumerate(_PROBES):
                top1 = run.probe(when) or 0.0
                bar = axes.bar(
                    place + (side - 0.5) * width,
                    top1,
                    width * 0.94,
                    color=COLOURS[start][0],
                    alpha=1.0 if side else 0.45,
                )
                label = f"{top1:.1f}\n{when}"
                axes.bar_label(bar, labels=[label], padding=2, fontsize=9)
        chance_line(axes, self.chance)
        axes.set(
            title="Linear probe: unbridged and bridged",
            ylabel="test accuracy with true labels, %",
            ylim=(0, 115),
            xticks=range(len(self.runs)),
            xticklabels=list(self.runs),
            yticks=range(0, 101, 20),
        )


def _last(values: Mapping[int, float]) -> float | None:
    return values[max(values)] if values else None
