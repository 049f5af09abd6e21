"""The paper's tables, each with the paper's numbers and ours beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lbbt_mm.report.commands import analyze_command, model_command, shown_path
from lbbt_mm.report.groups import Group, model_name
from lbbt_mm.report.measured_images import probe_grid, retrieval_columns
from lbbt_mm.report.measured_weights import curvature_columns, density
from lbbt_mm.report.page import Section
from lbbt_mm.report.tables import Columns, Table, cell, note, number
from paper import quoted

_COSTS = {
    "images": "images seen",
    "steps": "steps",
    "forward_passes": "forward passes",
    "flops": "FLOPs",
}
_METHODS = ("LBBT", "Rotation", "MAE", "SimCLR")


def beside(
    theirs: quoted.PaperTable,
    ours: Mapping[str, Columns],
    first: str,
    groups: Sequence[Group] = (),
    measured: str = "",
) -> Table:
    """Put our columns beside the paper's; no cell mixes them.

    Args:
        theirs: A table of the paper.
        ours: Name of our setting -> its columns.
        first: Heading of the rows' names.
        groups: The settings, for the caption.
        measured: On which images, for the caption.
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
            empty = quoted.NOT_GIVEN if head == "the paper" else "not measured"
            if not any(name in known for known in columns.values()):
                empty = "–"  # no such row there
            cells += [known.get(name) or empty for known in columns.values()]
        rows.append([name, *cells])
    heads = {key.partition(";")[0] for key in ours}
    shown = [group for group in groups if group.short_name(groups) in heads]
    where = "; ".join(group.name for group in shown)
    where += f"; measured on {measured}" if measured else ""
    return Table(
        [first, *(column for columns in blocks.values() for column in columns)],
        rows,
        f"Table {theirs.number}. The paper's numbers are on the paper's data"
        + (f"; ours on {where}." if where else ".")
        + note(rows)
        + (" A dash: no such row there." if any("–" in row for row in rows) else ""),
        quoted=range(1, len(theirs.data) + 1),
        heads=[(head, len(columns)) for head, columns in blocks.items()],
    )


def table_section(theirs: quoted.PaperTable) -> Section:
    """Start the section of a table."""
    title = f"Table {theirs.number}: {theirs.title}"
    return Section(f"table-{theirs.number}", title, level=3)


def finish(
    section: Section,
    theirs: quoted.PaperTable,
    ours: Mapping[str, Columns],
    first: str,
    groups: Sequence[Group],
    measurement: str = "",
) -> Section:
    """Put table and remark before what was added to the section so far."""
    head = Section("", "")
    if theirs.remark:
        head.text(theirs.remark, "paper")
    data = dict.fromkeys(d for group in groups for d in group.by_data(measurement))
    head.table(beside(theirs, ours, first, groups, " and ".join(filter(None, data))))
    section.parts = [*head.parts, *section.parts]
    section.tables = [*head.tables, *section.tables]
    return section


def table_3(groups: Sequence[Group]) -> Section:
    """Lay out the probe at each learning rate and weight decay."""
    section = table_section(quoted.TABLE_3)
    found = False
    for group in groups:
        for data, models in group.by_data("probe_grid").items():
            found = True
            probe_grid(section, models, f"{group.name}; measured on {data}. ")
    if not found:
        _unmeasured(section, groups, "our table 3", "probe_grid")
    return finish(section, quoted.TABLE_3, {}, "linear probe", groups)


def table_4(groups: Sequence[Group]) -> Section:
    """Lay out how far each initialisation fits random labels."""
    section = table_section(quoted.TABLE_4)
    ours: dict[str, Columns] = {}
    for group in groups:
        for model, runs in group.by_model(["random"]).items():
            done = [run.last_train for run in runs if run.finished]
            if any(value is not None for value in done):
                columns = ours.setdefault(group.short_name(groups), {"top-1, %": {}})
                columns["top-1, %"][model.initialisation] = cell(done)
    if not ours:
        section.gap(
            "our table 4",
            "No finished run on random labels logged its training accuracy.",
        )
    for group in groups:
        running = [run.name for run in group.runs if not run.finished]
        if running:
            section.text(f"Not in the table, as not finished: {', '.join(running)}.")
    return finish(section, quoted.TABLE_4, ours, "bridge", groups)


def table_7(groups: Sequence[Group]) -> Section:
    """Lay out the self-supervised baselines and what each of them cost."""
    section = table_section(quoted.TABLE_7)
    ours: dict[str, Columns] = {}
    for group in groups:
        if not {_method(run.initialisation) for run in group.runs} - {"LBBT", None}:
            continue
        train, test = {}, {}
        costs: dict[str, list[str]] = {}
        for row in _METHODS:
            runs = [run for run in group.runs if _method(run.initialisation) == row]
            values = [run.probe("bridged") for run in runs]
            if not any(value is not None for value in values):
                continue
            test[row] = cell(values)
            probes = [run.probes.get("bridged", {}) for run in runs]
            train[row] = cell([probe.get("last_train_top1") for probe in probes])
            cost = next((run.cost for run in runs if run.cost), {})
            costs[row] = [number(cost.get(key)) or "not logged" for key in _COSTS]
        ours[group.short_name(groups)] = {"train": train, "test": test}
        section.table(
            Table(
                ["cost", *_COSTS.values()],
                [[row, *cells] for row, cells in costs.items()],
                f"What each method cost, {group.name}: one of these is held equal, the "
                "others are what they are.",
            )
        )
        lacking = [row for row in _METHODS if row not in test]
        if lacking:
            section.gap(
                f"{', '.join(lacking)} in our table 7, {group.name}",
                "The run or its probe is missing.",
                "python projects/paper/sweep.py "
                "projects/paper/configs/sweeps/fashion-mnist_selfsup.py",
            )
    if not ours:
        section.gap(
            "our table 7",
            "No sweep with self-supervised methods (rotation, SimCLR, MAE) was found.",
            "python projects/paper/sweep.py "
            "projects/paper/configs/sweeps/fashion-mnist_selfsup.py",
        )
    return finish(section, quoted.TABLE_7, ours, "method", groups)


