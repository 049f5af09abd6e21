"""Carry out one task of a sweep, and write down what came of it."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import _launch
from _subtask import Progress, last_checkpoint, run_tool, wait_until_free

from lbbt_mm.runs import shapes
from lbbt_mm.runs.files import read_json
from lbbt_mm.runs.log import read_bridge_curve, read_scores
from paper.plan import Task

TOOLS = Path(__file__).resolve().parents[3] / "tools"
# Of what the probe's tool says: no curves, and nothing that the run itself says.
_NOT_KEPT = {"train_top1", "test_top1", "command", "config", "checkpoint"}
_NOT_KEPT |= {"versions", "machine", "features_from_cache"}


def run_task(
    task: Task,
    folder: Path,
    progress: Progress,
    env: dict[str, str],
    device: str | None,
) -> str:
    """Train, probe and test, or whatever of it is not done yet.

    Args:
        task: What to run.
        folder: Of the sweep.
        progress: Where to show it.
        env: Environment variables of the tools.
        device: ``--device`` of the tools.

    Returns:
        The result in a few words.

    Raises:
        SubtaskError: A tool failed.
    """
    start = time.monotonic()
    home = folder / task.name
    home.mkdir(parents=True, exist_ok=True)
    _write_json(home / "settings.json", task.settings())
    cfg = task.build_config()
    config = home / "config.py"
    cfg.dump(config)
    checkpoint = None

    def tool(name: str, *options: str | Path, work_dir: Path = home) -> None:
        words = [str(TOOLS / name), str(config), *map(str, options)]
        words += ["--work-dir", str(work_dir)]
        words += ["--device", device] if device else []
        run_tool(words, home / f"{Path(name).stem}.log", progress, env)

    trains = task.kind == "run" and task.plan.train
    if trains:
        by_epoch = cfg.train_cfg.get("by_epoch", True)
        length = cfg.train_cfg["max_epochs" if by_epoch else "max_iters"]
        if last_checkpoint(home, length, by_epoch) is None:
            wait_until_free(home, progress)
            tool("train.py", "--resume", "auto")
        checkpoint = last_checkpoint(home, length, by_epoch)
    record: dict[str, Any] = dict(
        name=task.name, **task.labels, settings=task.settings(), before=task.before
    )
    probe = task.plan.probe
    if probe and (task.kind == "before" or (trains and "after" in probe["when"])):
        out = home / "linear_probe.json"
        if not out.exists():
            settings = task.build_config(**probe.get("options", {}))
            config = home / "probe_config.py"
            settings.dump(config)
            words = [checkpoint] if checkpoint else []
            words += ["--out", out, "--amp", *probe.get("arguments", ())]
            # Many plans probe one model before training with different label sets:
            # they share its test features. A trained model is probed once.
            shared = task.kind == "before"
            words += [] if shared else ["--no-cache"]
            tool("linear_probe.py", *words, work_dir=folder if shared else home)
        record["probe"] = json.loads(out.read_text(encoding="utf-8"))
    for name, wanted in dict(test=task.plan.test, test_tta=task.plan.tta).items():
        if not (trains and wanted):
            continue
        out = home / f"{name}.json"
        if not out.exists():
            config = home / "config.py"
            more = ["--tta"] if name == "test_tta" else []
            tool("test.py", checkpoint, "--out", out, "--amp", *more)
        record[name] = json.loads(out.read_text(encoding="utf-8"))
    if trains:
        copied = home / "language_init.json"  # LanguageInitHook wrote it
        if copied.exists():
            record["language_init"] = json.loads(copied.read_text("utf-8"))["label"]
        cost = home / "cost.json"  # CostHook wrote it
        if cost.exists():
            record["cost"] = json.loads(cost.read_text("utf-8"))
        curve = read_bridge_curve(home)
        record["curves"] = dict(
            train_acc=curve.train_acc,
            random_acc=curve.random_acc,
            true_acc=curve.true_acc,
            **curve.scores,
        )
        record["images_per_second"] = curve.images_per_second
    record["seconds"] = round(time.monotonic() - start)
    record["environment"] = describe_environment(env)
    _write_json(home / "result.json", record)
    if checkpoint and not task.plan.keep_checkpoints:
        for path in home.glob("*.pth"):
            path.unlink()
    return _in_words(metrics_of(record))


def finish_record(task: Task, folder: Path) -> dict[str, Any]:
    """Read a finished run, together with the probe of the same model before it.

    Args:
        task: A finished run.
        folder: Of the sweep.

    Raises:
        ValueError: A record is damaged; the message names the file.
    """
    record = _read_record(folder / task.name / "result.json")
    metrics = metrics_of(record)
    if "probe" in record:
        record["probe"] = _in_short(record["probe"])
    if task.before:
        path = folder / task.before / "result.json"
        if path.exists():
            probe = _read_record(path).get("probe")
            if not probe:
                raise ValueError(f"{path} holds no probe.")
            record["probe_before"] = _in_short(probe)
            metrics["probe_before"] = probe["last_test_top1"]
    record["metrics"] = metrics
    return record


def _read_record(path: Path) -> dict[str, Any]:
    read_json(path, shapes.RUN, path.parent)  # what is no record ends here
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _in_short(probe: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in probe.items() if key not in _NOT_KEPT}


def metrics_of(record: dict[str, Any]) -> dict[str, float]:
    """Pick a run's numbers: the last epoch's, in %.

    Args:
        record: What :func:`run_task` wrote.
    """
    metrics = {}
    for name, curve in record.get("curves", {}).items():
        if curve:
            metrics[name] = curve[max(curve, key=int)]
    if "probe" in record:
        when = "probe_after" if record.get("curves") else "probe_before"
        metrics[when] = record["probe"]["last_test_top1"]
    if "accuracy/top1" in record.get("test", {}):
        metrics["test"] = record["test"]["accuracy/top1"]
    metrics |= read_scores(record.get("test", {}))
    for name, value in read_scores(record.get("test_tta", {})).items():
        metrics[f"{name}_tta"] = value
    return metrics


def score_constant(task: Task, folder: Path, device: str | None) -> None:
    """Score the answer that never looks at an image, unless that was done before.

    Args:
        task: Any run of the sweep; its datasets count.
        folder: Of the sweep.
        device: ``--device`` of the tools.

    Raises:
        SubtaskError: The tool failed.
    """
    out = folder / "constant.json"
    if out.exists():
        return
    config = folder / "constant_config.py"
    task.build_config().dump(config)
    words = [str(TOOLS / "constant_baseline.py"), str(config), "--out", str(out)]
    words += ["--device", device] if device else []
    progress = Progress("the same answer for every image")
    run_tool(words, folder / "constant.log", progress)
    progress.close("scored")


def read_constant(folder: Path) -> dict[str, float] | None:
    """Read what :func:`score_constant` found, as :func:`metrics_of` names it.

    Args:
        folder: Of the sweep.
    """
    path = folder / "constant.json"
    if not path.exists():
        return None
    return read_scores(read_json(path, shapes.CONSTANT, folder))


def describe_environment(env: dict[str, str]) -> dict[str, Any]:
    """Say on what and with what a run was made.

    Args:
        env: Environment variables of the tools.
    """
    import torch

    from lbbt_mm.version import __version__

    on_gpu = "CUDA_VISIBLE_DEVICES" in env
    return dict(
        device=torch.cuda.get_device_name() if on_gpu else _processor(),
        cpus=os.cpu_count(),
        threads=env.get("OMP_NUM_THREADS"),
        python=platform.python_version(),
        torch=torch.__version__,
        lbbt_mm=__version__,
        commit=_launch.git_commit(),
    )


def _processor() -> str:
    """Name the processor; Python's own answer is empty on Linux."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _in_words(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in metrics.items()) or "done"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    _launch.write_whole(path, json.dumps(content, indent=1) + "\n")
