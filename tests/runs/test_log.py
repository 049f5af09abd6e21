"""Several trainings in one work folder: the newest one counts, with what it resumed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.runs.find import gather
from lbbt_mm.runs.log import newest_training, read_bridge_curve


class Toy(BaseModel):
    def __init__(self, answer):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.answer = answer

    def forward(self, inputs, mode="tensor"):
        if mode == "loss":
            loss = self.linear(torch.stack(inputs)).pow(2).sum()
            return dict(loss=loss, train_acc=torch.tensor(self.answer))
        return [{}]


class Answer(BaseMetric):
    def __init__(self, value):
        super().__init__(prefix="random_label")
        self.value = value

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(top1=self.value)


class Killed(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise KeyboardInterrupt


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train two iterations an epoch; every start is a second later than the last."""
    starts = []
    # mmengine waits two seconds wherever a loop by iterations begins the data anew.
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda _: None)

    def train(epochs, answer, killed=None, by_epoch=True, **options):
        starts.append(f"20260101_0000{len(starts):02d}")
        monkeypatch.setattr(
            "mmengine.runner.runner.time.strftime", lambda *_: starts[-1]
        )
        loader = dict(
            dataset=[dict(inputs=torch.ones(2))] * 2,
            batch_size=1,
            sampler=dict(type="DefaultSampler", shuffle=False),
        )
        kind = "epoch" if by_epoch else "iter"
        length = epochs if by_epoch else 2 * epochs
        runner = Runner(
            Toy(float(answer)),
            str(tmp_path / "run"),
            train_dataloader=loader,
            train_cfg={
                "by_epoch": by_epoch,
                f"max_{kind}s": length,
                "val_interval": 1 if by_epoch else 2,
            },
            val_dataloader=loader,
            val_cfg=dict(),
            val_evaluator=Evaluator([Answer(float(answer))]),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
            default_hooks=dict(
                logger=dict(
                    type="LoggerHook", interval=1, log_metric_by_epoch=by_epoch
                ),
                checkpoint=dict(
                    type="CheckpointHook",
                    interval=1 if by_epoch else 2,
                    by_epoch=by_epoch,
                ),
            ),
            custom_hooks=[Killed(killed)] if killed else [],
            log_processor=dict(by_epoch=by_epoch),
            visualizer=dict(
                type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]
            ),
            experiment_name=f"{tmp_path.name}_{starts[-1]}",
            **options,
        )
        try:
            runner.train()
        except KeyboardInterrupt:
            pass
        return tmp_path / "run"

    return train


def curves(folder):
    curve = read_bridge_curve(folder)
    return curve.train_acc, curve.random_acc


def test_a_second_start_from_scratch_is_another_run(train):
    home = train(3, 10)
    home = train(2, 20)
    assert curves(home) == ({1: 20, 2: 20}, {1: 20, 2: 20})
    assert [part.folder.name[-2:] for part in newest_training(home)] == ["01"]


def test_a_resumed_run_is_joined_to_what_it_goes_on_from(train):
    train(3, 10)  # another one
    train(3, 20, killed=5)  # in the first iteration of its third epoch
    home = train(3, 30, resume=True)
    assert curves(home) == ({1: 20, 2: 20, 3: 30}, {1: 20, 2: 20, 3: 30})
    # Without the log, as copied: the dumped config says that it was a resume.
    for log in home.glob("*/*.log"):
        log.unlink()
    last = newest_training(home)[-1].folder
    (last / "vis_data" / "config.py").write_text("load_from = None\nresume = True\n")
    assert curves(home) == ({1: 20, 2: 20, 3: 30}, {1: 20, 2: 20, 3: 30})


def test_what_an_interrupted_part_lost_does_not_count(train, tmp_path):
    home = train(4, 10)
    start = dict(load_from=str(home / "epoch_1.pth"), resume=True)
    train(2, 20, **start)
    assert curves(home) == ({1: 10, 2: 20}, {1: 10, 2: 20})


def test_iterations(train, monkeypatch):
    train(4, 10, by_epoch=False)
    train(3, 20, by_epoch=False, killed=5)
    home = train(3, 30, by_epoch=False, resume=True)
    record = dict(metrics={"random_label/top1": ("ap", 1)})["metrics"]
    monkeypatch.setattr("lbbt_mm.runs.log._SCORES", record)
    assert read_bridge_curve(home).scores == {"ap": {2: 20, 4: 20, 6: 30}}


def test_results_of_a_checkpoint_that_is_no_more(train):
    """A probe and a measurement of the run before, the new one not finished yet."""
    home = train(2, 10)
    sha256 = hashlib.sha256((home / "epoch_2.pth").read_bytes()).hexdigest()
    probe = dict(checkpoint="epoch_2.pth", checkpoint_sha256=sha256, last_test_top1=5.0)
    (home / "linear_probe.json").write_text(json.dumps(probe))
    measured = home / "analysis" / "epoch_2" / "outliers.json"
    measured.parent.mkdir(parents=True)
    model = dict(checkpoint="epoch_2.pth", sha256=sha256)
    record = dict(measurement="outliers", result={}, error=None, model=model)
    measured.write_text(json.dumps(record))
    found = gather([home])
    assert len(found.records) == 1 and found.runs[0].probes["bridged"]
    assert not found.problems

    shutil.copy(home / "epoch_2.pth", home / "copied.pth")
    os.utime(home / "epoch_2.pth")  # later, and the same
    assert not gather([home]).problems
    saved = torch.load(home / "epoch_2.pth", weights_only=False)
    torch.save(dict(saved, more=1), home / "epoch_2.pth")
    later = measured.stat().st_mtime + 9
    os.utime(home / "epoch_2.pth", (later, later))
    found = gather([home])
    assert not found.records and not found.runs[0].probes
    words = "is of an earlier epoch_2.pth, and left out: measure it again."
    assert [problem.endswith(words) for problem in found.problems] == [True, True]


def test_a_checkpoint_of_the_run_before(train, tmp_path):
    home = train(2, 10)
    train(2, 20, killed=1)
    old = 0  # long before the second start
    os.utime(home / "epoch_2.pth", (old, old))
    found = gather([home])
    assert "epoch_2.pth is older than the newest training" in found.problems[0]
    assert not found.runs[0].finished


def test_a_training_that_went_beyond_its_end_is_finished() -> None:
    from lbbt_mm.runs.checkpoint import reached

    assert reached("epoch_2.pth", "epoch_2.pth") and reached("epoch_10.pth", "epoch_9")
    assert not reached("epoch_2.pth", "epoch_10.pth")
    assert not reached("iter_20.pth", "epoch_10.pth")
