"""Detector and segmenter in two processes, then alone: dense_worker.py FOLDER BERT.

Started by torch.distributed.run in two processes; reads tests/hooks/vision_runs.py.
"""

import json
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before mmengine looks for a device
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "hooks"), str(TESTS.parent / "tools")]

import _launch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import vision_runs  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import runner as runner_module  # noqa: E402


class Losses(Hook):
    """Keeps what each iteration of this process computed."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        self.losses.append(float(outputs["loss"]))


def train(task: str, folder: Path, language_model: str, processes: int) -> list[float]:
    """Train at a global batch of four; return the losses of this process."""
    cfg = vision_runs.config(task, language_model, folder / f"{task}{processes}")
    cfg.train_dataloader.batch_size = 4 // processes
    cfg.train_cfg.max_epochs = 3
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.experiment_name = f"{task}{processes}"
    _launch.prepare_launch(cfg, "pytorch" if processes > 1 else "none")
    runner = _launch.build_runner(cfg)
    losses = Losses()
    runner.register_hook(losses)
    runner.train()
    return losses.losses


if __name__ == "__main__":
    runner_module.collect_env = dict  # seconds that only the log would show
    folder, bert = Path(sys.argv[1]), sys.argv[2]
    found = {task: train(task, folder, bert, 2) for task in vision_runs.COPIES}
    rank = dist.get_rank()
    (folder / f"losses_{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        found = {task: train(task, folder, bert, 1) for task in vision_runs.COPIES}
        (folder / "losses_one.json").write_text(json.dumps(found))
