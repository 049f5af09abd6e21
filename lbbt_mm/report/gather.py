"""Find what was run, probed and measured below some folders."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbbt_mm.report import shapes
from lbbt_mm.report.logs import BridgeCurve, read_bridge_curve
from lbbt_mm.report.reading import Reader, read_json, read_text
from lbbt_mm.report.records import FOLDER, MeasurementRecord, find_records
from lbbt_mm.report.shapes import whole_or_none
from lbbt_mm.report.starts import older_checkpoint, outdated, reached
from lbbt_mm.safety.dumped_config import (
    at,
    describe_dataset,
    describe_labels,
    innermost_dataset,
    language_start,
    last_checkpoint,
    parse_dumped_config,
    plain_model,
    plain_name,
    short_model,
)

_SELF_SUPERVISED = ("rotation", "simclr", "mae", "dino")


@dataclass
class Run:
    """One training, or one model that was probed before any.

    Attributes:
        folder: Where it lies; of a sweep's results file, where it would.
        name: Of the run.
        arm: ``'language'``, ``'scratch'`` or another.
        labels: ``'random'``, ``'correct'`` ...
        dataset: Of the training images.
        language_model: Where the blocks come from, in both arms.
        blocks: Number of blocks; ``None`` if the config does not say.
        images: Images that it trains on; ``None`` if not said.
        classes: Number of classes; ``None`` if not said.
        seed: Its seed.
        variant: Of a sweep, where it says more than the labels do.
        point: Hyper-parameters of a sweep's grid.
        curve: Accuracies by epoch.
        metrics: Other numbers, as in a sweep names them.
        probes: ``'before'`` and ``'after'`` -> what ``tools/linear_probe.py`` wrote.
        cost: Of a self-supervised run: images, steps, forward passes, FLOPs.
        config: The config that it was trained with.
        options: Changes of it.
        dumped: The config with all changes, in the run's folder.
        checkpoint: File name of the last checkpoint; ``None`` without one.
        last: File name of the checkpoint that the whole training ends with.
        sha256: Of that file, as a tool recorded it.
        environment: Machine, versions, commit.
        before: Name of the folder beside it that has the probe of its model before.
        finished: Whether the run came to its end, as far as its files say.
    """

    folder: Path
    name: str
    arm: str = ""
    labels: str = ""
    dataset: str = ""
    language_model: str = ""
    blocks: int | None = None
    images: int | None = None
    classes: int | None = None
    seed: int | None = None
    variant: str = ""
    point: Mapping[str, Any] = field(default_factory=dict)
    curve: BridgeCurve = field(default_factory=BridgeCurve)
    metrics: dict[str, float] = field(default_factory=dict)
    probes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    dumped: Path | None = None
    checkpoint: str | None = None
    last: str = "CHECKPOINT"
    sha256: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    before: str = ""
    finished: bool = True

    @property
    def group(self) -> tuple[Any, ...]:
        """What runs must share to stand in one table: images, architecture, recipe."""
        point = tuple(sorted(self.point.items()))
        images = (self.dataset, self.language_model, self.blocks, self.images)
        return (*images, self.variant, point)

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing, in %."""
        for probe in self.probes.values():
            if probe.get("chance"):
                return float(probe["chance"])
        return 100 / self.classes if self.classes else None


