"""The end of the main job: table, results.json and picture of two bridges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbbt_mm.files import write_whole
from lbbt_mm.report.figures import bridge_and_probe_figure
from lbbt_mm.report.tables import Table, percent
from lbbt_mm.runs.log import BridgeCurve


@dataclass(frozen=True)
class BridgeReport:
    """What two arms did, and how to get it again.

    Attributes:
        curves: Arm -> its bridge.
        probes: Arm -> ``'unbridged'`` and ``'bridged'`` -> what
            ``tools/linear_probe.py`` wrote.
        chance: Accuracy of guessing, in %.
        provenance: Command, settings, machine, versions, logs: what a number needs to
            be trusted.
    """

    curves: Mapping[str, BridgeCurve]
    probes: Mapping[str, Mapping[str, Mapping[str, Any]]]
    chance: float
    provenance: Mapping[str, Any]

    def table(self) -> Table:
        """Lay out the arms side by side."""
        arms = list(self.curves)

        def row(name: str, values: list[float | None]) -> list[str]:
            return [name, *map(percent, [*values, self.chance])]

        curves = [self.curves[arm] for arm in arms]
        rows = [
            row(
                "bridge: random labels, last epoch's batches",
                [_last(curve.train_acc) for curve in curves],
            ),
            row(
                "bridge: random labels, clean pass",
                [_last(curve.random_acc) for curve in curves],
            ),
            row(
                "bridge: true labels, clean pass",
                [_last(curve.true_acc) for curve in curves],
            ),
        ]
        for when, name in (("unbridged", "without"), ("bridged", "after")):
            values = [self.probes[arm][when]["last_test_top1"] for arm in arms]
            rows.append(row(f"linear probe: test images, {name} bridge", values))
        return Table(
            headings=["top-1 accuracy, %", *arms, "chance"],
            rows=rows,
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
                arm: {
                    "train_acc": curve.train_acc,
                    "random_label_acc": curve.random_acc,
                    "true_label_acc": curve.true_acc,
                    "images_per_second": curve.images_per_second,
                }
                for arm, curve in self.curves.items()
            },
            "probes": self.probes,
            "chance": self.chance,
            "provenance": self.provenance,
        }
        text = json.dumps(record, indent=2, default=str) + "\n"
        write_whole(paths["results.json"], text)
        pairs = {
            arm: tuple(
                self.probes[arm][when]["last_test_top1"]
                for when in ("unbridged", "bridged")
            )
            for arm in self.curves
        }
        bridge_and_probe_figure(self.curves, pairs, self.chance, paths["curves.png"])
        return paths


def _last(values: Mapping[int, float]) -> float | None:
    return values[max(values)] if values else None
