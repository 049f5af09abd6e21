"""mmengine, checked with 0.10.7 and with the maintained fork's 0.10.12."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

PRIVATE = {
    "mmengine._strategy.fsdp:FSDPStrategy._init_model_weights": "optim/sharded.py",
    "mmengine._strategy.fsdp:FSDPStrategy._wrap_model": "optim/sharded.py",
    "mmengine.analysis.complexity_analysis:_DEFAULT_SUPPORTED_ACT_OPS": (
        "language/flops.py"
    ),
    "mmengine.analysis.complexity_analysis:_DEFAULT_SUPPORTED_FLOP_OPS": (
        "language/flops.py"
    ),
    "mmengine.config:Config._file2dict": "config/chain.py",
    "mmengine.config:Config._get_base_files": "config/chain.py",
    "mmengine.config:Config._get_base_modules": "config/chain.py",
    "mmengine.config:Config._get_cfg_path": "config/chain.py",
    "mmengine.config:Config._merge_a_into_b": "config/chain.py",
    "mmengine.config:Config._substitute_base_vars": "config/chain.py",
    "mmengine.dataset:BaseDataset._fully_initialized": "datasets/wrapper.py",
    "mmengine.dataset:BaseDataset._metainfo": "datasets/small.py",
    "mmengine.dataset:BaseDataset._rand_another": "datasets/wrapper.py",
    "mmengine.hooks:CheckpointHook._save_best_checkpoint": (
        "hooks/atomic_checkpoint.py"
    ),
    "mmengine.hooks:CheckpointHook._save_checkpoint": "hooks/atomic_checkpoint.py",
    "mmengine.hooks:CheckpointHook._save_checkpoint_with_step": (
        "hooks/atomic_checkpoint.py"
    ),
    "mmengine.logging:HistoryBuffer._count_history": "late_scalars.py",
    "mmengine.logging:HistoryBuffer._log_history": "late_scalars.py",
    "mmengine.model:BaseModule._is_init": "models/multimodal/llava.py",
    "mmengine.optim:OptimWrapper._accumulative_counts": "hooks/gradients.py",
    "mmengine.optim:OptimWrapper._clip_grad": "optim/autocast.py",
    "mmengine.optim:OptimWrapper._inner_count": "hooks/gradients.py",
    "mmengine.registry:Registry._imported": "safety/registered_names.py",
    "mmengine.registry.registry:get_object_from_string": "safety/registered_names.py",
    "mmengine.runner:Runner._load_from": "neighbours/mmengine.py",
    "mmengine.runner:Runner._randomness_cfg": "hooks/random_state.py",
    "mmengine.runner:Runner._resume": "neighbours/mmengine.py",
    "mmengine.runner:Runner._test_loop": "neighbours/mmengine.py",
    "mmengine.runner:Runner._train_loop": "neighbours/mmengine.py",
    "mmengine.runner:Runner._val_loop": "neighbours/mmengine.py",
    "mmengine.runner.checkpoint:CheckpointLoader._schemes": (
        "safety/checkpoint_guard.py"
    ),
    "mmengine.runner.checkpoint:load_from_local": "safety/checkpoint_guard.py",
    "mmengine.runner.checkpoint:load_url": "safety/checkpoint_guard.py",
    "mmengine.utils.dl_utils.parrots_wrapper:_BatchNorm": "models/norms.py",
    "mmengine.utils.dl_utils.parrots_wrapper:_InstanceNorm": "models/norms.py",
}
"""``module:name`` -> a file that uses it; an attribute that a method sets counts."""


def model_of(runner: Any) -> Any:
    """Give a runner's model itself, without what distributes it."""
    from mmengine.model import is_model_wrapper

    model = runner.model
    return model.module if is_model_wrapper(model) else model


def start_of(runner: Any) -> tuple[str | None, bool]:
    """Tell what a runner loads into its model, as ``Runner.load_or_resume`` does.

    Returns:
        The file, ``None`` if there is none; and whether the run is to go on from it.
    """
    from mmengine.runner import find_latest_checkpoint

    path, resume = runner._load_from, bool(runner._resume)
    if isinstance(runner._resume, str):  # FlexibleRunner's way
        path = runner._resume or path
    if resume and not path:
        path = find_latest_checkpoint(runner.work_dir)
    return str(path) if path else None, resume


def start_from(runner: Any, path: str | None) -> None:
    """Let a runner that resumes go on from a file that the user has not named."""
    if getattr(runner, "_resume", False) and runner._load_from is None:
        runner._load_from = path


def loops_of(runner: Any) -> tuple[Any, Any, Any]:
    """Give the loops of training, validation and test without building them.

    The runner's own properties would; a loop that is not built yet is a config.
    """
    return runner._train_loop, runner._val_loop, runner._test_loop


def building_runner() -> Any:
    """Find the runner that is building a model, among the callers.

    mmengine's runner tells the models that it builds nothing of what it will load.

    Returns:
        The runner; ``None`` if there is none.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        runner = frame.f_locals.get("self")
        if hasattr(runner, "_load_from") and hasattr(runner, "_resume"):
            return runner
        frame = frame.f_back
    return None


def fsdp_strategy() -> Any:
    """Import mmengine's class for training that shards a model, when it is needed."""
    from mmengine._strategy import FSDPStrategy

    return FSDPStrategy
