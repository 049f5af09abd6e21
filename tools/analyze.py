"""Measure what training did to a model: outliers, activation, alignment, retrieval ...

Without a checkpoint the model is measured as its config builds and initialises it;
with --initial too. CONFIG may also be a plain language model (gpt2, a folder,
package:NAME/FILE.gguf), of which outliers are measured. Each result is one JSON file
beside the checkpoint, in analysis/; what is there is not measured again.
docs/analysis.md lists all measurements; tools/report.py makes a page of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _launch
import _lifetime

_launch.hide_gpus_if_asked()

import torch  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import DATASETS, HOOKS, MODELS  # noqa: E402

from lbbt_mm.analysis.language_weights import language_model_weights  # noqa: E402
from lbbt_mm.analysis.outliers import weight_statistics  # noqa: E402
from lbbt_mm.datasets.damaged import DataError  # noqa: E402
from lbbt_mm.language import CheckpointError  # noqa: E402
from lbbt_mm.measure.measured_model import MeasuredModel  # noqa: E402
from lbbt_mm.measure.measurements import (  # noqa: E402
    DEPENDS_ON,
    MEASUREMENTS,
    Settings,
    outlier_result,
    refuse_unfit,
)
from lbbt_mm.models.checkpoint_config import LANGUAGE_BACKBONES, type_name  # noqa: E402
from lbbt_mm.probe.features import feature_key, file_sha256  # noqa: E402
from lbbt_mm.registry import names_of  # noqa: E402
from lbbt_mm.report.records import (  # noqa: E402
    SUFFIX,
    MeasurementRecord,
    record_folder,
)
from lbbt_mm.safety.dumped_config import (  # noqa: E402
    describe_labels,
    language_hooks,
    language_start,
    plain_model,
)
from lbbt_mm.version import __version__  # noqa: E402

# What says in its own words what does not fit.
_EXPECTED = (ValueError, CheckpointError, ImportError, OSError)
# What of a config decides a result, besides its checkpoint.
_DECIDING = ("model", "data_preprocessor", "train_dataloader", "test_dataloader")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _launch.add_common_options(parser)
    parser.add_argument("checkpoint", nargs="*", help="default: the model as built")
    parser.add_argument(
        "--initial", action="store_true", help="the model as it is built, too"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(MEASUREMENTS),
        default=list(MEASUREMENTS),
        metavar="NAME",
        help=f"of {', '.join(MEASUREMENTS)}; default: all",
    )
    parser.add_argument(
        "--list", action="store_true", help="show what is measured; measure nothing"
    )
    parser.add_argument(
        "--redo", action="store_true", help="measure again what is there"
    )
    numbers = parser.add_argument_group("how much is measured")
    for field in dataclasses.fields(Settings):
        numbers.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            metavar="N",
            help="default: %(default)s",
        )
    # Intermixed: checkpoints may come after options.
    args = parser.parse_intermixed_args()
    for field in dataclasses.fields(Settings):
        if field.name != "seed" and getattr(args, field.name) <= 0:
            name = field.name.replace("_", "-")
            parser.error(f"--{name} must be above 0; got {getattr(args, field.name)}")
    return args


@dataclasses.dataclass(frozen=True)
class Target:
    """One model to measure.

    Attributes:
        folder: Where its results go.
        model: What the records say of it.
        build: Makes what is measured; called once, and only if something is to do.
        content: Of a split, hashes its images; see ``MeasuredModel.content``.
    """

    folder: Path
    model: dict[str, Any]
    build: Callable[[], Any]
    content: Callable[[str], str | None] = lambda split: None


def targets_of(args: argparse.Namespace, settings: Settings) -> list[Target]:
    """Find the models that the command line names.

    Args:
        args: The command line.
        settings: Of the measurements.
    """
    if not args.config.endswith(".py"):
        return [_language_target(args)]
    cfg = _launch.load_config(args)
    if not cfg.get("model"):
        _launch.fail(f"{args.config} has no model: there is nothing to measure.")
    cfg.model = plain_model(cfg)
    scope = cfg.get("default_scope")
    # A run's own folder: its config lies beside its checkpoints.
    home = Path(cfg.work_dir)
    beside = Path(args.config).resolve().parent
    if not args.work_dir and (beside / "last_checkpoint").exists():
        home = beside
    backbone = cfg.model.get("backbone") or {}
    kind = type_name(backbone)
    arm = "language" if backbone.get("pretrained", True) else "scratch"
    source = backbone.get("language_model")

    def hook_names(node: Any) -> set[str]:
        return names_of(node, HOOKS, scope)

    start = language_start(cfg, hook_names)
    if start:
        arm, source = start
    elif not names_of(backbone, MODELS, scope) & LANGUAGE_BACKBONES:
        arm = kind or type_name(cfg.model)
    common = dict(
        arm=arm,
        labels=describe_labels(cfg, lambda node: names_of(node, DATASETS, scope)),
        language_model=source,
        blocks=backbone.get("num_layers"),
        backbone=kind,
        copied_into=type_name(cfg.model).split(".")[-1] if start else None,
        config=str(args.config),
        seed=(cfg.get("randomness") or {}).get("seed") or 0,
    )
    deciding = [cfg.get(key) for key in _DECIDING] + [common["seed"]]
    if hooks := language_hooks(cfg, hook_names):
        deciding.append(hooks)
    common["fingerprint"] = feature_key(deciding=deciding)

    def measured(checkpoint: str | None) -> Callable[[], MeasuredModel]:
        return lambda: MeasuredModel(
            cfg, checkpoint, get_device(), settings.seed, progress=True
        )

    content = functools.cache(lambda split: measured(None)().content(split))
    found = []
    for checkpoint in args.checkpoint:
        _launch.check_checkpoint(checkpoint, local=True)
        path = Path(checkpoint).expanduser()
        model = dict(common, name=path.resolve().parent.name, stage="trained")
        model |= dict(checkpoint=path.name, sha256=file_sha256(path))
        folder = record_folder(path.parent, path.name)
        found.append(Target(folder, model, measured(str(path)), content))
    if args.initial or not args.checkpoint:
        if args.checkpoint and not args.work_dir:
            home = Path(args.checkpoint[0]).expanduser().parent
        model = dict(common, name=home.resolve().name, stage="initial")
        model |= dict(checkpoint=None, sha256=None)
        found.append(Target(record_folder(home, None), model, measured(None), content))
    return found


def _language_target(args: argparse.Namespace) -> Target:
    """A language model, before any image."""
    if args.checkpoint:
        _launch.fail(
            f"{args.config} is no config (.py), but checkpoints were given: give the "
            f"config that they were trained with."
        )
    name = Path(args.config.rstrip("/")).name
    home = Path(args.work_dir or Path("work_dirs") / name)
    model = dict(
        name=name,
        arm="language",
        stage="initial",
        labels="",
        language_model=args.config,
        config=None,
        checkpoint=None,
        sha256=None,
        fingerprint=None,
    )
    return Target(record_folder(home, None), model, lambda: args.config)


def measure(
    target: Target,
    measured: Any,
    name: str,
    settings: Settings,
    provenance: dict[str, Any],
) -> MeasurementRecord:
    """Measure one thing; what goes wrong is written down.

    Args:
        target: The model.
        measured: What its ``build`` made: a measured, or a language model's name.
        name: Of the measurement.
        settings: Of the measurements.
        provenance: Command, machine, versions.
    """
    start = time.monotonic()
    result, data, error = None, {}, None
    try:
        if isinstance(measured, str):
            if name != "outliers":
                raise ValueError(
                    f"{name} looks at images: give a config whose backbone is "
                    f"{measured}."
                )
            result = outlier_result(weight_statistics(language_model_weights(measured)))
        elif misfit := _misfit(name, measured):
            raise misfit
        else:
            result, data = MEASUREMENTS[name](measured, settings)
    except Exception as problem:  # one that fails must not cost the others
        error = in_words(problem)
    return MeasurementRecord(
        name,
        result,
        error,
        target.model,
        data,
        settings_of(name, settings),
        provenance,
        round(time.monotonic() - start, 1),
    )


def _misfit(name: str, measured: Any) -> ValueError | None:
    """Say why something cannot be measured on a model; None if it can."""
    try:
        if isinstance(measured, MeasuredModel):
            refuse_unfit(name, measured)
    except ValueError as misfit:
        return misfit
    return None


def in_words(problem: Exception) -> str:
    """Say in one line what went wrong.

    Args:
        problem: Any exception.
    """
    if isinstance(problem, DataError):
        return problem.sentence
    text = " ".join(str(problem).split())
    if isinstance(problem, _EXPECTED) and text:
        return text
    return f"{type(problem).__name__}: {text}"


def settings_of(name: str, settings: Settings) -> dict[str, Any]:
    """Pick the settings that a measurement depends on.

    Args:
        name: Of the measurement.
        settings: All of them.
    """
    chosen = ("seed", *DEPENDS_ON.get(name, ()))
    return {key: getattr(settings, key) for key in chosen}


def is_done(target: Target, name: str, settings: Settings) -> bool:
    """Whether the same weights were measured with the same settings and images.

    Args:
        target: The model.
        name: Of the measurement.
        settings: Of the measurements.
    """
    path = target.folder / f"{name}{SUFFIX}"
    if not path.is_file():
        return False
    try:
        record = MeasurementRecord.read(path)
    except ValueError:
        return False  # half a file of somebody else's: measured again
    same = all(
        record.model.get(key) == target.model[key]
        for key in ("sha256", "fingerprint", "language_model")
    )
    asked = settings_of(name, settings)
    if record.error is not None or not same or record.settings != asked:
        return False
    split = record.data.get("split")
    if not split:
        return True  # it looked at weights alone
    try:
        content = target.content(split)
    except Exception:  # measuring says what is wrong
        return False
    return content is not None and record.data.get("content") == content


def keep(record: MeasurementRecord, folder: Path) -> Path:
    """Write a record, unless it failed where there is a result already.

    Args:
        record: Of a measurement.
        folder: Of its model's measurements.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / f"{record.measurement}{SUFFIX}"
    if record.error and path.is_file():
        try:
            if MeasurementRecord.read(path).error is None:
                return path
        except ValueError:
            pass  # nothing worth keeping
    return record.write(folder)


