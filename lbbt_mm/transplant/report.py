"""What was copied, left and inexact: as a table for the log, as a dict for a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lbbt_mm.report.tables import Table
from lbbt_mm.transplant.entries import name_of


@dataclass(frozen=True)
class CopyReport:
    """One transplant, planned or done.

    Attributes:
        source: The language model, as the config names it.
        family: Its family.
        sha256: Hash of the language model's parts that were copied, or from which
            channels were selected; None in a plan.
        inexact: Accepted name -> what is inexact about the copy.
        copied: One dict for each parameter that is filled: the fields of
            :class:`lbbt_mm.transplant.entries.Row`.
        left: Parameters of the same layers that keep their values.
        skipped: Tensors of the language model that were not asked for.
        notes: What else a reader should know.
        selections: Name in ``copied`` -> the channels that were taken: the fields of
            :class:`lbbt_mm.transplant.width.Selection`.
    """

    source: str
    family: str
    sha256: str | None
    inexact: Mapping[str, str]
    copied: Sequence[Mapping[str, Any]]
    left: Sequence[str]
    skipped: Sequence[str]
    notes: Sequence[str]
    selections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name the initialisation: the source and whatever is inexact."""
        marks = f" (inexact: {', '.join(self.inexact)})" if self.inexact else ""
        return self.source + marks

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, for JSON."""
        return dict(label=self.label, **asdict(self))

    def to_table(self) -> Table:
        """Lay out one row for each layer and block."""
        groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
        for row in self.copied:
            groups.setdefault((row["layer"], row["block"]), []).append(row)
        left = {
            layer: sum(name.startswith(f"{layer}.") for name in self.left)
            for layer, _ in groups
        }
        lines = [
            (
                layer,
                name_of(block),
                str(len(rows)),
                f"{_numbers(rows) / 1e6:.2f} M",
                str(left[layer] or ""),
            )
            for (layer, block), rows in groups.items()
        ]
        return Table(("layer", "from", "tensors", "numbers", "left"), lines)

    def to_text(self) -> str:
        """Write the whole report for a log."""
        done = "copied" if self.sha256 else "to be copied"
        lines = [
            f"{self.label} ({self.family}): {len(self.copied)} tensors {done}, "
            f"{_numbers(self.copied) / 1e6:.1f} M numbers; {len(self.left)} left as "
            f"they are; {len(self.skipped)} of the language model's skipped"
        ]
        lines += [f"sha256 of the language model's part: {self.sha256}"] * bool(
            self.sha256
        )
        lines += [f"inexact, accepted: {name}: {t}" for name, t in self.inexact.items()]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, self.to_table().to_text()])


def _numbers(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(math.prod(row["shape"]) for row in rows)
