"""AutocastOptimWrapper inside a real Runner."""

from __future__ import annotations

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn
from torch.distributed.fsdp import MixedPrecision

from lbbt_mm.optim import AutocastOptimWrapper, precision


class ToyModel(BaseModel):
    """Notes the precision of its forward passes and counts nothing else."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.seen = {"loss": [], "predict": []}

    def forward(self, inputs, data_samples=None, mode="tensor"):
        out = self.linear(torch.stack(inputs))
        self.seen[mode].append(out.dtype)
        return dict(loss=out.float().square().mean()) if mode == "loss" else [{}]


def toy_runner(tmp_path, **wrapper):
    torch.manual_seed(0)
    data = [dict(inputs=torch.randn(4)) for _ in range(6)]
    loader = dict(
        dataset=data, batch_size=1, sampler=dict(type="DefaultSampler", shuffle=False)
    )
    return Runner(
        ToyModel(),
        str(tmp_path),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.5), **wrapper),
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=Evaluator([]),
        default_hooks=dict(logger=None, checkpoint=None),
        experiment_name=tmp_path.name,
    )


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", torch.bfloat16), ("float32", torch.float32)],
)
def test_training_runs_under_autocast_and_validation_does_not(
    tmp_path, dtype, expected
):
    runner = toy_runner(tmp_path, type="lbbt_mm.AutocastOptimWrapper", dtype=dtype)
    before = runner.model.linear.weight.detach().clone()
    runner.train()
    assert runner.model.seen["loss"] == [expected] * 6
    assert runner.model.seen["predict"] == [torch.float32] * 6
    assert not torch.equal(runner.model.linear.weight, before)
    for parameter in runner.model.parameters():
        assert parameter.dtype == torch.float32


def test_default_is_bfloat16(tmp_path):
    runner = toy_runner(tmp_path, type="lbbt_mm.AutocastOptimWrapper")
    runner.train()
    assert set(runner.model.seen["loss"]) == {torch.bfloat16}


def test_accumulation_steps_once_per_count(tmp_path, monkeypatch):
    runner = toy_runner(
        tmp_path, type="lbbt_mm.AutocastOptimWrapper", accumulative_counts=3
    )
    steps = []
    original = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda *a, **k: (steps.append(1), original(*a, **k))
    )
    runner.train()
    assert len(steps) == 2  # 6 iterations, 3 to a step


def test_gradients_are_clipped(tmp_path):
    runner = toy_runner(
        tmp_path, type="lbbt_mm.AutocastOptimWrapper", clip_grad=dict(max_norm=1e-3)
    )
    before = [p.detach().clone() for p in runner.model.parameters()]
    runner.train()
    moved = torch.cat(
        [
            (p - b).flatten()
            for p, b in zip(runner.model.parameters(), before, strict=True)
        ]
    )
    # 6 steps of SGD with lr 0.5, each with a gradient of norm 1e-3 at most.
    assert 0 < moved.norm() <= 6 * 0.5 * 1e-3 * 1.001


def test_wraps_a_model_in_a_distributed_container(tmp_path):
    """no_sync() of the container is entered while gradients accumulate."""
    model = nn.Linear(2, 1)
    entered = []

    class Container(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = model

        def no_sync(self):
            entered.append(True)
            return torch.enable_grad()

    wrapper = AutocastOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2
    )
    wrapper.initialize_count_status(model, 0, 4)
    with wrapper.optim_context(Container()):
        assert model(torch.ones(1, 2)).dtype == torch.bfloat16
    assert entered == [True]
    assert model(torch.ones(1, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("float16", "float16 needs its loss scaled: mmengine's type='AmpOptimWrapper'"),
        ("bf16", "one of auto, bfloat16, float32, got 'bf16'"),
    ],
)
def test_other_precisions_are_refused(dtype, message):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    cfg = dict(type="lbbt_mm.AutocastOptimWrapper", optimizer=optimizer, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        OPTIM_WRAPPERS.build(cfg)


@pytest.mark.parametrize(("rate", "dtype"), [(2.0, "bfloat16"), (1.0, "float32")])
def test_auto_is_what_the_cpu_computes_faster(monkeypatch, rate, dtype):
    rates = {torch.bfloat16: rate, torch.float32: 1.0}
    monkeypatch.setattr(precision, "_products_rate", rates.get)
    precision._fastest.cache_clear()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = AutocastOptimWrapper(dtype="auto", optimizer=optimizer)
    with wrapper.optim_context(model):
        assert model(torch.ones(1, 2)).dtype == getattr(torch, dtype)
    precision._fastest.cache_clear()


def test_auto_measures_on_a_cpu():
    precision._fastest.cache_clear()
    assert precision.resolve_dtype("auto", torch.device("cpu")).is_floating_point
    assert precision._products_rate(torch.float32) > 1e6


def test_auto_is_what_fsdp_gathers_weights_in(monkeypatch) -> None:
    monkeypatch.setattr(precision, "_fastest", lambda kind: torch.float32)
    cpu, model = torch.device("cpu"), torch.nn.Linear(1, 1)
    assert precision.resolve_dtype("auto", cpu, model) is torch.float32
    model.mixed_precision = MixedPrecision(param_dtype=torch.bfloat16)
    assert precision.resolve_dtype("auto", cpu, model) is torch.bfloat16
    model.mixed_precision = MixedPrecision()
    assert precision.resolve_dtype("auto", cpu, model) is torch.float32
