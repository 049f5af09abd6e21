"""CostHook in a real Runner: exact counts, nothing disturbed, resumed runs go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

BATCH, IMAGES, WIDTH = 4, 10, 6  # 3 iterations an epoch


class Images(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=torch.full((WIDTH,), float(index)), data_samples=index)


class TwoViews(BaseModel):
    """Looks at every image twice; dropout draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(WIDTH, 3, bias=False), nn.Dropout(0.5))

    def forward(self, inputs, data_samples=None, mode: str = "tensor"):
        views = torch.cat([torch.stack(inputs)] * 2)
        return dict(loss=self.backbone(views).square().mean())


def train(work_dir: Path, epochs: int, cost: bool = True, **options) -> nn.Module:
    torch.manual_seed(0)
    runner = Runner(
        TwoViews(),
        str(work_dir),
        train_dataloader=dict(
            dataset=Images(),
            batch_size=BATCH,
            sampler=dict(type="DefaultSampler", shuffle=True),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-3)),
        custom_hooks=[dict(type="lbbt_mm.CostHook")] if cost else [],
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
        randomness=dict(seed=0),
        experiment_name=f"{work_dir.name}{epochs}{cost}",
        log_level="WARNING",
        **options,
    )
    runner.train()
    return runner.model


def cost_of(work_dir: Path) -> dict:
    return json.loads((work_dir / "cost.json").read_text())


def test_counts_are_those_of_the_run(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    cost = cost_of(tmp_path)
    assert cost["images"] == 2 * IMAGES and cost["steps"] == 6
    assert cost["forward_passes"] == 2 * 2 * IMAGES
    # The second step has four images in two views: forward 2 x m x n x k operations,
    # and as many for the weights' gradient; that of the images is not needed.
    assert cost["flops"] == 6 * 2 * (2 * (2 * BATCH) * WIDTH * 3)
    assert cost["seconds"] >= 0
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["cost/images"] == 2 * IMAGES and last["cost/flops"] == cost["flops"]


def test_weights_are_those_of_a_run_without_it(tmp_path: Path) -> None:
    with_it = train(tmp_path / "a", epochs=2).state_dict()
    without = train(tmp_path / "b", epochs=2, cost=False).state_dict()
    assert all(torch.equal(with_it[key], without[key]) for key in without)
    assert not (tmp_path / "b" / "cost.json").exists()


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    first = cost_of(tmp_path)
    train(tmp_path, epochs=3, resume=True)
    whole = cost_of(tmp_path)
    for key in ("images", "steps", "forward_passes", "flops"):
        assert whole[key] == 3 * first[key]


def test_starting_from_other_weights_counts_from_zero(tmp_path: Path) -> None:
    train(tmp_path / "a", epochs=1)
    train(tmp_path / "b", epochs=1, load_from=str(tmp_path / "a" / "epoch_1.pth"))
    assert cost_of(tmp_path / "b")["images"] == IMAGES


def test_a_model_without_a_backbone_is_refused(tmp_path: Path) -> None:
    class Bare(TwoViews):
        def __init__(self) -> None:
            super().__init__()
            self.body = self.__dict__["_modules"].pop("backbone")

    runner = Runner(
        Bare(),
        str(tmp_path),
        train_dataloader=dict(
            dataset=Images(),
            batch_size=BATCH,
            sampler=dict(type="DefaultSampler", shuffle=True),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-3)),
        custom_hooks=[dict(type="lbbt_mm.CostHook")],
        experiment_name="bare",
        log_level="WARNING",
    )
    with pytest.raises(ValueError, match="without one: leave the hook out"):
        runner.train()
