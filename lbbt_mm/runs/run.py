"""A run: config, checkpoints, log, probes, measurements and sweep entry of a folder."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbbt_mm.runs import shapes
from lbbt_mm.runs.checkpoint import older_checkpoint, outdated, reached
from lbbt_mm.runs.files import Reader, read_text
from lbbt_mm.runs.log import BridgeCurve, read_bridge_curve
from lbbt_mm.runs.measurement import FOLDER, MeasurementRecord
from lbbt_mm.runs.shapes import whole_or_none
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
    """One training, or one model that was probed or measured before any.

    Example::

        run = read_run(Path('work_dirs/smollm2-b8_language_random100_6e_mnist5k'))
        run.curve.train_acc, run.probe('bridged'), run.measurement('retrieval')

    Attributes:
        folder: Where it lies; of a sweep's results file, where it would.
        name: Of the run.
        initialisation: ``'language'``, ``'scratch'`` or another.
        labels: ``'random'``, ``'true'`` ...
        dataset: Of the training images.
        language_model: Where the blocks come from, with both initialisations.
        blocks: Number of blocks; ``None`` if the config does not say.
        images: Images that it trains on; ``None`` if not said.
        classes: Number of classes; ``None`` if not said.
        seed: Its seed.
        variant: Of a sweep.
        point: Hyper-parameters of a sweep's grid.
        curve: What it logged.
        metrics: Other numbers, as a sweep names them.
        probes: ``'unbridged'`` and ``'bridged'`` -> what ``tools/linear_probe.py``
            wrote.
        measurements: What ``tools/analyze.py`` wrote.
        cost: Of a self-supervised run: images, steps, forward passes, FLOPs.
        config: The config that it was trained with.
        options: Changes of it.
        dumped: The config with all changes, in the run's folder.
        checkpoint: File name of the last checkpoint; ``None`` without one.
        last: File name of the checkpoint that the whole training ends with, if known.
        sha256: Of that file, as a tool recorded it.
        environment: Machine, versions, commit.
        inexact: What a copy of language blocks does not get right, as
            ``LanguageInitHook`` says it.
        before: Name of the folder beside it that has the probe of its model unbridged.
        finished: Whether the run came to its end, as far as its files say.
    """

    folder: Path
    name: str
    initialisation: str = ""
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
    measurements: list[MeasurementRecord] = field(default_factory=list)
    cost: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    dumped: Path | None = None
    checkpoint: str | None = None
    last: str = ""
    sha256: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    inexact: str = ""
    before: str = ""
    finished: bool = True

    @property
    def group(self) -> tuple[Any, ...]:
        """What runs must share to stand in one table: images, architecture, recipe."""
        point = tuple(sorted(self.point.items()))
        images = (self.dataset, self.language_model, self.blocks, self.images)
        of_labels = self.variant in ("random", "true", "correct", self.labels)
        return (*images, "" if of_labels else self.variant, point)

    @property
    def known(self) -> bool:
        """Whether its folder holds anything of a run."""
        found = (self.initialisation, self.dumped, self.probes, self.measurements)
        return bool(any(found) or self.metrics or self.curve.train_acc)

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing, in %."""
        for probe in self.probes.values():
            if probe.get("chance"):
                return float(probe["chance"])
        return 100 / self.classes if self.classes else None

    def probe(self, when: str, readout: str = "") -> float | None:
        """Give a probe's test accuracy in %, the last epoch's.

        Args:
            when: ``'unbridged'`` or ``'bridged'``.
            readout: Which, where several were probed; the first by default.
        """
        old = {"unbridged": "probe_before", "bridged": "probe_after"}[when]
        probe = self.probes.get(when)
        if probe and readout:
            probe = probe.get("readouts", {}).get(readout, {})
            return probe.get("last_test_top1")
        value = probe.get("last_test_top1") if probe else self.metrics.get(old)
        return float(value) if isinstance(value, (int, float)) else None

    @property
    def last_train(self) -> float | None:
        """Training accuracy of the last epoch in %, of a finished run."""
        curve = self.curve.train_acc
        if not self.finished:
            return None
        return curve[max(curve)] if curve else self.metrics.get("train_acc")

    def measurement(
        self, name: str, checkpoint: str | None = None
    ) -> MeasurementRecord | None:
        """Find a measurement of one of its models.

        Args:
            name: Of the measurement.
            checkpoint: File name of the checkpoint; ``None``: of the unbridged model.
        """
        for record in self.measurements:
            same = record.model.get("checkpoint") == checkpoint
            if record.measurement == name and same:
                return record
        return None


