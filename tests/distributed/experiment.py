"""Runs that two processes and one process do alike; `worker.py` does them."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

ROOT = Path(__file__).resolve().parents[2]
IMAGES, BATCH = 28, 8  # the last batch of an epoch holds 4
# Whatever draws at random in training is off, and so is rounding to bfloat16.
EXACT = {
    "model.backbone.drop_rate": 0.0,
    "model.backbone.drop_path_rate": 0.0,
    "model.backbone.prefix_tokens": "new",
    "optim_wrapper.dtype": "float32",
}
NOISY = {
    "model.backbone.drop_rate": 0.1,
    "model.backbone.drop_path_rate": 0.5,
    "model.backbone.with_cp": True,
    "model.backbone.prefix_tokens": "new",
    "train_cfg.max_epochs": 1,
}


def freezing(spec: str) -> dict:
    return {**NOISY, "model.backbone.trainable_layers": spec}


DATA_PARALLEL = {
    "exact": {
        **EXACT,
        "train_dataloader.num_workers": 2,
        "custom_hooks": [
            dict(type="lbbt_mm.RandomStateHook"),
            dict(type="lbbt_mm.FreezeBlocksHook", iters=3),
        ],
    },
    "odd": {**EXACT, "train_dataloader.dataset.dataset.indices": IMAGES - 1},
    "all": freezing("all"),
    "watched": {
        **freezing("all"),
        # The shipped hook that random numbers of augmentation come from stays.
        "custom_hooks": [
            dict(type="lbbt_mm.RandomStateHook"),
            dict(type="lbbt_mm.BridgeMonitorHook", interval=3),
        ],
    },
    "first": freezing("first:1"),
    "last": freezing("last:1"),
    "none": freezing("none"),
    "none+last": freezing("none+last:1"),
    "norms": freezing("first:1+norms"),
    "fallback": {**EXACT, "model.backbone.language_model": "fallback"},
    "lora": {**freezing("last:1"), "model.backbone.lora": dict(r=2, blocks=[0, 1])},
    "lora-alone": {**freezing("patch_embed"), "model.backbone.lora": dict(r=2)},
    "early": {
        **freezing("all"),
        "model.backbone.out_indices": 0,
        "model.backbone.out_type": "avg",
    },
}

_SAVE = {"default_hooks.checkpoint.interval": 1}
_FALLBACK = {
    "model.backbone.language_model": "fallback",
    "model.backbone.attention": "bidirectional",
}
_FP32 = {**EXACT, "strategy.model_wrapper.mixed_precision": None}
SHARDED = {
    "exact": {**_FP32, **_SAVE},
    "resumed": {**_FP32, "resume": True, "load_from": "exact/epoch_1.pth"},
    "partial": {
        **_FP32,
        "model.backbone.trainable_layers": "first:1+norms",
        "model.backbone.window_size": 3,  # of 4 x 4 patches: padded
        "model.backbone.global_blocks": [2],
    },
    "scratch": {**_FP32, "model.backbone.pretrained": False},
    "bf16": {},  # as shipped
    # Over transformers' own layers, which look both ways by another mask.
    "fallback": {**_FP32, **_SAVE, **_FALLBACK},
    "fallback_bf16": _FALLBACK,
}
KINDS = {"data_parallel": DATA_PARALLEL, "sharded": SHARDED}
ALONE = {
    "data_parallel": ["exact", "odd", "fallback"],
    "sharded": ["exact", "partial", "scratch", "fallback"],
}


def make_config(folder: Path, kind: str, name: str, processes: int) -> Config:
    """The shipped config on a tiny model and a few images."""
    cfg = Config.fromfile(
        ROOT / "configs/bridge/smollm2-b8_language_random100_6e_fashion-mnist.py"
    )
    cfg.merge_from_dict(
        {
            "model.backbone.language_model": kind,
            "model.backbone.num_layers": 3,
            "model.head.in_channels": 32,
            "train_cfg.max_epochs": 2,
            "train_dataloader.batch_size": BATCH // processes,
            "train_dataloader.persistent_workers": False,
            "train_dataloader.dataset.dataset.data_root": str(folder / "data"),
            "train_dataloader.dataset.dataset.indices": None,
            "default_hooks.checkpoint.interval": -1,
            "default_hooks.checkpoint.max_keep_ckpts": -1,
            "optim_wrapper.optimizer.fused": False,  # torch 2.1 cannot on CPU
            "optim_wrapper.optimizer.lr": 1e-3,
            "param_scheduler": [],
            "val_cfg": None,
            "val_dataloader": None,
            "val_evaluator": None,
        }
    )
    if kind == "sharded":
        shipped = Config.fromfile(ROOT / "configs/_base_/runtime/fsdp.py")
        cfg.strategy = copy.deepcopy(shipped.strategy)
        if processes > 1:
            cfg.runner_type = shipped.runner_type
    cfg.merge_from_dict(KINDS[kind][name])
    backbone = cfg.model.backbone
    backbone.language_model = str(folder / backbone.language_model)
    if cfg.load_from:
        cfg.load_from = str(folder / f"work{processes}" / kind / cfg.load_from)
    cfg.work_dir = str(folder / f"work{processes}" / kind / name)
    cfg.experiment_name = f"{kind}_{name}_{processes}"
    return cfg


class Record(Hook):
    """What an iteration saw and computed in this process."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.steps: list[dict] = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        samples, hub = data_batch["data_samples"], runner.message_hub
        self.steps.append(
            dict(
                epoch=runner.epoch,
                labels=[(s.sample_idx, int(s.gt_label)) for s in samples],
                loss=float(outputs["loss"]),
                norm=float(hub.get_scalar("train/grad_norm").current()),
            )
        )


