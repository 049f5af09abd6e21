"""With the shipped runtime, no step of a training reads a number from the device."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils._python_dispatch import TorchDispatchMode

from lbbt_mm.config import load_config

from shipped import CONFIGS  # isort: skip


class Reads(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Count(Hook):
    """From the first iteration, which meets every name of the log, to the last."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.reads = Reads()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 0:
            self.reads.__enter__()
        elif runner.iter + 1 == runner.max_iters:
            self.reads.__exit__(None, None, None)


def test_nothing_is_read_in_a_step_of_a_shipped_config(tmp_path: Path) -> None:
    path = CONFIGS / "bridge" / "smollm2-b8_language_random100_6e_mnist5k.py"
    small = dict(num_layers=1, pretrained=False, num_images=32, batch_size=4)
    cfg = load_config(path, small | dict(max_epochs=1, log_interval=2))
    cfg.work_dir = str(tmp_path)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    runner = Runner.from_cfg(cfg)
    count = Count()
    runner.register_hook(count)
    runner.train()
    assert runner.iter == 8
    assert count.reads.count == 0
    assert len(runner.message_hub.get_scalar("train/loss").data[0]) == 8