def table_11(groups: Sequence[Group]) -> Section:
    """Lay out retrieval."""
    section = table_section(quoted.TABLE_11)
    ours: dict[str, Columns] = {}
    for group in groups:
        for data, models in group.by_data("retrieval").items():
            theirs = quoted.TABLE_11.data["Tiny-ImageNet-200, scratch bridge"]
            columns = retrieval_columns(models)
            ours[_where(group, groups, data)] = {
                name: {row: cell for row, cell in found.items() if row in theirs}
                for name, found in columns.items()
            }
    if not ours:
        _unmeasured(section, groups, "our table 11", "retrieval")
    else:
        _mark_unmeasured(section, groups, "retrieval", 11)
    return finish(section, quoted.TABLE_11, ours, "in %", groups, "retrieval")


def table_13(groups: Sequence[Group]) -> Section:
    """Lay out train and test accuracy of every language model."""
    section = table_section(quoted.TABLE_13)
    ours: dict[str, Columns] = {}
    untested = []
    for group in groups:
        for model, runs in group.by_model(["random", "true"]).items():
            done = [run for run in runs if run.finished and run.curve.train_acc]
            if model.initialisation != "language" or not done:
                continue
            test = cell([run.metrics.get("test") for run in done])
            if not test:
                untested += done[:1]
            name = f"{model_name(group.key[1]) or 'language'}, {model.labels} labels"
            train = cell([run.last_train for run in done])
            columns = ours.setdefault(group.short_name(groups), {"train / test": {}})
            columns["train / test"][name] = f"{train} / {test or 'not measured'}"
    for run in untested:
        section.gap(
            f"test accuracy in our table 13, {run.name}",
            "The whole model was not tested on images with true labels.",
            model_command(run, "test", "--out", f"{shown_path(run.folder)}/test.json"),
        )
    if not ours:
        section.gap(
            "our table 13",
            "No finished training of language weights was found.",
        )
    return finish(section, quoted.TABLE_13, ours, "prior", groups)


def table_14(groups: Sequence[Group]) -> Section:
    """Lay out the linear probe of both initialisations, unbridged and bridged."""
    section = table_section(quoted.TABLE_14)
    ours: dict[str, Columns] = {}
    for group in groups:
        column: dict[str, str] = {}
        for model, runs in group.by_model(["random"]).items():
            for when in ("unbridged", "bridged"):
                values = [run.probe(when) for run in runs]
                if any(value is not None for value in values):
                    column[f"{model.initialisation}, {when}"] = cell(values)
        if column:
            ours[group.short_name(groups)] = {"top-1, %": column}
    if not ours:
        section.gap(
            "our table 14",
            "No bridge was probed.",
        )
    return finish(section, quoted.TABLE_14, ours, "linear probe", groups)


def table_15(groups: Sequence[Group]) -> Section:
    """Lay out the curvature at the start, and after training where it was measured."""
    section = table_section(quoted.TABLE_15)
    ours: dict[str, Columns] = {}
    for group in groups:
        for data, models in group.by_data("curvature").items():
            where = _where(group, groups, data)
            ours[where] = curvature_columns(models)
            density(section, models, f"{group.name}. ")
    if not ours:
        _unmeasured(section, groups, "our table 15", "curvature")
    else:
        _mark_unmeasured(section, groups, "curvature", 15)
    return finish(section, quoted.TABLE_15, ours, "number", groups, "curvature")


def _where(group: Group, groups: Sequence[Group], data: str) -> str:
    """Name a setting, and the images if it was measured on several."""
    several = any(len(group.by_data(m)) > 1 for m in ("retrieval", "curvature"))
    return group.short_name(groups) + (f"; {data}" if several else "")


def _unmeasured(
    section: Section, groups: Sequence[Group], what: str, measurement: str
) -> None:
    """Mark a table that no setting has."""
    run = next((r for g in groups for r in g.compared_runs() if r.checkpoint), None)
    section.gap(what, "It was not measured.", analyze_command(run, measurement))


def _mark_unmeasured(
    section: Section, groups: Sequence[Group], measurement: str, table: int
) -> None:
    """Mark the settings that other settings of the table have and these lack."""
    for group in groups:
        run = next(group.compared_runs(), None)
        if run and not group.measured.get(measurement):
            section.gap(
                f"our table {table}, {group.name}",
                "It was not measured on this setting.",
                analyze_command(run, measurement),
            )


def _method(name: str) -> str | None:
    """Find the row of table 7 that a run belongs to; scratch belongs to none."""
    lower = name.lower()
    for row in _METHODS[1:]:
        if row.lower() in lower:
            return row
    return "LBBT" if "lbbt" in lower or "language" in lower else None
