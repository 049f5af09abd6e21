"""Find what was run, probed and measured below some folders."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbbt_mm.report.dumped_config import (
    at,
    describe_dataset,
    describe_labels,
    innermost_dataset,
    language_start,
    last_checkpoint,
    plain_model,
    plain_name,
    read_dumped_config,
)
from lbbt_mm.report.logs import BridgeCurve, read_bridge_curve
from lbbt_mm.report.records import FOLDER, MeasurementRecord, find_records
from lbbt_mm.report.starts import older_checkpoint, outdated

_SELF_SUPERVISED = ("rotation", "simclr", "mae", "dino")
_LARGEST = 50_000_000  # bytes of a JSON file that could be a result


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
        metrics: Other numbers, as in :data:`lbbt_mm.report.sweep.METRICS`.
        probes: ``'before'`` and ``'after'`` -> what ``tools/linear_probe.py`` wrote.
        cost: Of a self-supervised run: images, steps, forward passes, FLOPs.
        config: The config that it was trained with.
        options: Changes of it.
        dumped: The config with all changes, in the run's folder.
        checkpoint: File name of the last checkpoint; ``None`` without one.
        last: File name of the checkpoint that the whole training ends with.
        sha256: Of that file, as a tool recorded it.
        environment: Machine, versions, commit.
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
        sweeps: Commands that made the sweeps.
    """

    folders: list[Path]
    runs: list[Run] = field(default_factory=list)
    records: list[tuple[MeasurementRecord, Run | None]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)


def gather(folders: Sequence[Path]) -> Gathered:
    """Read runs, probes, sweeps and measurements below some folders.

    Args:
        folders: Of one run, of a sweep, or of many.

    Returns:
        All of it; what cannot be read is named in ``problems`` and passed over.

    Raises:
        ValueError: A folder does not exist, or none holds anything to report.
    """
    found = Gathered(list(folders))
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(
                f"{folder} is not a folder: give the work_dir of a run, or a folder "
                f"of many."
            )
        for home in _run_folders(folder):
            run = _read_run(home, found.problems)
            if run and run.folder not in [one.folder for one in found.runs]:
                found.runs.append(run)
        _read_sweep_files(folder, found)
    _join_probes(found)
    by_folder = {run.folder.resolve(): run for run in found.runs}
    seen: set[Path] = set()
    for folder in folders:
        for path in find_records(folder):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                record = MeasurementRecord.read(path)
            except (ValueError, OSError) as error:
                found.problems.append(str(error))
                continue
            home = path.parent.parent.parent
            run = by_folder.get(home.resolve())
            names = ("checkpoint", "sha256")
            if problem := outdated(path, home, *map(record.model.get, names)):
                found.problems.append(problem)
                continue
            found.records.append((record, run))
            if record.error is not None:
                found.problems.append(
                    f"{record.measurement} of {record.model.get('name', path.parent)} "
                    f"({record.model.get('stage', '')}) failed: {record.error}"
                )
    if not found.runs and not found.records:
        names = ", ".join(map(str, folders))
        raise ValueError(
            f"Nothing to report below {names}: expected runs of tools/train.py or "
            f"tools/sweep.py, results of sweeps, or measurements of tools/analyze.py. "
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


def _read_run(home: Path, problems: list[str]) -> Run | None:
    record = _read_json(home / "result.json", problems) or {}
    settings = record.get("settings") or (
        _read_json(home / "settings.json", problems) or {}
    )
    config = _read_config(home, problems)
    run = Run(folder=home, name=home.name)
    _fill_from_config(run, config, settings)
    _fill_from_record(run, record)
    probes = {**_probes_in(home, problems)}
    if isinstance(record.get("probe"), dict):
        when = "after" if record.get("curves") else "before"
        probes.setdefault(when, record["probe"])
    run.probes = probes
    run.cost = _read_json(home / "cost.json", problems) or {}
    test = _read_json(home / "test.json", problems) or {}  # tools/test.py --out
    if "accuracy/top1" in test:
        run.metrics.setdefault("test", test["accuracy/top1"])
    run.last = last_checkpoint(config)
    latest = home / "last_checkpoint"
    if latest.is_file():
        run.checkpoint = Path(latest.read_text(encoding="utf-8").strip()).name
        run.last = run.last if run.last != "CHECKPOINT" else run.checkpoint
        run.finished = run.checkpoint == run.last
        if problem := older_checkpoint(home, run.checkpoint):
            run.finished = False
            problems.append(problem)
    else:
        run.finished = bool(record)
    after = probes.get("after", {})
    if after.get("checkpoint_sha256"):
        run.sha256 = after["checkpoint_sha256"]
        named = after.get("checkpoint")
        run.checkpoint = run.checkpoint or (Path(named).name if named else None)
    if not run.curve.train_acc and any(home.glob("*/vis_data/scalars.json")):
        try:
            run.curve = read_bridge_curve(home)
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"The log of {home} could not be read ({error}).")
    return run