def read_run(home: Path, reader: Reader | None = None) -> Run:
    """Read all that a work folder holds of a run.

    Args:
        home: The folder.
        reader: Remembers what could not be read, which is passed over.
    """
    reader = reader or Reader()
    record = reader.json(home / "result.json", shapes.RUN, home)
    settings = reader.json(home / "settings.json", shapes.SETTINGS, home)
    config = _read_config(home, reader)
    run = Run(folder=home, name=home.name)
    _fill_from_config(run, config, record.get("settings", settings))
    _fill_from_record(run, record)
    run.probes = _read_probes(home, reader)
    if "probe" in record:
        when = "bridged" if record.get("curves") else "unbridged"
        run.probes.setdefault(when, record["probe"])
    run.measurements = _read_measurements(home, reader)
    run.before = record.get("before", "")
    run.cost = reader.json(home / "cost.json", shapes.COST, home)
    # tools/test.py --out
    test = reader.json(home / "test.json", shapes.SCORES, home)
    if "accuracy/top1" in test:
        run.metrics.setdefault("test", test["accuracy/top1"])
    if not run.curve.train_acc and any(home.glob("*/vis_data/scalars.json")):
        try:
            run.curve = read_bridge_curve(home)
        except (OSError, ValueError) as error:
            reader.leave_out(home, f"The log of {home}: {error}")
    _find_checkpoint(run, last_checkpoint(config), bool(record), reader)
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


def dumped_configs(home: Path) -> list[Path]:
    """List the configs that trainings left in a folder, a sweep's ``config.py`` first.

    Args:
        home: The folder.
    """
    found = sorted(home.glob("*.py"), key=lambda path: (path.stem != "config", path))
    return [path for path in found if path.name != "probe_config.py"]


