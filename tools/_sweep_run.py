"""Carry out one task of a sweep, and write down what came of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from _subtask import Progress, last_checkpoint, run_tool
from _sweep_plan import Task

from lbbt_mm.report.logs import read_bridge_curve

TOOLS = Path(__file__).resolve().parent
# A probe's curves are long and can be made again.
_PROBE_CURVES = ("train_top1", "test_top1")


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

    def tool(name: str, *options: str | Path) -> None:
        words = [str(TOOLS / name), str(config), *map(str, options)]
        words += ["--work-dir", str(home)]
        words += ["--device", device] if device else []
        run_tool(words, home / f"{Path(name).stem}.log", progress, env)

    trains = task.kind == "run" and task.plan.train
    if trains:
        epochs = cfg.train_cfg.max_epochs
        if last_checkpoint(home, epochs) is None:
            tool("train.py", "--resume", "auto")
        checkpoint = last_checkpoint(home, epochs)
    record: dict[str, Any] = dict(
        name=task.name, **task.labels, settings=task.settings(), before=task.before
    )
    probe = task.plan.probe
    if probe and (task.kind == "before" or (trains and "after" in probe["when"])):
        out = home / "linear_probe.json"
        if not out.exists():
            settings = cfg.copy()
            settings.merge_from_dict(probe.get("options", {}))
            config = home / "probe_config.py"
            settings.dump(config)
            words = [checkpoint] if checkpoint else []
            words += ["--out", out, "--amp", "--no-cache"]
            tool("linear_probe.py", *words, *probe.get("arguments", ()))
        record["probe"] = json.loads(out.read_text(encoding="utf-8"))
        for key in _PROBE_CURVES:
            record["probe"].pop(key, None)
    if trains and task.plan.test:
        out = home / "test.json"
        if not out.exists():
            config = home / "config.py"
            tool("test.py", checkpoint, "--out", out, "--amp")
        record["test"] = json.loads(out.read_text(encoding="utf-8"))
    if trains:
        curve = read_bridge_curve(home)
        record["curves"] = dict(
            train_acc=curve.train_acc,
            random_acc=curve.random_acc,
            true_acc=curve.true_acc,
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
    """
    record = json.loads((folder / task.name / "result.json").read_text())
    metrics = metrics_of(record)
    if task.before:
        path = folder / task.before / "result.json"
        if path.exists():
            before = json.loads(path.read_text())
            record["probe_before"] = before["probe"]
            metrics["probe_before"] = before["probe"]["last_test_top1"]
    record["metrics"] = metrics
    return record


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
        metrics["probe_after"] = record["probe"]["last_test_top1"]
    if "test" in record:
        metrics["test"] = record["test"]["accuracy/top1"]
    return metrics


def describe_environment(env: dict[str, str]) -> dict[str, Any]:
    """Say on what and with what a run was made.

    Args:
        env: Environment variables of the tools.
    """
    import torch

    from lbbt_mm.version import __version__

    on_gpu = "CUDA_VISIBLE_DEVICES" in env
    commit = subprocess.run(
        ["git", "-C", str(TOOLS), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
    )
    return dict(
        device=torch.cuda.get_device_name() if on_gpu else _processor(),
        cpus=os.cpu_count(),
        threads=env.get("OMP_NUM_THREADS"),
        python=platform.python_version(),
        torch=torch.__version__,
        lbbt_mm=__version__,
        commit=commit.stdout.strip() or None,
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
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
