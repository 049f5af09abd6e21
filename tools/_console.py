"""What a run shows: what it runs on, what trains, where results go, then numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _launch import fail
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, RUNNERS
from mmengine.runner import EpochBasedTrainLoop

from lbbt_mm.neighbours import noise
from lbbt_mm.neighbours.mmengine import model_of
from lbbt_mm.registry import find_type
from lbbt_mm.safety.dumped_config import describe_dataset, describe_labels


def quiet_runner(kind: type) -> type:
    """Make a runner's class whose console shows what tells a user something."""

    def build_logger(self: Any, *args: Any, **kwargs: Any) -> Any:
        logger = kind.build_logger(self, *args, **kwargs)
        noise.hush_logger(logger)
        return logger

    return type(kind.__name__, (kind,), dict(build_logger=build_logger))


def runner_class(cfg: Any) -> type:
    """Find the class that ``runner_type`` names, mmengine's own by default."""
    kind = cfg.get("runner_type", "Runner")
    found = RUNNERS.get(kind) if isinstance(kind, str) else kind
    if not isinstance(found, type):
        fail(f"runner_type expects the name of a runner, got {kind!r}.")
    return found


class Headline(Hook):
    """Say once what is about to run."""

    priority = "VERY_LOW"

    def before_train(self, runner: Any) -> None:
        """Say what trains on what, for how long, and where results go."""
        loop = runner.train_loop
        runner.logger.info(
            _lines(
                "Training",
                model=f"{type(model_of(runner)).__name__}; {_what_trains(runner)}",
                data=_data(runner.cfg, runner.train_dataloader, "train_dataloader"),
                length=_length(loop),
                **_places(runner),
            )
        )

    def before_test(self, runner: Any) -> None:
        """Say what is evaluated on what."""
        loader = runner.test_dataloader
        runner.logger.info(
            _lines(
                "Evaluating",
                model=f"{type(model_of(runner)).__name__} of {runner.cfg.load_from}",
                data=_data(runner.cfg, loader, "test_dataloader"),
                **_places(runner),
            )
        )


def _lines(title: str, **said: str) -> str:
    return "\n".join([title, *(f"  {name:8} {text}" for name, text in said.items())])


def _places(runner: Any) -> dict[str, str]:
    processes = get_world_size()
    log = Path(runner.log_dir) / f"{runner.timestamp}.log"
    return dict(
        machine=f"{get_device()}, {processes} process{'es' * (processes > 1)}",
        results=f"{runner.work_dir}; the log, with the whole config: {log}",
    )


def _length(loop: Any) -> str:
    """Such as ``'6 epochs of 64 iterations'``."""
    if not isinstance(loop, EpochBasedTrainLoop):
        return _number(loop.max_iters, "iteration")
    steps = _number(len(loop.dataloader), "iteration")
    return f"{_number(loop.max_epochs, 'epoch')} of {steps}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _data(cfg: Any, loader: Any, name: str) -> str:
    """Such as ``'2048 images of mnist5k, random labels, batches of 32'``."""
    scope = cfg.get("default_scope")
    said = f"{len(loader.dataset)} images of {describe_dataset(cfg, name)}"
    if name == "train_dataloader":
        labels = describe_labels(cfg, lambda node: find_type(node, DATASETS, scope))
        if labels != "true" or scope == "mmpretrain":  # boxes and answers are true
            said += f", {labels} labels"
    size = getattr(loader, "batch_size", None) or cfg[name].get("batch_size")
    return said + (f", batches of {size}" if size else "")


def _what_trains(runner: Any) -> str:
    """Such as ``'28.4 M of 28.4 M parameters train: backbone, head'``."""
    model, trained, total = model_of(runner), dict[str, int](), 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            part = name.partition(".")[0]
            trained[part] = trained.get(part, 0) + parameter.numel()
    if not total or any("Sharded" in type(m).__name__ for m in model.modules()):
        return f"trained: {', '.join(trained)}"  # a process has shards to count
    return (
        f"{sum(trained.values()) / 1e6:.4g} M of {total / 1e6:.4g} M parameters train: "
        + ", ".join(trained)
    )
