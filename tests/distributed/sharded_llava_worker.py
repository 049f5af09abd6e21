"""Started in two processes: FOLDER RUN...; then the first goes on alone.

A shipped second stage on a tiny language model, a encoder of one block and two grids.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = "configs/llava/llava-1.6-vicuna-13b_language_stage2_llava-next-779k.py"
GRID = [(16, 32), (32, 16)]
RUNS = {
    "whole": {},
    # Of rank 0 alone: the checkpoint of a vision encoder and a projector.
    "continued": dict(load_from="first.pth"),
    "resumed": dict(load_from="work2/whole/epoch_1.pth", resume=True),
}


class Losses(Hook):
    """What each iteration computed in this process."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        self.found.append(float(outputs["loss"]))


def make_config(folder: Path, name: str, processes: int) -> Config:
    cfg = Config.fromfile(ROOT / SHIPPED)
    cfg.model.update(language_model=str(folder / "language"), grid_pinpoints=GRID)
    encoder = dict(language_model=str(folder / "encoder"), num_layers=1)
    cfg.model.vision_encoder.update(encoder, img_size=16, patch_size=8)
    loader = cfg.train_dataloader
    loader.update(batch_size=4 // processes, num_workers=0, persistent_workers=False)
    loader.sampler.shuffle = False
    loader.dataset.pipeline[0].update(size=16, grid_pinpoints=GRID)
    loader.dataset.update(data_root=str(folder / "data"), ann_file="all.json")
    cfg.strategy.model_wrapper.mixed_precision = None
    cfg.optim_wrapper.dtype = "float32"
    cfg.optim_wrapper.optimizer.update(fused=False, lr=1e-3)
    cfg.param_scheduler = []
    cfg.train_cfg.max_epochs = 2
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    if processes == 1:
        cfg.pop("runner_type")
        cfg.pop("strategy")
    run = RUNS[name]
    start = run.get("load_from")
    cfg.load_from = str(folder / start) if start else None
    cfg.resume = run.get("resume", False)
    cfg.work_dir = str(folder / f"work{processes}" / name)
    cfg.experiment_name = f"{name}_{processes}"
    return cfg


def train(folder: Path, name: str, processes: int) -> dict:
    sys.path.append(str(ROOT / "tools"))
    import _launch
    import _processes

    cfg = make_config(folder, name, processes)
    _processes.prepare_launch(cfg, "pytorch" if processes > 1 else "none")
    runner = _launch.build_runner(cfg)
    losses = Losses()
    runner.register_hook(losses)
    runner.train()
    model = runner.model
    return dict(
        losses=losses.found,
        held=sum(p.numel() for p in model.parameters()),
        modules=[type(module).__name__ for module in model.modules()],
    )


if __name__ == "__main__":
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    for name in names:
        result = train(folder, name, processes=2)
        rank = torch.distributed.get_rank()
        torch.save(result, folder / f"{name}_rank{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    if rank == 0:
        for name in names:
            if not RUNS[name].get("resume"):
                torch.save(train(folder, name, 1), folder / f"{name}_one.pt")