def _fill_from_config(
    run: Run, config: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    backbone = at(plain_model(config), "backbone") or {}
    run.language_model = short_model(str(at(backbone, "language_model") or ""))
    run.blocks = at(backbone, "num_layers")
    dumped = [run.folder / "config.py", *sorted(run.folder.glob("*.py"))]
    run.dumped = next((path for path in dumped if path.is_file()), None)
    run.config = settings.get("config") or str(run.dumped or "CONFIG")
    run.options = settings.get("options") or {}
    run.dataset = describe_dataset(config)
    run.labels = describe_labels(config) if config else ""
    run.images = innermost_dataset(config, "train_dataloader").get("indices")
    run.classes = at(config, "model", "head", "num_classes")
    run.seed = at(config, "randomness", "seed")
    if "pretrained" in backbone or backbone:
        run.arm = "language" if backbone.get("pretrained", True) else "scratch"
    start = language_start(config)
    if start:
        run.arm, run.language_model = start[0], short_model(str(start[1] or ""))


def _fill_from_record(run: Run, record: Mapping[str, Any]) -> None:
    run.name = record.get("name", run.name)
    run.arm = record.get("arm", run.arm)
    if any(name in run.arm.lower() for name in _SELF_SUPERVISED):
        run.labels = "self-made"
    run.seed = record.get("seed", run.seed)
    run.point = record.get("point") or {}
    variant = str(record.get("variant") or "")
    run.variant = "" if variant in ("random", "correct", run.labels) else variant
    run.environment = record.get("environment") or {}
    curves = record.get("curves") or {}
    run.curve = BridgeCurve(
        *(_numbers(curves.get(key)) for key in ("train_acc", "random_acc", "true_acc")),
        images_per_second=record.get("images_per_second"),
    )
    for key, name in (("test", "test"), ("metrics", "")):
        values = record.get(key) or {}
        if name and "accuracy/top1" in values:
            run.metrics[name] = values["accuracy/top1"]
        elif not name:
            run.metrics.update(values)


def _probes_in(home: Path, problems: list[str]) -> dict[str, Mapping[str, Any]]:
    probes = {}
    for path in sorted(home.glob("linear_probe*.json")):
        probe = _read_json(path, problems)
        named = map((probe or {}).get, ("checkpoint", "checkpoint_sha256"))
        if problem := outdated(path, home, *named):
            problems.append(problem)
        elif probe and isinstance(probe.get("last_test_top1"), (int, float)):
            probes["after" if probe.get("checkpoint") else "before"] = probe
        elif probe:
            problems.append(f"{path} has no last_test_top1: it is no linear probe.")
    return probes


def _join_probes(found: Gathered) -> None:
    """Give each run the probe of its model before it, and drop what was only that."""
    by_name = {(run.folder.parent, run.folder.name): run for run in found.runs}
    used = set()
    for run in found.runs:
        record = _read_json(run.folder / "result.json", []) or {}
        before = by_name.get((run.folder.parent, str(record.get("before"))))
        if before and "before" in before.probes:
            run.probes.setdefault("before", before.probes["before"])
            used.add(id(before))
    # One that no run refers to yet stays: its training may not have begun.
    found.runs = [
        run
        for run in found.runs
        if id(run) not in used and not (run.name.startswith("before_") and used)
    ]


def _read_sweep_files(folder: Path, found: Gathered) -> None:
    """Read results of sweeps whose runs' own folders are not there."""
    known = {(run.folder.parent.name, run.name) for run in found.runs}
    for path in sorted(folder.rglob("*.json")):
        inside = path.relative_to(folder).parts[:-1]
        if FOLDER in inside or "vis_data" in inside:
            continue
        if path.stat().st_size > _LARGEST:
            continue
        problems = found.problems if path.name == "results.json" else []
        record = _read_json(path, problems)
        if not record or not isinstance(record.get("runs"), list):
            continue
        if "plan" not in record:
            continue
        found.sweeps.append(f"python tools/sweep.py {record['plan']}")
        for one in record["runs"]:
            if (path.parent.name, one.get("name")) in known:
                continue
            try:
                found.runs.append(_from_sweep(one, path))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                found.problems.append(f"A run in {path} could not be read ({error!r}).")


def _from_sweep(record: Mapping[str, Any], path: Path) -> Run:
    settings = record.get("settings") or {}
    config, options = settings.get("config", ""), settings.get("options") or {}
    run = Run(folder=path.parent / path.stem / record["name"], name=record["name"])
    run.config, run.options = config, options
    fields = Path(config).stem.split("_")
    run.dataset = plain_name(fields[-1])
    run.language_model = fields[0]
    ratio = options.get("train_dataloader.dataset.ratio")
    drawn = any(name.startswith("random") for name in fields) and ratio != 0
    run.labels = "random" if drawn else "correct"
    if ratio not in (None, 0, 1):
        run.labels = f"{100 * ratio:g} % random"
    run.images = options.get("train_dataloader.dataset.dataset.indices")
    _fill_from_record(run, record)
    for key, when in (("probe", "after"), ("probe_before", "before")):
        if isinstance(record.get(key), dict):
            run.probes[when] = record[key]
    run.sha256 = run.probes.get("after", {}).get("checkpoint_sha256")
    run.classes = run.probes.get("after", {}).get("num_classes")
    return run


def _read_config(home: Path, problems: list[str]) -> dict[str, Any]:
    paths = sorted(home.glob("*/vis_data/config.py"))[-1:]
    paths += [path for path in (home / "config.py",) if path.is_file()]
    for path in paths:
        try:
            return read_dumped_config(path)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return {}


def _read_json(path: Path, problems: list[str]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        problems.append(f"{path} could not be read ({error}): it is passed over.")
        return None
    if not isinstance(content, dict):
        problems.append(f"{path} holds no JSON object: it is passed over.")
        return None
    return content


def _numbers(curve: Mapping[Any, Any] | None) -> dict[int, float]:
    return {
        int(epoch): float(value)
        for epoch, value in (curve or {}).items()
        if value is not None and math.isfinite(float(value))
    }


def short_model(name: str) -> str:
    """Name a language model without its file's folders and endings."""
    words = name.removeprefix("package:").rstrip("/").split("/")
    last = words[-1].removesuffix(".gguf").removesuffix(".safetensors")
    generic = last in ("model", "pytorch_model", "") and len(words) > 1
    return words[-2] if generic else last
