"""The paper's tables, each with the paper's numbers and ours beside them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from lbbt_mm.report import paper_numbers as paper
from lbbt_mm.report.charts import legend, line_chart
from lbbt_mm.report.groups import (
    Group,
    Measured,
    Model,
    analyze_command,
    cell,
    first_runs,
    number,
    numbers,
    shown_path,
    train_command,
)
from lbbt_mm.report.page import Section
from lbbt_mm.report.runs_part import last_train, probe_top1
from lbbt_mm.report.tables import Table

_INTERVALS = (
    "In brackets the 95 % interval by Student's t over seeds (of two seeds: both "
    "values); one seed has no interval."
)
_COSTS = {
    "images": "images seen",
    "steps": "steps",
    "forward_passes": "forward passes",
    "flops": "FLOPs",
}
_CURVATURE = {  # row of table 15 -> names that a measurement may give it
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
_RIVALS = ("LBBT", "Rotation", "MAE", "SimCLR")


_Columns = dict[str, dict[str, str]]  # heading -> row -> cell


def beside(theirs: paper.PaperTable, ours: Mapping[str, _Columns], first: str) -> Table:
    """Put our columns beside the paper's; no cell mixes them.

    Args:
        theirs: A table of the paper.
        ours: Name of our data and model -> its columns.
        first: Heading of the rows' names.
    """
    blocks = {"the paper": theirs.data, **{f"here: {k}": v for k, v in ours.items()}}
    names = dict.fromkeys(
        name
        for columns in blocks.values()
        for rows in columns.values()
        for name in rows
    )
    rows = []
    for name in names:
        cells = []
        for head, columns in blocks.items():
            empty = paper.NOT_GIVEN if head == "the paper" else "not measured"
            if not any(name in known for known in columns.values()):
                empty = "–"  # no such row there
            cells += [known.get(name) or empty for known in columns.values()]
        rows.append([name, *cells])
    return Table(
        [first, *(column for columns in blocks.values() for column in columns)],
        rows,
        f"Table {theirs.number}. The paper's numbers are on the paper's data."
        + (f" {_INTERVALS}" if ours else ""),
        quoted=range(1, len(theirs.data) + 1),
        heads=[(head, len(columns)) for head, columns in blocks.items()],
    )


def table_section(theirs: paper.PaperTable) -> Section:
    """Start the section of a table."""
    title = f"Table {theirs.number}: {theirs.title}"
    return Section(f"table-{theirs.number}", title)


def finish(section: Section, theirs: paper.PaperTable, table: Table) -> Section:
    """Put table and remark before what was added to the section so far."""
    head = Section("", "")
    if theirs.remark:
        head.text(theirs.remark, "paper")
    head.table(table)
    section.parts = [*head.parts, *section.parts]
    section.tables = [*head.tables, *section.tables]
    return section


def table_3(groups: Sequence[Group], command: str) -> Section:
    """Lay out the probe at each learning rate and weight decay."""
    section = table_section(paper.TABLE_3)
    found = False
    for group in groups:
        for data, models in group.by_data("probe_grid").items():
            found = True
            section.table(_grid(_where(group, data), models))
    if not found:
        section.gap("our table 3", "The probe's grid was not measured.", command)
    return finish(section, paper.TABLE_3, beside(paper.TABLE_3, {}, "linear probe"))


def _grid(where: str, models: Mapping[Model, list[Measured]]) -> Table:
    points: dict[tuple[float, float], dict[Model, list[Any]]] = {}
    for model, seeds in models.items():
        for one in seeds:
            result = one.result
            for i, lr in enumerate(result.get("lrs", [])):
                for j, decay in enumerate(result.get("weight_decays", [])):
                    value = result["test_top1"][i][j]
                    point = points.setdefault((float(lr), float(decay)), {})
                    point.setdefault(model, []).append(value)
    rows = [
        [f"{lr:g}, {decay:g}", *(cell(point.get(model, [])) for model in models)]
        for (lr, decay), point in sorted(points.items())
    ]
    return Table(
        ["learning rate, weight decay", *(model.name for model in models)],
        rows,
        f"Test accuracy of the linear probe in %; {where}. {_INTERVALS}",
    )


def table_4(groups: Sequence[Group]) -> Section:
    """Lay out how far each arm fits random labels."""
    section = table_section(paper.TABLE_4)
    ours: dict[str, _Columns] = {}
    for group in groups:
        for model, runs in group.by_model(["random"]).items():
            done = [last_train(run) for run in runs if run.finished]
            if any(value is not None for value in done):
                columns = ours.setdefault(group.name, {"top-1, %": {}})
                columns["top-1, %"][model.arm] = cell(done)
    if not ours:
        section.gap(
            "our table 4",
            "No finished run on random labels logged its training accuracy.",
            _any_training(groups),
        )
    for group in groups:
        running = [run.name for run in group.runs if not run.finished]
        if running:
            section.text(f"Not in the table, as not finished: {', '.join(running)}.")
    return finish(section, paper.TABLE_4, beside(paper.TABLE_4, ours, "bridge"))


def table_7(groups: Sequence[Group]) -> Section:
    """Lay out the self-supervised rivals and what each of them cost."""
    section = table_section(paper.TABLE_7)
    ours: dict[str, _Columns] = {}
    for group in groups:
        if not {_rival(run.arm) for run in group.runs} - {"LBBT", None}:
            continue
        train, test = {}, {}
        costs: dict[str, list[str]] = {}
        for row in _RIVALS:
            runs = [run for run in group.runs if _rival(run.arm) == row]
            values = [probe_top1(run, "after") for run in runs]
            if not any(value is not None for value in values):
                continue
            test[row] = cell(values)
            probes = [run.probes.get("after", {}) for run in runs]
            train[row] = cell([probe.get("last_train_top1") for probe in probes])
            cost = next((run.cost for run in runs if run.cost), {})
            costs[row] = [number(cost.get(key)) or "not logged" for key in _COSTS]
        ours[group.name] = {"train": train, "test": test}
        section.table(
            Table(
                ["cost", *_COSTS.values()],
                [[row, *cells] for row, cells in costs.items()],
                f"What each method cost, {group.name}: one of these is held equal, the "
                "others are what they are.",
            )
        )
        lacking = [row for row in _RIVALS if row not in test]
        if lacking:
            section.gap(
                f"{', '.join(lacking)} in our table 7, {group.name}",
                "The arm or its probe is missing.",
                "python tools/sweep.py configs/sweeps/fashion-mnist_selfsup.py",
            )
    if not ours:
        section.gap(
            "our table 7",
            "No sweep with self-supervised arms (rotation, SimCLR, MAE) was found.",
            "python tools/sweep.py configs/sweeps/fashion-mnist_selfsup.py",
        )
    return finish(section, paper.TABLE_7, beside(paper.TABLE_7, ours, "method"))


def table_11(groups: Sequence[Group], command: str) -> Section:
    """Lay out retrieval."""
    section = table_section(paper.TABLE_11)
    ours: dict[str, _Columns] = {}
    for group in groups:
        for data, models in group.by_data("retrieval").items():
            for model, seeds in models.items():
                column = {
                    key: cell([one.result.get(key) for one in seeds])
                    for key in paper.TABLE_11.data["Tiny-ImageNet-200, scratch bridge"]
                }
                ours.setdefault(_where(group, data), {})[model.name] = column
    if not ours:
        section.gap("our table 11", "Retrieval was not measured.", command)
    else:
        _mark_unmeasured(section, groups, "retrieval", 11)
    return finish(section, paper.TABLE_11, beside(paper.TABLE_11, ours, "in %"))


def table_13(groups: Sequence[Group]) -> Section:
    """Lay out train and test accuracy of every language model."""
    section = table_section(paper.TABLE_13)
    ours: dict[str, _Columns] = {}
    untested = []
    for group in groups:
        for model, runs in group.by_model(["random", "correct"]).items():
            done = [run for run in runs if run.finished and run.curve.train_acc]
            if model.arm != "language" or not done:
                continue
            test = cell([run.metrics.get("test") for run in done])
            if not test:
                untested += done[:1]
            name = f"{group.key[1] or 'language'}, {model.labels} labels"
            train = cell([last_train(run) for run in done])
            columns = ours.setdefault(group.data, {"train / test": {}})
            columns["train / test"][name] = f"{train} / {test or 'not measured'}"
    for run in untested:
        config = shown_path(run.dumped or run.config)
        folder = shown_path(run.folder)
        checkpoint = f"{folder}/{run.last}"
        section.gap(
            f"test accuracy in our table 13, {run.name}",
            "The whole model was not tested on images with true labels.",
            shlex.join(
                ["python", "tools/test.py", config, checkpoint]
                + ["--out", f"{folder}/test.json"]
            ),
        )
    if not ours:
        section.gap(
            "our table 13",
            "No finished training of a language arm was found.",
            _any_training(groups),
        )
    return finish(section, paper.TABLE_13, beside(paper.TABLE_13, ours, "prior"))


def table_14(groups: Sequence[Group]) -> Section:
    """Lay out the linear probe of both arms, without and after the bridge."""
    section = table_section(paper.TABLE_14)
    ours: dict[str, _Columns] = {}
    for group in groups:
        column: dict[str, str] = {}
        for model, runs in group.by_model(["random"]).items():
            for when, words in (
                ("before", f"{model.arm}, without bridge"),
                ("after", f"{model.arm}, bridged"),
            ):
                values = [probe_top1(run, when) for run in runs]
                if any(value is not None for value in values):
                    column[words] = cell(values)
        if column:
            ours[group.name] = {"top-1, %": column}
    if not ours:
        section.gap(
            "our table 14",
            "No bridge was probed.",
            "python tools/linear_probe.py RUN/config.py RUN/epoch_4.pth",
        )
    return finish(section, paper.TABLE_14, beside(paper.TABLE_14, ours, "linear probe"))


def table_15(groups: Sequence[Group], command: str) -> Section:
    """Lay out the curvature at the start, and after training where it was measured."""
    section = table_section(paper.TABLE_15)
    ours: dict[str, _Columns] = {}
    for group in groups:
        for data, models in group.by_data("curvature").items():
            for model, seeds in models.items():
                column = {
                    row: _estimates(seeds, names) for row, names in _CURVATURE.items()
                }
                known = {name for names in _CURVATURE.values() for name in names}
                for name, value in seeds[0].result.items():
                    if (
                        name not in known
                        and isinstance(value, dict)
                        and ("value" in value)
                    ):
                        column[name.replace("_", " ")] = _estimates(seeds, (name,))
                ours.setdefault(_where(group, data), {})[model.name] = column
            _density(section, _where(group, data), models)
    if not ours:
        section.gap("our table 15", "Curvature was not measured.", command)
    else:
        _mark_unmeasured(section, groups, "curvature", 15)
    return finish(section, paper.TABLE_15, beside(paper.TABLE_15, ours, "number"))


def _density(
    section: Section, where: str, models: Mapping[Model, list[Measured]]
) -> None:
    lines = []
    for model, seeds in models.items():
        density = seeds[0].result.get("density") or {}
        grid, values = density.get("grid") or [], density.get("values") or []
        if grid and len(grid) == len(values):
            lines.append(model.line(grid, values, marker=False))
    if lines:
        chart = line_chart(
            "Density of the Hessian's eigenvalues",
            lines,
            "eigenvalue",
            "share of the eigenvalues per unit",
            y_log=True,
        )
        section.figure([chart], f"{where}; the first seed.", legend(lines))


def _where(group: Group, data: str) -> str:
    return f"{group.name}; measured on {data}" if data else group.name


def _mark_unmeasured(
    section: Section, groups: Sequence[Group], measurement: str, table: int
) -> None:
    """Mark the settings that other settings of the table have and these lack."""
    for group in groups:
        run = next(first_runs(group), None)
        if run and not group.measured.get(measurement):
            section.gap(
                f"our table {table}, {group.name}",
                "It was not measured on this setting.",
                analyze_command(run, measurement),
            )


def _rival(arm: str) -> str | None:
    """Find the row of table 7 that an arm belongs to; scratch belongs to none."""
    lower = arm.lower()
    for row in _RIVALS[1:]:
        if row.lower() in lower:
            return row
    return "LBBT" if "lbbt" in lower or "language" in lower else None


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


def _any_training(groups: Sequence[Group]) -> str:
    run = next((run for group in groups for run in group.runs), None)
    return train_command(run) if run else "python tools/train.py CONFIG"
