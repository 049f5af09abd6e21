"""A sweep's plan: from a file of configs/sweeps/ to the runs that it asks for."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from lbbt_mm.config import ConfigError, load_config
from lbbt_mm.runs import shapes
from lbbt_mm.runs.files import read_json
from paper.choice import METRICS, Selection

_KEYS = {
    "initialisations",
    "options",
    "variants",
    "grid",
    "seeds",
    "seed_keys",
    "train",
    "probe",
    "test",
    "tta",
    "constant",
    "selection",
    "thresholds",
    "grid_metrics",
    "keep_checkpoints",
}


class PlanError(Exception):
    """The plan cannot be carried out; the message says why."""


@dataclass(frozen=True)
class Task:
    """One thing to run: a training with its probes, or a probe before any training.

    Attributes:
        kind: ``'run'`` or ``'before'``.
        name: Name of its folder.
        config: Config file that it starts from.
        options: Settings over the config, by dotted key.
        labels: Variant, initialisation, seed and point of the grid.
        plan: Where it comes from.
        before: Name of the task that probes the same model before training.
    """

    kind: str
    name: str
    config: Path
    options: dict[str, Any]
    labels: dict[str, Any]
    plan: Plan
    before: str | None = None

    def build_config(self, **more: Any) -> Config:
        """Read the config and write the options into it.

        Args:
            more: Settings that count more than the run's own.

        Raises:
            PlanError: An option has no effect or does not fit.
        """
        try:
            return load_config(self.config, {**self.options, **more})
        except ConfigError as error:
            raise PlanError(f"{self.plan.path}: {self.name}: {error}") from error

    def settings(self) -> dict[str, Any]:
        """Everything that makes this run what it is, as plain JSON."""
        plan = self.plan
        what = dict(train=plan.train, probe=plan.probe, test=plan.test)
        what |= dict(tta=True) if plan.tta else {}
        plain = dict(config=_shown(self.config), options=self.options, **what)
        return json.loads(json.dumps(plain))

    def is_done(self, folder: Path) -> bool:
        """Whether its record was written."""
        return (folder / self.name / "result.json").exists()

    def check_folder(self, folder: Path) -> None:
        """Refuse a folder that holds a run of the same name with other settings.

        Raises:
            PlanError: It does.
        """
        path = folder / self.name / "settings.json"
        # The name of a probe before training says what was probed, and how.
        if self.kind == "before" or not path.exists():
            return
        try:
            read_json(path, shapes.SETTINGS, path.parent)
        except ValueError as error:
            raise PlanError(f"{error} Delete its folder, or choose another.") from error
        before, now = json.loads(path.read_text(encoding="utf-8-sig")), self.settings()
        if before != now:
            differing = sorted(
                f"{key}: {before.get(key)!r} then, {now.get(key)!r} now"
                for key in {*before, *now}
                if before.get(key) != now.get(key)
            )
            raise PlanError(
                f"{path.parent} holds a run with other settings "
                f"({'; '.join(differing)}). Delete it, or choose another --work-dir."
            )


@dataclass(frozen=True)
class Plan:
    """What to run, and how to read it; see projects/paper/sweeps.md.

    Attributes:
        name: The file's stem.
        initialisations: Name -> ``config`` (relative to the plan) and ``options``.
        options: Settings of every run.
        variants: Name -> settings, each run with every initialisation.
        grid: Axis -> ``keys`` that it sets and ``values`` that they take.
        seeds: One run each.
        seed_keys: Keys that take the seed.
        train: Whether to train at all.
        probe: ``when`` (``'before'``, ``'after'``), ``options`` over the config and
            ``arguments`` of ``tools/linear_probe.py``; ``None`` for no probe.
        test: Whether to run ``tools/test.py`` after training.
        tta: Whether to run it with ``--tta``.
        constant: Whether to score the answer that never looks at an image
            (``tools/constant_baseline.py``).
        selection: How hyper-parameters are chosen.
        thresholds: Training accuracies in %, whose epochs are reported.
        grid_metrics: Metrics that are shown at every point of the grid.
        keep_checkpoints: Whether a run's last checkpoint stays.
    """

    name: str
    path: Path
    initialisations: dict[str, dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=lambda: {"base": {}})
    grid: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    seed_keys: tuple[str, ...] = ("randomness.seed",)
    train: bool = True
    probe: dict[str, Any] | None = None
    test: bool = False
    tta: bool = False
    constant: bool = False
    selection: Selection = field(default_factory=Selection)
    thresholds: tuple[float, ...] = ()
    grid_metrics: tuple[str, ...] = ("train_acc",)
    keep_checkpoints: bool = False

    def tasks(self) -> list[Task]:
        """List the runs, seeds outermost so that each soon has a first result."""
        axes = list(self.grid)
        points = list(itertools.product(*(self.grid[a]["values"] for a in axes)))
        found: dict[str, Task] = {}
        for seed, variant, values, start in itertools.product(
            self.seeds, self.variants, points, self.initialisations
        ):
            point = dict(zip(axes, values, strict=True))
            labels = dict(variant=variant, initialisation=start, seed=seed, point=point)
            steps = [f"{axis}{value:g}" for axis, value in point.items()]
            name = _folder("_".join([variant, start, *steps, f"s{seed}"]))
            options = self._options(variant, start, seed, point)
            config = self.path.parent / self.initialisations[start]["config"]
            config = config.resolve()
            before = None
            if self.probe and "before" in self.probe["when"]:
                task = self._before_task(config, options, labels)
                found.setdefault(task.name, task)
                before = task.name
            found[name] = Task("run", name, config, options, labels, self, before)
        return list(found.values())

    def _options(
        self, variant: str, start: str, seed: int, point: dict[str, Any]
    ) -> dict[str, Any]:
        options = {**self.options, **self.initialisations[start].get("options", {})}
        options |= self.variants[variant]
        for axis, value in point.items():
            options |= {key: value for key in self.grid[axis]["keys"]}
        options |= {key: seed for key in self.seed_keys}
        names = dict(variant=variant, initialisation=start, seed=seed)
        names["arm"] = start  # as 0.1.0 called it
        return {key: _fill_in(value, names) for key, value in options.items()}

    def _before_task(
        self, config: Path, options: dict[str, Any], labels: dict[str, Any]
    ) -> Task:
        """Probe a model as it is built; the same for many runs, so named by content."""
        assert self.probe is not None
        task = Task("before", "", config, options, labels, self)
        cfg = task.build_config(**self.probe.get("options", {}))
        seed = (cfg.get("randomness") or {}).get("seed")
        cfg.model.backbone.pop("trainable_layers", None)  # nothing trains here
        parts = [cfg.model, cfg.get("data_preprocessor"), seed, self.probe]
        parts += [cfg.train_dataloader.dataset, cfg.test_dataloader.dataset]
        text = json.dumps(parts, sort_keys=True, default=str)
        key = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = _folder(f"before_{labels['initialisation']}_s{labels['seed']}_{key}")
        return Task("before", name, config, options, labels, self)


def read_plan(path: Path) -> Plan:
    """Read and check a plan.

    Args:
        path: The file.

    Raises:
        PlanError: It does not exist, or something in it does not fit.
    """
    if not path.is_file():
        raise PlanError(f"the plan {path} does not exist.")
    raw = Config.fromfile(path).to_dict()
    if "arms" in raw:  # of 0.1.0
        warnings.warn(
            f"{path}: `arms` is `initialisations` now; the old name works until the "
            "next release.",
            FutureWarning,
            stacklevel=2,
        )
        raw.setdefault("initialisations", raw.pop("arms"))
    for key in set(raw) - _KEYS:  # numbers with a name are welcome, slips are not
        meant = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.75)
        if meant:
            raise PlanError(f"{path}: {key} is unknown; expected {meant[0]}.")
    given = {key: value for key, value in raw.items() if key in _KEYS}
    if not given.get("initialisations"):
        raise PlanError(
            f"{path} has no initialisations: expected at least one, with its config."
        )
    for name, start in given["initialisations"].items():
        config = path.parent / start.get("config", "")
        if not config.is_file():
            raise PlanError(
                f"{path}: the config {config} of initialisation {name} is missing."
            )
    for axis, spec in given.get("grid", {}).items():
        if not spec.get("keys") or not spec.get("values"):
            raise PlanError(
                f"{path}: axis {axis} of the grid needs keys and values, got {spec}."
            )
    probe = given.get("probe")
    if probe and (not probe.get("when") or {*probe["when"]} - {"before", "after"}):
        raise PlanError(
            f"{path}: probe.when must hold 'before', 'after' or both, got "
            f"{probe.get('when')!r}."
        )
    try:
        selection = dict(given.get("selection", {}))
        selection["over"] = tuple(selection.get("over", ()))
        given["selection"] = Selection(**selection)
    except (TypeError, ValueError) as error:
        raise PlanError(f"{path}: selection: {error}") from error
    _check_names(path, given)
    for key in ("seeds", "seed_keys", "thresholds", "grid_metrics"):
        if key in given:
            given[key] = tuple(given[key])
    return Plan(name=path.stem, path=path, **given)


def _check_names(path: Path, given: dict[str, Any]) -> None:
    selection = given["selection"]
    missing = [axis for axis in selection.over if axis not in given.get("grid", {})]
    if missing:
        raise PlanError(f"{path}: selection.over names {missing}, not in the grid.")
    if selection.by != "each" and selection.by not in given["initialisations"]:
        raise PlanError(
            f"{path}: selection.by must be 'each' or one of the initialisations "
            f"{', '.join(given['initialisations'])}; got {selection.by!r}."
        )
    shown = given.get("grid_metrics", ())
    if any(metric not in METRICS for metric in shown):
        raise PlanError(
            f"{path}: grid_metrics must be of {', '.join(METRICS)}; got {shown!r}."
        )


def _folder(name: str) -> str:
    """Write a name without what shells and file systems stumble over."""
    return re.sub(r"[^\w.-]+", "-", name)


def _fill_in(value: Any, names: dict[str, Any]) -> Any:
    """Put variant, initialisation and seed where a text names them in braces."""
    if isinstance(value, str):
        for name, content in names.items():
            value = value.replace(f"{{{name}}}", str(content))
        return value
    if isinstance(value, dict):
        return {key: _fill_in(content, names) for key, content in value.items()}
    if isinstance(value, list):
        return [_fill_in(content, names) for content in value]
    return value


def _shown(path: Path) -> str:
    """Write a path of this repository relative to it."""
    root = Path(__file__).resolve().parents[3]
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