def train(folder: Path, kind: str, name: str, processes: int) -> dict:
    """Train, and tell what happened in this process."""
    sys.path.append(str(ROOT / "tools"))
    import _launch
    import _processes

    from lbbt_mm.models.backbone import first_weights

    opened = []
    original = first_weights.open_any

    def counted(name: str):
        opened.append(name)
        return original(name)

    first_weights.open_any = counted
    cfg = make_config(folder, kind, name, processes)
    _processes.prepare_launch(cfg, "pytorch" if processes > 1 else "none")
    runner = _launch.build_runner(cfg)
    record = Record()
    runner.register_hook(record)
    runner.train()
    first_weights.open_any = original
    model = runner.model  # FSDP's own state dict gathers the shards
    if kind == "data_parallel" and processes > 1:
        model = model.module
    trains = [name for name, p in model.named_parameters() if p.requires_grad]
    for wrapper in ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module."):
        trains = [name.replace(wrapper, "") for name in trains]
    return dict(
        steps=record.steps,
        trains=trains,
        opened=len(opened),
        weights={k: v.clone() for k, v in model.state_dict().items()},
        held=sum(p.numel() for p in model.parameters()),
        modules=[type(module).__name__ for module in model.modules()],
    )


def run_all(folder: Path) -> None:
    """In two processes; then the first one alone, as a user without a launcher."""
    kinds = [kind for kind in KINDS if kind == "data_parallel" or can_shard_on_cpu()]
    for kind in kinds:
        for name in KINDS[kind]:
            result = train(folder, kind, name, processes=2)
            rank = torch.distributed.get_rank()
            torch.save(result, folder / f"{kind}_{name}_rank{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    if rank == 0:
        for kind in kinds:
            for name in ALONE[kind]:
                result = train(folder, kind, name, processes=1)
                torch.save(result, folder / f"{kind}_{name}_one.pt")


def can_shard_on_cpu() -> bool:
    """FSDP gives its streams a priority, which torch 2.1 has on GPU only."""
    try:
        torch.cpu.Stream(priority=-1)
    except TypeError:
        return False
    return True


class Runs:
    """What the processes of the launch told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ranks(self, kind: str, name: str) -> list[dict]:
        return [self._read(f"{kind}_{name}_rank{rank}") for rank in range(2)]

    def one(self, kind: str, name: str) -> dict:
        return self._read(f"{kind}_{name}_one")

    def _read(self, name: str) -> dict:
        return torch.load(self.folder / f"{name}.pt", weights_only=True)


def mean_losses(ranks: list[dict]) -> list[float]:
    """Loss of the whole batch: the processes' batches are equally large."""
    columns = zip(*([s["loss"] for s in rank["steps"]] for rank in ranks), strict=True)
    return [sum(losses) / len(losses) for losses in columns]
