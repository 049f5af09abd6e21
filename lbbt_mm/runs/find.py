"""Find what was run, probed and measured below some folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lbbt_mm.runs import shapes
from lbbt_mm.runs.files import Reader, read_json
from lbbt_mm.runs.measurement import FOLDER, MeasurementRecord, find_records
from lbbt_mm.runs.run import Run, read_measurement, read_run, run_from_sweep


@dataclass
class Gathered:
    """What was found.

    Attributes:
        folders: Where was looked.
        runs: Trainings.
        alone: Measurements of models whose runs were not found.
        problems: Files that could not be read and measurements that failed, a
            sentence each.
        sweeps: Plans that made the sweeps.
        left_out: Files that could not be read.
    """

    folders: list[Path]
    runs: list[Run] = field(default_factory=list)
    alone: list[MeasurementRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    left_out: set[Path] = field(default_factory=set)

    @property
    def records(self) -> list[tuple[MeasurementRecord, Run | None]]:
        """Measurements with the run that each belongs to, if it was found."""
        of_runs = [(one, run) for run in self.runs for one in run.measurements]
        return [*of_runs, *((one, None) for one in self.alone)]


def gather(folders: Sequence[Path]) -> Gathered:
    """Read runs, probes, sweeps and measurements below some folders.

    Args:
        folders: Of one run, of a sweep, or of many.

    Returns:
        All of it; what cannot be read is named in ``problems`` and passed over.

    Raises:
        ValueError: A folder does not exist, or none holds anything to report.
    """
    reader = Reader()
    found = Gathered(list(folders), problems=reader.problems, left_out=reader.left_out)
    homes: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(
                f"{folder} is not a folder: give the work_dir of a run, or a folder "
                f"of many."
            )
        for home in _run_folders(folder):
            if home.resolve() not in homes:
                homes.add(home.resolve())
                run = read_run(home, reader)
                # An editor's settings.json makes no run.
                found.runs += [run] if run.known else []
        _read_sweep_files(folder, found, reader)
    files = [path for folder in folders for path in find_records(folder)]
    # One file once, however the folders name it; a link may lead back to itself.
    for path in {os.path.realpath(path): path for path in files}.values():
        if path.parents[2].resolve() not in homes:
            record = read_measurement(path, reader)
            found.alone += [record] if record else []
    _join_probes(found)
    if not found.runs and not found.alone:
        names = ", ".join(map(str, folders))
        raise ValueError(
            f"Nothing to report below {names}: expected runs of tools/train.py, "
            f"results of sweeps, or measurements of tools/analyze.py. "
            f"Give the folder that was their --work-dir."
        )
    return found


def _run_folders(folder: Path) -> Iterator[Path]:
    """Find folders of runs, outermost first."""
    homes = {path.parent for path in folder.rglob("settings.json")}
    homes |= {path.parent for path in folder.rglob("result.json")}
    homes |= {path.parents[2] for path in folder.rglob("*/vis_data/scalars.json")}
    # A prediction sheet or a test inside a run is no run.
    return (home for home in sorted(homes) if not homes & {*home.parents})


def _join_probes(found: Gathered) -> None:
    """Give each run the probe of its unbridged model, and drop what was only that."""
    by_name = {(run.folder.parent, run.folder.name): run for run in found.runs}
    used = set()
    for run in found.runs:
        before = by_name.get((run.folder.parent, run.before))
        if before and "unbridged" in before.probes:
            run.probes.setdefault("unbridged", before.probes["unbridged"])
            used.add(id(before))
    # One that no run refers to yet stays: its training may not have begun.
    runs, found.runs = found.runs, []
    for run in runs:
        if id(run) in used or (run.name.startswith("before_") and used):
            found.alone += run.measurements
        else:
            found.runs.append(run)


def _read_sweep_files(folder: Path, found: Gathered, reader: Reader) -> None:
    """Read results of sweeps whose runs' own folders are not there."""
    known = {(run.folder.parent.name, run.name) for run in found.runs}
    for path in sorted(folder.rglob("*.json")):
        inside = path.relative_to(folder).parts[:-1]
        if FOLDER in inside or "vis_data" in inside:
            continue
        if path.name == "results.json":
            record = reader.json(path, shapes.SWEEP, folder)
        else:  # any other program's, more likely
            try:
                record = read_json(path, shapes.SWEEP, folder)
            except ValueError:
                continue
        if not record:
            continue
        found.sweeps.append(record["plan"])
        for number, one in enumerate(record["runs"]):
            try:
                run = shapes.RUN(one, f"runs[{number}]")
                if (path.parent.name, run.get("name")) not in known:
                    found.runs.append(run_from_sweep(run, path))
            except (ValueError, KeyError) as error:
                problem = f"In {path} a run was left out: {error}."
                reader.leave_out(path, problem)
