"""What tools/analyze.py measured that is a table: retrieval, curvature, probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbbt_mm.report.chart import line_chart
from lbbt_mm.report.groups import Measured, Model, cell, number, numbers
from lbbt_mm.report.page import Section
from lbbt_mm.report.tables import Table, note

_Models = Mapping[Model, list[Measured]]
Columns = dict[str, dict[str, str]]  # heading -> row -> cell
CURVATURE = {  # row -> names that a measurement may give it
    "eigenvalue decay rate": ("decay_rate", "eigenvalue_decay_rate"),
    "kurtosis of eigenvalues": ("kurtosis", "eigenvalue_kurtosis"),
    "trace of the Hessian": ("trace", "hessian_trace"),
    "spectral gap": ("spectral_gap", "gap"),
    "participation ratio": ("participation_ratio",),
    "noise-sensitivity AUC": ("noise_sensitivity", "noise_sensitivity_auc"),
    "gradient predictiveness": ("gradient_predictiveness",),
    "max parameter sensitivity": (
        "parameter_sensitivity",
        "max_parameter_sensitivity",
    ),
    "negative-eigenvalue ratio": ("negative_share", "negative_eigenvalue_ratio"),
}


def retrieval(section: Section, models: _Models) -> None:
    """Lay out retrieval."""
    section.table(as_table(retrieval_columns(models), "in %"))


def retrieval_columns(models: _Models) -> Columns:
    """Give each model's scores."""
    found: Columns = {}
    for model, seeds in models.items():
        named = dict.fromkeys(key for one in seeds for key in one.result)
        keys = [key for key in named if key == "mAP" or "@" in key]
        found[model.name] = {
            key: cell([one.result.get(key) for one in seeds]) for key in keys
        }
    return found


def curvature(section: Section, models: _Models) -> None:
    """Lay out the curvature, and draw the eigenvalues' density."""
    section.table(as_table(curvature_columns(models), "number"))
    density(section, models)


def curvature_columns(models: _Models) -> Columns:
    """Give each model's numbers, as table 15 names them."""
    found: Columns = {}
    known = {name for names in CURVATURE.values() for name in names}
    for model, seeds in models.items():
        column = {row: _estimates(seeds, names) for row, names in CURVATURE.items()}
        for name, value in seeds[0].result.items():
            if name not in known and isinstance(value, dict) and "value" in value:
                column[name.replace("_", " ")] = _estimates(seeds, (name,))
        found[model.name] = column
    return found


def density(section: Section, models: _Models, where: str = "") -> None:
    """Draw the density of the Hessian's eigenvalues."""
    lines = []
    for model, seeds in models.items():
        found = seeds[0].result.get("density") or {}
        grid, values = found.get("grid") or [], found.get("values") or []
        if grid and len(grid) == len(values):
            lines.append(model.line(grid, values, marker=False))
    if not lines:
        return
    # Far from every eigenvalue a smoothed density has no floor.
    highest = max((v for line in lines for v in line.ys if v < 1e30), default=1.0)
    chart = line_chart(
        "Density of the Hessian's eigenvalues",
        lines,
        "eigenvalue",
        "share of the eigenvalues per unit",
        logs="y",
        ranges=(None, (highest * 1e-8, highest * 2) if highest > 0 else None),
    )
    section.figure([chart], f"{where}The first seed.", lines)


def probe_grid(section: Section, models: _Models, where: str = "") -> None:
    """Lay out the probe at each learning rate and weight decay."""
    points: dict[tuple[float, float], dict[Model, list[Any]]] = {}
    for model, seeds in models.items():
        for one in seeds:
            result = one.result
            for i, lr in enumerate(result.get("lrs", [])):
                for j, decay in enumerate(result.get("weight_decays", [])):
                    point = points.setdefault((float(lr), float(decay)), {})
                    point.setdefault(model, []).append(result["test_top1"][i][j])
    rows = [
        [f"{lr:g}, {decay:g}", *(cell(point.get(model, [])) for model in models)]
        for (lr, decay), point in sorted(points.items())
    ]
    caption = f"{where}Test accuracy of the linear probe in %.{note(rows)}"
    head = ["learning rate, weight decay", *(model.name for model in models)]
    section.table(Table(head, rows, caption))


def as_table(columns: Columns, first: str) -> Table:
    """Put columns beside each other."""
    names = dict.fromkeys(name for rows in columns.values() for name in rows)
    rows = [[n, *(known.get(n, "") for known in columns.values())] for n in names]
    return Table([first, *columns], rows, note(rows).strip())


def _estimates(seeds: Sequence[Measured], names: Sequence[str]) -> str:
    found = []
    for one in seeds:
        found += [one.result[name] for name in names if name in one.result][:1]
    values = [e.get("value") if isinstance(e, dict) else e for e in found]
    if len(found) == 1 and isinstance(found[0], dict):
        error = found[0].get("error")
        words = number(values[0])
        return f"{words} ± {number(error, 2)}" if error is not None else words
    return numbers([value for value in values if value is not None])