def _fill_from_config(
    run: Run, config: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    backbone = at(plain_model(config), "backbone")
    backbone = backbone if isinstance(backbone, Mapping) else {}
    run.language_model = short_model(str(backbone.get("language_model") or ""))
    run.blocks = whole_or_none(backbone.get("num_layers"))
    run.dumped = next(iter(dumped_configs(run.folder)), None)
    run.config = settings.get("config") or str(run.dumped or "")
    run.options = settings.get("options") or {}
    run.dataset = describe_dataset(config)
    run.labels = describe_labels(config) if config else ""
    images = innermost_dataset(config, "train_dataloader").get("indices")
    listed = len(images) if isinstance(images, (list, tuple)) else None
    run.images = whole_or_none(images) if listed is None else listed
    run.classes = whole_or_none(at(config, "model", "head", "num_classes"))
    run.seed = whole_or_none(at(config, "randomness", "seed"))
    if backbone:
        pretrained = backbone.get("pretrained", True)
        run.initialisation = "language" if pretrained else "scratch"
    if start := language_start(config):
        run.initialisation = start[0]
        run.language_model = short_model(str(start[1] or ""))


def _fill_from_record(run: Run, record: Mapping[str, Any]) -> None:
    """Take over what a sweep wrote of a run, of the shape ``shapes.RUN``."""
    run.name = record.get("name", run.name)
    start = record.get("initialisation", run.initialisation)
    run.initialisation = "language" if start.lower() == "lbbt" else start
    if any(name in run.initialisation.lower() for name in _SELF_SUPERVISED):
        run.labels = "self-made"
    run.seed = record.get("seed", run.seed)
    run.point = record.get("point") or {}
    run.variant = record.get("variant", "")
    inexact = re.search(r" \(inexact: .*\)$", record.get("language_init", ""))
    run.inexact = inexact[0] if inexact else ""
    run.environment = record.get("environment") or {}
    curves = {
        name: {step: float(v) for step, v in curve.items() if math.isfinite(v)}
        for name, curve in (record.get("curves") or {}).items()
    }
    run.curve = BridgeCurve(
        train_acc=curves.pop("train_acc", {}),
        random_acc=curves.pop("random_acc", {}),
        true_acc=curves.pop("true_acc", {}),
        images_per_second=record.get("images_per_second"),
        scores=curves,
    )
    test = record.get("test") or {}
    if "accuracy/top1" in test:
        run.metrics["test"] = test["accuracy/top1"]
    run.metrics.update(record.get("metrics") or {})


def run_from_sweep(record: Mapping[str, Any], path: Path) -> Run:
    """Make a run of its entry in a sweep's results, where its folder is not there.

    Args:
        record: Of the shape ``shapes.RUN``.
        path: File of the results.
    """
    settings = record.get("settings") or {}
    config, options = settings.get("config", ""), settings.get("options") or {}
    run = Run(folder=path.parent / path.stem / record["name"], name=record["name"])
    run.config, run.options = config, options
    words = Path(config).stem.split("_")
    run.dataset = plain_name(words[-1])
    run.language_model = words[0]
    ratio = options.get("train_dataloader.dataset.ratio")
    ratio = ratio if isinstance(ratio, (int, float)) and 0 <= ratio <= 1 else None
    drawn = any(word.startswith("random") for word in words) and ratio != 0
    run.labels = "random" if drawn else "true"
    if ratio not in (None, 0, 1):
        run.labels = f"{100 * ratio:g} % random"
    run.images = whole_or_none(options.get("train_dataloader.dataset.dataset.indices"))
    _fill_from_record(run, record)
    for key, when in (("probe", "bridged"), ("probe_before", "unbridged")):
        if key in record:
            run.probes[when] = record[key]
    run.sha256 = run.probes.get("bridged", {}).get("checkpoint_sha256")
    run.classes = run.probes.get("bridged", {}).get("num_classes")
    return run


def _read_probes(home: Path, reader: Reader) -> dict[str, Mapping[str, Any]]:
    probes: dict[str, Mapping[str, Any]] = {}
    for path in sorted(home.glob("linear_probe*.json")):
        probe = reader.json(path, shapes.PROBE, home)
        checkpoint = probe.get("checkpoint")
        if problem := outdated(path, home, checkpoint, probe.get("checkpoint_sha256")):
            reader.leave_out(path, problem)
        elif probe:
            probes["bridged" if checkpoint else "unbridged"] = probe
    return probes


def _read_measurements(home: Path, reader: Reader) -> list[MeasurementRecord]:
    records = []
    for path in sorted(home.glob(f"{FOLDER}/*/*.json")):
        record = read_measurement(path, reader)
        records += [record] if record else []
    return records


def read_measurement(path: Path, reader: Reader) -> MeasurementRecord | None:
    """Read one measurement; the reader notes why one is left out or failed."""
    try:
        record = MeasurementRecord.read(path)
    except ValueError as error:
        reader.leave_out(path, error)
        return None
    model = record.model
    home = path.parents[2]
    if problem := outdated(path, home, model.get("checkpoint"), model.get("sha256")):
        reader.leave_out(path, problem)
        return None
    if record.error is not None:
        name, stage = model.get("name", path.parent), model.get("stage", "")
        problem = f"{record.measurement} of {name} ({stage}) failed: {record.error}"
        reader.problems.append(problem)
    return record


def _find_checkpoint(run: Run, last: str, recorded: bool, reader: Reader) -> None:
    """Say which checkpoint a run has, and whether it is that of its end."""
    latest = run.folder / "last_checkpoint"
    if latest.exists():
        try:
            named = Path(read_text(latest, run.folder).strip()).name
            run.checkpoint = shapes.name(named, f"The checkpoint in {latest}")
        except ValueError as error:
            reader.leave_out(latest, error)
    run.last, run.finished = last, recorded
    if run.checkpoint:
        run.last = last or run.checkpoint
        run.finished = reached(run.checkpoint, run.last)
        if problem := older_checkpoint(run.folder, run.checkpoint, run.curve.began):
            run.finished = False
            reader.problems.append(problem)
    bridged = run.probes.get("bridged", {})
    if bridged.get("checkpoint_sha256"):
        run.sha256 = bridged["checkpoint_sha256"]
        probed = Path(bridged.get("checkpoint") or "").name
        run.checkpoint = run.checkpoint or probed or None
