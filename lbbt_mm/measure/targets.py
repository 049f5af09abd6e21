"""The models that are measured, and the files that keep what was found."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DATASETS, HOOKS, MODELS

from lbbt_mm.analysis.language_weights import language_model_weights
from lbbt_mm.analysis.outliers import weight_statistics
from lbbt_mm.datasets.checks.damaged import DataError
from lbbt_mm.language import CheckpointError
from lbbt_mm.measure.measured_model import MeasuredModel
from lbbt_mm.measure.measurements import (
    MEASUREMENTS,
    Settings,
    outlier_result,
    refuse_unfit,
)
from lbbt_mm.measure.perplexity import perplexity_of
from lbbt_mm.measure.summary import in_words, other_options
from lbbt_mm.models.checkpoint_config import LANGUAGE_BACKBONES, type_name
from lbbt_mm.probe.feature_key import feature_key, file_sha256
from lbbt_mm.registry import find_type, names_of
from lbbt_mm.runs.measurement import SUFFIX, MeasurementRecord, record_folder
from lbbt_mm.runs.run import Run, read_run
from lbbt_mm.safety.dumped_config import (
    describe_labels,
    language_hooks,
    language_start,
    plain_model,
)

# What says in its own words what does not fit.
_EXPECTED = (ValueError, CheckpointError, ImportError, OSError)
# What of a config decides a result, besides its checkpoint.
_DECIDING = ("model", "data_preprocessor", "train_dataloader", "test_dataloader")


@dataclass(frozen=True)
class Target:
    """One model to measure.

    Attributes:
        folder: Where its results go.
        model: What the records say of it.
        build: Makes a :class:`MeasuredModel`, or names a plain language model.
        content: Of a split, hashes its images; see :meth:`MeasuredModel.content`.
    """

    folder: Path
    model: dict[str, Any]
    build: Callable[[], MeasuredModel | str]
    content: Callable[[str], str | None] = lambda split: None

    @functools.cached_property
    def _run(self) -> Run:
        return read_run(self.folder.parents[1])

    def is_done(self, name: str, settings: Settings) -> bool:
        """Whether the same weights were measured with the same settings and images.

        Args:
            name: Of the measurement.
            settings: Of the measurements.
        """
        record = self._run.measurement(name, self.model["checkpoint"])
        if record is None or record.error is not None:
            return False
        same = all(
            record.model.get(key) == self.model[key]
            for key in ("sha256", "fingerprint", "language_model")
        )
        if not same or record.settings != settings.of(name):
            return False
        split = record.data.get("split")
        if not split:
            return True  # it looked at weights alone
        try:
            content = self.content(split)
        except Exception:  # measuring says what is wrong
            return False
        return content is not None and record.data.get("content") == content

    def state(self, name: str, settings: Settings) -> str:
        """Say in one line what there is of a measurement.

        Args:
            name: Of the measurement.
            settings: Of the measurements.
        """
        path = self.folder / f"{name}{SUFFIX}"
        if not path.is_file():
            return "-"
        try:
            record = MeasurementRecord.read(path)
        except ValueError as error:
            return str(error)
        if record.error:
            return f"failed: {record.error}"
        if self.is_done(name, settings):
            return f"done: {in_words(record)}"
        unlike = other_options(record.settings, settings.of(name))
        unlike = f"options: {unlike}" if unlike else "weights, config or images"
        return f"there, with other {unlike}"

    def measure(
        self,
        names: Sequence[str],
        settings: Settings,
        provenance: dict[str, Any],
        say: Callable[[str], Any] = print,
    ) -> list[str]:
        """Measure, and write each result at once; one that fails costs no other.

        Args:
            names: Of the measurements.
            settings: Of the measurements.
            provenance: Command, machine, versions, for the records.
            say: Told in a line when one is done.

        Returns:
            What failed, a sentence each.

        Raises:
            OSError: A result cannot be written.
        """
        try:
            measured = self.build()
            if isinstance(measured, MeasuredModel):
                _ = measured.model  # one that does not fit fails once, not often
        except Exception as problem:
            error = _in_words(problem)
            for name in names:
                self._keep(self._record(name, settings, provenance, error=error))
            return [f"{self.folder}: {error}"]
        failures = []
        # What this model has no way to measure is said first, not after the long ones.
        for name in sorted(names, key=lambda name: _fits(name, measured)):
            start, found = time.monotonic(), dict[str, Any]()
            try:
                found["result"], found["data"] = _measure(name, measured, settings)
            except Exception as problem:
                found["error"] = _in_words(problem)
            found["seconds"] = round(time.monotonic() - start, 1)
            record = self._record(name, settings, provenance, **found)
            path = self._keep(record)
            if record.error:
                failures.append(f"{path}: {record.error}")
            said = f"{in_words(record)} ({record.seconds:.0f} s)"
            say(f"{self.folder}/{name}: {said}")
        return failures

    def _record(
        self, name: str, settings: Settings, provenance: dict[str, Any], **found: Any
    ) -> MeasurementRecord:
        fields = dict(result=None, error=None) | found
        return MeasurementRecord(
            measurement=name,
            model=self.model,
            settings=settings.of(name),
            provenance=provenance,
            **fields,
        )

    def _keep(self, record: MeasurementRecord) -> Path:
        """Write a record, unless it failed where there is a result already."""
        path = self.folder / f"{record.measurement}{SUFFIX}"
        if record.error and path.is_file():
            # The file itself: a run's record leaves out those of older weights.
            with contextlib.suppress(ValueError):  # half a file is not worth keeping
                if MeasurementRecord.read(path).error is None:
                    return path
        return record.write(self.folder)


def config_targets(
    cfg: Any,
    config: str,
    checkpoints: Sequence[str] = (),
    *,
    unbridged: bool = False,
    work_dir: str | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> list[Target]:
    """Name the models of a config: its checkpoints, and what training starts from.

    Args:
        cfg: The config, with a ``work_dir``; its ``model`` is unwrapped in place.
        config: File that it was read from.
        checkpoints: Files of weights.
        unbridged: The model as it is built too; without checkpoints it is the only one.
        work_dir: Where results of the built model go; by default beside the first
            checkpoint, or beside a config that lies in the folder of its run.
        device: Where the models run.
        seed: Of the images that are chosen.

    Raises:
        OSError: A checkpoint cannot be read.
    """
    cfg.model = plain_model(cfg)
    common = _description(cfg, config)

    def measured(checkpoint: str | None) -> Callable[[], MeasuredModel]:
        return lambda: MeasuredModel(cfg, checkpoint, device, seed, progress=True)

    content = functools.cache(lambda split: measured(None)().content(split))
    found = []
    for checkpoint in checkpoints:
        path = Path(checkpoint).expanduser()
        model = dict(common, name=path.resolve().parent.name, stage="trained")
        model |= dict(checkpoint=path.name, sha256=file_sha256(path))
        folder = record_folder(path.parent, path.name)
        found.append(Target(folder, model, measured(str(path)), content))
    if unbridged or not checkpoints:
        home, beside = Path(cfg.work_dir), Path(config).resolve().parent
        if checkpoints and not work_dir:
            home = Path(checkpoints[0]).expanduser().parent
        elif not work_dir and (beside / "last_checkpoint").exists():
            home = beside
        model = dict(common, name=home.resolve().name, stage="initial")
        model |= dict(checkpoint=None, sha256=None)
        found.append(Target(record_folder(home, None), model, measured(None), content))
    return found


def language_target(language_model: str, work_dir: str | None = None) -> Target:
    """Name a plain language model, before any image.

    Args:
        language_model: A hub id, a folder or a file.
        work_dir: Where its results go; ``work_dirs/NAME`` by default.
    """
    name = Path(language_model.rstrip("/")).name
    model: dict[str, Any] = dict(name=name, stage="initial", labels="")
    model |= dict(initialisation="language", language_model=language_model)
    model |= dict(config=None, checkpoint=None)
    model |= dict(sha256=None, fingerprint=None)
    folder = record_folder(Path(work_dir or Path("work_dirs") / name), None)
    return Target(folder, model, lambda: language_model)


def _description(cfg: Any, config: str) -> dict[str, Any]:
    """What the records of all models of a config have in common."""
    scope = cfg.get("default_scope")
    encoder = cfg.model.get("vision_encoder")  # of a LLaVA
    backbone = cfg.model.get("backbone") or encoder or {}
    kind, source = type_name(backbone), backbone.get("language_model")
    initialisation = "language" if backbone.get("pretrained", True) else "scratch"

    def hook_class(node: Any) -> Any:
        return find_type(node, HOOKS, scope)

    start = language_start(cfg, hook_class)
    if start:
        initialisation, source = start
    elif not names_of(backbone, MODELS, scope) & LANGUAGE_BACKBONES:
        initialisation = kind or type_name(cfg.model)
    if encoder:
        initialisation += f" and {type_name(cfg.model.projector).split('.')[-1]}"
    seed = (cfg.get("randomness") or {}).get("seed") or 0
    deciding = [cfg.get(key) for key in _DECIDING] + [seed]
    if hooks := language_hooks(cfg, hook_class):
        deciding.append(hooks)
    return dict(
        initialisation=initialisation,
        labels=describe_labels(cfg, lambda node: find_type(node, DATASETS, scope)),
        language_model=source,
        blocks=backbone.get("num_layers"),
        backbone=kind,
        copied_into=type_name(cfg.model).split(".")[-1] if start else None,
        config=config,
        seed=seed,
        fingerprint=feature_key(deciding=deciding),
    )


def _measure(
    name: str, measured: MeasuredModel | str, settings: Settings
) -> tuple[dict[str, Any], dict[str, Any]]:
    if isinstance(measured, MeasuredModel):
        refuse_unfit(name, measured)
        return MEASUREMENTS[name].measure(measured, settings)
    if name == "perplexity":
        return perplexity_of(measured, settings.text, settings.window), {}
    if not name.startswith("outliers"):
        raise ValueError(
            f"{name} looks at images: give a config whose backbone is {measured}."
        )
    plain = name == "outliers"  # else all tensors count, as in the authors' code
    weights = language_model_weights(measured, words=not plain)
    return outlier_result(weight_statistics(weights, matrices_only=plain)), {}


def _fits(name: str, measured: MeasuredModel | str) -> bool:
    try:
        if isinstance(measured, MeasuredModel):
            refuse_unfit(name, measured)
    except ValueError:
        return False
    return True


def _in_words(problem: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(problem, DataError):
        return problem.sentence
    text = " ".join(str(problem).split())
    if isinstance(problem, _EXPECTED) and text:
        return text
    return f"{type(problem).__name__}: {text}"
