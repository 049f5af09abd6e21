"""ThroughputHook inside a real Runner, on a clock that the test advances."""

from __future__ import annotations

import json
import types

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.hooks import ThroughputHook, throughput
from lbbt_mm.hooks.throughput import count_images


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def __deepcopy__(self, memo):  # the Runner copies its loader's config
        return self


class ToyDataset(torch.utils.data.Dataset):
    """10 images; reading one takes 0.25 s."""

    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return 10

    def __getitem__(self, index):
        self.clock.now += 0.25
        return dict(inputs=torch.ones(2), data_samples=index)


class ToyModel(BaseModel):
    """A training step takes 1 s and a validation step 100 s."""

    def __init__(self, clock):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.clock = clock

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode == "loss":
            self.clock.now += 1
            return dict(loss=self.linear(torch.stack(inputs)).sum())
        self.clock.now += 100
        return [{}]


class SlowCheckpoint(Hook):
    """Stands for CheckpointHook: same priority, 1000 s after each iteration."""

    priority = "VERY_LOW"

    def __init__(self, clock):
        self.clock = clock

    def after_train_iter(self, runner, *args, **kwargs):
        self.clock.now += 1000

    def after_train_epoch(self, runner):
        self.clock.now += 1000


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run(train_cfg, **hook):
        clock = Clock()
        monkeypatch.setattr(
            throughput, "time", types.SimpleNamespace(perf_counter=clock.perf_counter)
        )
        loader = dict(
            dataset=ToyDataset(clock),
            batch_size=4,
            sampler=dict(type="DefaultSampler", shuffle=False),
        )
        runner = Runner(
            ToyModel(clock),
            str(tmp_path),
            train_dataloader=loader,
            train_cfg=train_cfg,
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.0)),
            val_dataloader=loader,
            val_cfg=dict(),
            val_evaluator=Evaluator([]),
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=1, ignore_last=False),
                checkpoint=SlowCheckpoint(clock),
            ),
            custom_hooks=[dict(type="lbbt_mm.ThroughputHook", **hook)],
            log_processor=dict(by_epoch=train_cfg["by_epoch"]),
            experiment_name=tmp_path.name,
        )
        runner.train()
        (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
        records = [json.loads(line) for line in scalars.read_text().splitlines()]
        (log,) = tmp_path.glob("*/*.log")
        return [r.get("images_per_second") for r in records if "loss" in r], (
            log.read_text()
        )

    return run


def test_validation_and_checkpoints_are_not_counted(run, monkeypatch):
    monkeypatch.setattr(throughput, "_WINDOW", 1)
    rates, log = run(dict(by_epoch=True, max_epochs=2), warmup=0)
    # Batches of 4, 4 and 2: images / (0.25 s for each + 1 s for the step).
    epoch = [4 / 2, 4 / 2, 2 / 1.5]
    assert rates == pytest.approx(epoch * 2)
    # 20 images in 2 * (2 + 2 + 1.5) s
    assert "Throughput: 1.8 images per second" in log
    assert "images_per_second: 1.3333" in log


def test_the_value_is_images_over_seconds_of_the_window(run, monkeypatch):
    monkeypatch.setattr(throughput, "_WINDOW", 2)
    rates, _ = run(dict(by_epoch=True, max_epochs=1), warmup=0)
    assert rates == pytest.approx([4 / 2, 8 / 4, 6 / 3.5])


def test_warmup_is_left_out(run, monkeypatch):
    rates, log = run(dict(by_epoch=True, max_epochs=1), warmup=2)
    assert rates == [None, None, pytest.approx(2 / 1.5)]
    assert "(2 images, 1 process(es)" in log


def test_iteration_based_loops_validate_between_iterations(run, monkeypatch):
    monkeypatch.setattr(throughput, "_WINDOW", 1)
    monkeypatch.setattr(throughput, "_WINDOW", 1)
    rates, _ = run(dict(by_epoch=False, max_iters=3, val_interval=1), warmup=0)
    assert rates == pytest.approx([4 / 2, 4 / 2, 2 / 1.5])


def test_what_happens_between_epochs_is_not_counted(run, monkeypatch):
    monkeypatch.setattr(throughput, "_WINDOW", 1)
    no_validation = dict(by_epoch=True, max_epochs=2, val_begin=9)
    rates, _ = run(no_validation, warmup=0)
    assert rates == pytest.approx([4 / 2, 4 / 2, 2 / 1.5] * 2)


def test_all_processes_count(run, monkeypatch):
    monkeypatch.setattr(throughput, "_WINDOW", 1)
    monkeypatch.setattr(throughput, "get_world_size", lambda: 3)
    rates, _ = run(dict(by_epoch=True, max_epochs=1), warmup=0)
    assert rates == pytest.approx([3 * 4 / 2, 3 * 4 / 2, 3 * 2 / 1.5])


@pytest.mark.parametrize(
    "batch",
    [
        dict(inputs=torch.ones(5, 3, 8, 8)),
        dict(inputs=[torch.ones(3, 8, 8)] * 5, data_samples=[0] * 5),
        dict(inputs=[torch.ones(5, 3, 8, 8)] * 2, data_samples=[0] * 5),  # two views
        dict(inputs=torch.ones(5, 3), data_samples=None),
        (torch.ones(5, 3), torch.ones(5)),
        torch.ones(5, 3),
    ],
)
def test_images_are_counted_in_every_layout(batch):
    assert count_images(batch) == 5


def test_bad_arguments():
    with pytest.raises(ValueError, match="expects warmup >= 0, got -1"):
        ThroughputHook(warmup=-1)
