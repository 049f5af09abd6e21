"""The end of tools/quickstart.sh: table, results.json and picture of two bridges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbbt_mm.files import write_whole
from lbbt_mm.report.chart import (
    Change,
    Chart,
    change_chart,
    line_chart,
    panels,
    save,
    style,
)
from lbbt_mm.report.groups import Model
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
        for readout, words in (("avg", "mean of tokens"), ("last", "last token")):
            for when in _PROBES:
                name = f"linear probe of the {words}, {when}"
                rows[name] = [run.probe(when, readout) for run in self.runs.values()]
        name = "linear layer on raw pixels, no model"
        rows[name] = [run.probe("unbridged", "pixels") for run in self.runs.values()]
        return Table(
            headings=["top-1 accuracy, %", *self.runs, "chance"],
            rows=[[n, *map(percent, [*row, self.chance])] for n, row in rows.items()],
            caption="Measured by this run, one seed. Probes: test images, last epoch.",
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
            figure, axes = panels([["bridge", "probe"]])
            for axis, chart in zip(axes.values(), self._charts(), strict=True):
                chart.draw(axis)
                axis.set_title(chart.title)
            save(figure, paths["curves.png"])
        return paths

    def _charts(self) -> tuple[Chart, Chart]:
        series, changes = [], []
        for start, run in self.runs.items():
            model = Model(start, "random")
            fit, clean = run.curve.train_acc, run.curve.random_acc
            end = f"{start}: {_last(fit) or 0:.0f} % at the end"
            series.append(model.line([*fit], [*fit.values()])._replace(name=end))
            line = Model(start, "").line([*clean], [*clean.values()])
            series.append(line._replace(name=f"{start}, clean pass"))
            tops = [run.probe(when) for when in _PROBES]
            ends = [None if top1 is None else (top1, top1, top1) for top1 in tops]
            changes.append(Change(start, start, *ends))
        bridges = line_chart(
            "Bridge: fitting random labels",
            series,
            "epoch",
            "training accuracy, %",
            x_whole=True,
            ranges=(None, (0, 102)),
            rule=(self.chance, "chance"),
        )
        pixels = next(iter(self.runs.values())).probe("unbridged", "pixels")
        if pixels is not None:
            number = (pixels, pixels, pixels)
            changes.append(Change("raw pixels, no model", "other", None, number))
        words = "test accuracy, mean of tokens, %"
        title = "Linear probe: unbridged (hollow), bridged"
        return bridges, change_chart(title, changes, words, self.chance)


def _last(values: Mapping[int, float]) -> float | None:
    return values[max(values)] if values else None