def measure_all(
    target: Target,
    todo: list[str],
    settings: Settings,
    provenance: dict[str, Any],
) -> list[str]:
    """Measure one model, and write each result at once.

    Args:
        target: The model.
        todo: Names of the measurements.
        settings: Of the measurements.
        provenance: Command, machine, versions.

    Returns:
        What failed, a sentence each.
    """
    try:
        measured = target.build()
        if isinstance(measured, MeasuredModel):
            _ = measured.model  # a checkpoint that does not fit fails once, not often
    except Exception as problem:
        error = in_words(problem)
        for name in todo:
            asked = settings_of(name, settings)
            keep(
                MeasurementRecord(
                    name, None, error, target.model, {}, asked, provenance
                ),
                target.folder,
            )
        return [f"{target.folder}: {error}"]
    failures = []
    # What this model has no way to measure is said first, not after the long ones.
    order = sorted(todo, key=lambda name: _misfit(name, measured) is None)
    for name in order:
        record = measure(target, measured, name, settings, provenance)
        path = keep(record, target.folder)
        if record.error:
            failures.append(f"{path}: {record.error}")
        said = record.error or f"{record.seconds:.0f} s"
        print(f"{target.folder}/{name}: {said}", flush=True)
    return failures


def provenance_of() -> dict[str, Any]:
    """Say by what command, on what and with what is measured."""
    gpu = get_device() == "cuda"
    return dict(
        command=shlex.join(["python", "tools/analyze.py", *sys.argv[1:]]),
        device=torch.cuda.get_device_name() if gpu else platform.machine(),
        cpus=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        lbbt_mm=__version__,
        commit=_launch.git_commit(),
        date=time.strftime("%Y-%m-%d"),
    )


def main() -> None:
    """Measure."""
    args = parse_args()
    names = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{name: getattr(args, name) for name in names})
    MMLogger.get_instance("analyze", log_level="WARNING")
    targets = targets_of(args, settings)
    if args.list:
        for target in targets:
            for name in args.only:
                done = "done" if is_done(target, name, settings) else "-"
                print(f"{target.folder}/{name}: {done}")
        return
    provenance, failures = provenance_of(), []
    for target in targets:
        todo = [
            name
            for name in args.only
            if args.redo or not is_done(target, name, settings)
        ]
        for name in args.only:
            if name not in todo:
                print(f"{target.folder}/{name}: there already")
        if not todo:
            continue
        _launch.check_work_dir(target.folder)
        try:
            failures += measure_all(target, todo, settings, provenance)
        except OSError as error:
            _launch.fail_to_write("a result", target.folder, error)
    if failures:
        _launch.fail(
            f"{len(failures)} measurement(s) failed, the others are written: "
            + "; ".join(failures)
        )


if __name__ == "__main__":
    with _lifetime.last_words():
        main()
