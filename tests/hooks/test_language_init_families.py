"""LanguageInitHook in real Runners, for every family that vision layers take."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import vision_runs
from forked import spawn_two
from mmengine.runner import Runner
from torch.testing import assert_close

from lbbt_mm.language import open_checkpoint
from lbbt_mm.transplant import make_plan

sys.path.append(str(Path(__file__).parents[1] / "language"))
import tiny  # noqa: E402

FAMILIES = ["roberta", "distilbert", "electra", "opt", "gpt_bigcode"]
ACCEPT = ["norm_order", "norm_eps", "activation"]


def config(source: str, fit: str, work_dir: Path) -> Any:
    """A Segmenter head as wide as the model, or half as wide with half of its heads."""
    cfg = vision_runs.config("segmenter", source, work_dir)
    hook, head = cfg.custom_hooks[0], cfg.model.decode_head
    head.act_cfg, head.norm_cfg = dict(type="ReLU"), dict(type="LN", eps=1e-5)
    hook.copies[0].fit = fit
    hook.accept = [*ACCEPT, *(["width"] if fit == "select" else [])]
    if fit == "select":
        head.update(embed_dims=16, num_heads=2)
    cfg.custom_hooks.append(dict(type="EMAHook", momentum=0.5))
    return cfg


def train(cfg: Any, name: str) -> tuple[Runner, dict[str, torch.Tensor]]:
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    snapshot = vision_runs.Snapshot()
    runner.register_hook(snapshot)
    runner.train()
    assert snapshot.state is not None
    return runner, snapshot.state


def written(family: str, folder: Path) -> str:
    """Write a small model whose FFN is four times as wide, as Segmenter's is."""
    kept = copy.deepcopy(tiny.CONFIGS[family])
    wide = dict(intermediate_size=128, ffn_dim=128, hidden_dim=128, n_inner=128)
    for key in wide.keys() & kept.to_dict().keys():
        setattr(kept, key, 128)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny.CONFIGS, family, kept)
        return tiny.save(tiny.build(family), folder, "folder")


def expected(cfg: Any, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Fill another model of the same config by the plan, outside of any run."""
    from mmseg.registry import MODELS

    fresh = MODELS.build(cfg.model)
    hook = cfg.custom_hooks[0]
    plan = make_plan(
        fresh, open_checkpoint(hook.language_model), hook.copies, accept=hook.accept
    )
    names = {entry["parameter"] for entry in plan.apply(fresh).to_dict()["copied"]}
    assert len(names) > 20 and names <= set(model.state_dict())
    return {name: fresh.state_dict()[name] for name in names}


def assert_holds(state: Any, tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        assert_close(state[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("fit", ["exact", "select"])
@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_loaded_and_resumed(family: str, fit: str, tmp_path: Path) -> None:
    source = written(family, tmp_path / "lm")
    cfg = config(source, fit, tmp_path / "run")
    runner, state = train(cfg, "fresh")
    tensors = expected(cfg, runner.model)
    assert_holds(state, tensors)
    report = json.loads((tmp_path / "run" / "language_init.json").read_text())
    assert {row["parameter"] for row in report["copied"]} == set(tensors)
    assert bool(report.get("selections")) == (fit == "select")
    saved = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)
    # The average began where the model began: after two steps it is not far from it.
    ema = {n.removeprefix("module."): t for n, t in saved["state_dict"].items()}
    for name, tensor in tensors.items():
        assert_close(ema[name], tensor, rtol=0, atol=5e-3)
    # What load_from brings takes the place of what was copied, and nothing else.
    held = {name: torch.full_like(tensors[name], 0.5) for name in sorted(tensors)[:9]}
    torch.save(dict(state_dict=held), tmp_path / "part.pth")
    cfg.load_from, cfg.work_dir = str(tmp_path / "part.pth"), str(tmp_path / "two")
    assert_holds(train(cfg, "loaded")[1], {**tensors, **held})
    # Resumed, nothing is copied, and the language model may be gone.
    shutil.rmtree(source)
    cfg.load_from, cfg.work_dir = None, str(tmp_path / "run")
    cfg.resume, cfg.train_cfg.max_epochs = True, 2
    _, again = train(cfg, "resumed")
    trained = saved["ema_state_dict"]  # EMAHook saves the model beside its average
    for name in tensors:
        assert_close(again[name], trained[f"module.{name}"], rtol=0, atol=0)


def one_of_two(rank: int, folder: Path, source: str) -> None:
    os.environ["LOCAL_RANK"] = str(rank)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    cfg = config(source, "select", folder / "run")
    cfg.launcher = "pytorch"  # without it mmengine trains one model in each
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel",
        device_ids=None,  # on a CPU
        find_unused_parameters=True,
    )
    cfg.randomness = dict(seed=0, diff_rank_seed=True)
    runner, state = train(cfg, "two")
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    assert_holds(state, expected(cfg, runner.model.module))
    torch.save(state, folder / f"start{rank}.pth")
    torch.save(runner.model.module.state_dict(), folder / f"end{rank}.pth")


@pytest.mark.slow
def test_two_processes_start_and_end_alike(tmp_path: Path) -> None:
    """GPT-BigCode, whose heads share keys and values, selected to half the width."""
    spawn_two(one_of_two, tmp_path, written("gpt_bigcode", tmp_path / "lm"))
    for when in ("start", "end"):
        one, other = (torch.load(tmp_path / f"{when}{rank}.pth") for rank in (0, 1))
        assert_close(one, other, rtol=0, atol=0)
    assert len(list((tmp_path / "run").glob("language_init*.json"))) == 1
