"""Blocks that stand still at first: as if frozen, and exactly so after resuming."""

from __future__ import annotations

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.testing import assert_close

from lbbt_mm.hooks import FreezeBlocksHook

IMAGES, BATCH = 12, 4
DECAY = dict(lr=0.05, weight_decay=0.1)


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)  # it is built before the Runner sets a seed
        self.embed = nn.Linear(5, 6)
        self.blocks = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, inputs, mode="tensor"):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        out = self.head(self.blocks(self.embed(inputs)))
        return dict(loss=out.square().mean() * 50)  # large enough to be clipped


class Images(torch.utils.data.Dataset):
    metainfo: dict = {}

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(5, generator=generator))


def train(work_dir, epochs, hooks=(), accumulate=1, **options) -> tuple[Toy, Runner]:
    runner = Runner(
        model=Toy(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Images(),
            batch_size=BATCH,
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        optim_wrapper=dict(
            optimizer=dict(type="AdamW", **DECAY),
            clip_grad=dict(max_norm=0.5),
            accumulative_counts=accumulate,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
        custom_hooks=list(hooks),
        experiment_name=f"{work_dir.name}{epochs}{len(hooks)}",
        default_scope="mmengine",
        **options,
    )
    runner.train()
    return runner.model, runner


def by_hand(epochs: int, held: int, accumulate: int = 1) -> Toy:
    """Freeze by requires_grad for the first iterations, with one optimiser."""
    model = Toy()
    optimizer = torch.optim.AdamW(model.parameters(), **DECAY)
    for step in range(epochs * IMAGES // BATCH):
        model.blocks.requires_grad_(step >= held)
        start = step * BATCH % IMAGES
        batch = [Images()[i]["inputs"] for i in range(start, start + BATCH)]
        (model(batch)["loss"] / accumulate).backward()
        if (step + 1) % accumulate:
            continue
        grads = [p for p in model.parameters() if p.grad is not None]
        nn.utils.clip_grad_norm_(grads, 0.5)
        optimizer.step()
        optimizer.zero_grad()
    return model


def assert_same(model: nn.Module, wanted: nn.Module) -> None:
    assert_close(model.state_dict(), wanted.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("length", "held"), [(dict(epochs=1), 3), (dict(iters=4), 4), (dict(epochs=9), 9)]
)
def test_it_is_as_if_frozen(tmp_path, length, held) -> None:
    hook = dict(type="lbbt_mm.FreezeBlocksHook", module="blocks", **length)
    model, runner = train(tmp_path, 3, [hook])
    assert_same(model, by_hand(3, held))
    if held == 9:
        assert_same(model.blocks, Toy().blocks)
    assert "backward" not in vars(runner.optim_wrapper)
    without, _ = train(tmp_path / "without", 3)
    assert not torch.equal(without.embed.weight, model.embed.weight)


def test_gradients_are_accumulated_without_it(tmp_path) -> None:
    hook = dict(type="lbbt_mm.FreezeBlocksHook", module="blocks", iters=2)
    model, _ = train(tmp_path, 2, [hook], accumulate=2)
    assert_same(model, by_hand(2, 2, accumulate=2))


@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_run_is_the_whole_one(tmp_path, stop) -> None:
    hook = dict(type="lbbt_mm.FreezeBlocksHook", module="blocks", epochs=2)
    train(tmp_path, stop, [hook])
    model, _ = train(tmp_path, 4, [hook], resume=True)
    assert_same(model, by_hand(4, 6))


@pytest.mark.parametrize(
    "options", [{}, dict(epochs=1, iters=1), dict(epochs=0), dict(iters=1.5)]
)
def test_a_length_that_is_none_is_refused(options) -> None:
    with pytest.raises(ValueError, match="needs epochs=N or iters=N"):
        FreezeBlocksHook(**options)


def test_a_part_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="has no backbone.language"):
        train(tmp_path, 1, [dict(type="lbbt_mm.FreezeBlocksHook", epochs=1)])