@dataclass
class Gathered:
    """What was found.

    Attributes:
        folders: Where was looked.
        runs: Trainings.
        records: Measurements with the run that each belongs to, if it was found.
        problems: Files that could not be read and measurements that failed, a
            sentence each.
        sweeps: Plans that made the sweeps.
        left_out: Files that could not be read.
    """

    folders: list[Path]
    runs: list[Run] = field(default_factory=list)
    records: list[tuple[MeasurementRecord, Run | None]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    left_out: set[Path] = field(default_factory=set)


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
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(
                f"{folder} is not a folder: give the work_dir of a run, or a folder "
                f"of many."
            )
        for home in _run_folders(folder):
            run = _read_run(home, reader)
            if run.folder not in [one.folder for one in found.runs]:
                found.runs.append(run)
        _read_sweep_files(folder, found, reader)
    _join_probes(found)
    by_folder = {run.folder.resolve(): run for run in found.runs}
    seen: set[str] = set()
    for folder in folders:
        for path in find_records(folder):
            real = os.path.realpath(path)
            if real in seen:
                continue
            seen.add(real)
            try:
                record = MeasurementRecord.read(path)
            except ValueError as error:
                reader.leave_out(path, error)
                continue
            home = path.parent.parent.parent
            model = record.model
            if problem := outdated(
                path, home, model.get("checkpoint"), model.get("sha256")
            ):
                reader.leave_out(path, ValueError(problem))
                continue
            found.records.append((record, by_folder.get(home.resolve())))
            if record.error is not None:
                found.problems.append(
                    f"{record.measurement} of {record.model.get('name', path.parent)} "
                    f"({record.model.get('stage', '')}) failed: {record.error}"
                )
    if not found.runs and not found.records:
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
    return (
        home
        for home in sorted(homes)
        if not any(parent in homes for parent in home.parents)
    )


def _read_run(home: Path, reader: Reader) -> Run:
    record = reader.json(home / "result.json", shapes.RUN, home)
    settings = reader.json(home / "settings.json", shapes.SETTINGS, home)
    settings = record.get("settings", settings)
    config = _read_config(home, reader)
    run = Run(folder=home, name=home.name)
    _fill_from_config(run, config, settings)
    _fill_from_record(run, record)
    probes = _probes_in(home, reader)
    if "probe" in record:
        when = "after" if record.get("curves") else "before"
        probes.setdefault(when, record["probe"])
    run.probes = probes
    run.before = record.get("before", "")
    run.cost = reader.json(home / "cost.json", shapes.COST, home)
    # tools/test.py --out
    test = reader.json(home / "test.json", shapes.SCORES, home)
    if "accuracy/top1" in test:
        run.metrics.setdefault("test", test["accuracy/top1"])
    run.last = last_checkpoint(config)
    latest = home / "last_checkpoint"
    if latest.exists():
        try:
            named = Path(read_text(latest, home).strip()).name
            run.checkpoint = shapes.name(named, f"The checkpoint in {latest}")
        except ValueError as error:
            reader.leave_out(latest, error)
    if run.checkpoint:
        run.last = run.last if run.last != "CHECKPOINT" else run.checkpoint
        run.finished = reached(run.checkpoint, run.last)
        if problem := older_checkpoint(home, run.checkpoint):
            run.finished = False
            reader.problems.append(problem)
    else:
        run.finished = bool(record)
    after = probes.get("after", {})
    if after.get("checkpoint_sha256"):
        run.sha256 = after["checkpoint_sha256"]
        probed = after.get("checkpoint")
        run.checkpoint = run.checkpoint or (Path(probed).name if probed else None)
    if not run.curve.train_acc and any(home.glob("*/vis_data/scalars.json")):
        try:
            run.curve = read_bridge_curve(home)
        except (OSError, ValueError) as error:
            reader.leave_out(home, ValueError(f"The log of {home}: {error}"))
    return run


def _fill_from_config(
    run: Run, config: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    backbone = at(plain_model(config), "backbone")
    backbone = backbone if isinstance(backbone, Mapping) else {}
    run.language_model = short_model(str(backbone.get("language_model") or ""))
    run.blocks = whole_or_none(backbone.get("num_layers"))
    dumped = [run.folder / "config.py", *sorted(run.folder.glob("*.py"))]
    run.dumped = next((path for path in dumped if path.is_file()), None)
    run.config = settings.get("config") or str(run.dumped or "CONFIG")
    run.options = settings.get("options") or {}
    run.dataset = describe_dataset(config)
    run.labels = describe_labels(config) if config else ""
    images = innermost_dataset(config, "train_dataloader").get("indices")
    run.images = (
        len(images) if isinstance(images, (list, tuple)) else whole_or_none(images)
    )
    run.classes = whole_or_none(at(config, "model", "head", "num_classes"))
    run.seed = whole_or_none(at(config, "randomness", "seed"))
    if backbone:
        run.arm = "language" if backbone.get("pretrained", True) else "scratch"
    start = language_start(config)
    if start:
        run.arm, run.language_model = start[0], short_model(str(start[1] or ""))


def _fill_from_record(run: Run, record: Mapping[str, Any]) -> None:
    run.name = record.get("name", run.name)
    arm = record.get("arm", run.arm)
    run.arm = "language" if arm.lower() == "lbbt" else arm  # one thing, one name
    if any(name in run.arm.lower() for name in _SELF_SUPERVISED):
        run.labels = "self-made"
    run.seed = record.get("seed", run.seed)
    run.point = record.get("point") or {}
    variant = record.get("variant", "")
    run.variant = "" if variant in ("random", "correct", run.labels) else variant
    run.environment = record.get("environment") or {}
    curves = record.get("curves") or {}
    run.curve = BridgeCurve(
        train_acc=_numbers(curves.get("train_acc")),
        random_acc=_numbers(curves.get("random_acc")),
        true_acc=_numbers(curves.get("true_acc")),
        images_per_second=record.get("images_per_second"),
    )
    for key, name in (("test", "test"), ("metrics", "")):
        values = record.get(key) or {}
        if name and "accuracy/top1" in values:
            run.metrics[name] = values["accuracy/top1"]
        elif not name:
            run.metrics.update(values)


def _probes_in(home: Path, reader: Reader) -> dict[str, Mapping[str, Any]]:
    probes: dict[str, Mapping[str, Any]] = {}
    for path in sorted(home.glob("linear_probe*.json")):
        probe = reader.json(path, shapes.PROBE, home)
        named = map(probe.get, ("checkpoint", "checkpoint_sha256"))
        if problem := outdated(path, home, *named):
            reader.leave_out(path, ValueError(problem))
        elif probe:
            probes["after" if probe.get("checkpoint") else "before"] = probe
    return probes


def _join_probes(found: Gathered) -> None:
    """Give each run the probe of its model before it, and drop what was only that."""
    by_name = {(run.folder.parent, run.folder.name): run for run in found.runs}
    used = set()
    for run in found.runs:
        before = by_name.get((run.folder.parent, run.before))
        if before and "before" in before.probes:
            run.probes.setdefault("before", before.probes["before"])
            used.add(id(before))
    # One that no run refers to yet stays: its training may not have begun.
    found.runs = [
        run
        for run in found.runs
        if id(run) not in used and not (run.name.startswith("before_") and used)
    ]


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
                    found.runs.append(_from_sweep(run, path))
            except (ValueError, KeyError) as error:
                problem = f"In {path} a run was left out: {error}."
                reader.leave_out(path, ValueError(problem))


def _from_sweep(record: Mapping[str, Any], path: Path) -> Run:
    settings = record.get("settings") or {}
    config, options = settings.get("config", ""), settings.get("options") or {}
    run = Run(folder=path.parent / path.stem / record["name"], name=record["name"])
    run.config, run.options = config, options
    fields = Path(config).stem.split("_")
    run.dataset = plain_name(fields[-1])
    run.language_model = fields[0]
    ratio = options.get("train_dataloader.dataset.ratio")
    ratio = ratio if isinstance(ratio, (int, float)) and 0 <= ratio <= 1 else None
    drawn = any(name.startswith("random") for name in fields) and ratio != 0
    run.labels = "random" if drawn else "correct"
    if ratio not in (None, 0, 1):
        run.labels = f"{100 * ratio:g} % random"
    run.images = whole_or_none(options.get("train_dataloader.dataset.dataset.indices"))
    _fill_from_record(run, record)
    for key, when in (("probe", "after"), ("probe_before", "before")):
        if key in record:
            run.probes[when] = record[key]
    run.sha256 = run.probes.get("after", {}).get("checkpoint_sha256")
    run.classes = run.probes.get("after", {}).get("num_classes")
    return run


def _read_config(home: Path, reader: Reader) -> dict[str, Any]:
    paths = sorted(home.glob("*/vis_data/config.py"))[-1:]
    paths += [path for path in (home / "config.py",) if path.exists()]
    for path in paths:
        try:
            return parse_dumped_config(read_text(path, home), str(path))
        except ValueError as error:
            reader.leave_out(path, error)
    return {}


def _numbers(curve: Mapping[Any, Any] | None) -> dict[int, float]:
    pairs = (curve or {}).items()
    return {epoch: float(value) for epoch, value in pairs if math.isfinite(value)}
