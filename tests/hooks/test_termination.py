"""SIGTERM ends a run after an iteration, with a checkpoint and a sentence."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import quick_logs
import torch
import torch.distributed as dist
from forked import spawn_two
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.hooks import RunEnded, TerminationHook
from lbbt_mm.hooks.atomic_checkpoint import latest_checkpoint

pytestmark = pytest.mark.slow

STATE = dict(type="lbbt_mm.RandomStateHook")
END = dict(type="lbbt_mm.TerminationHook")


class Noisy(torch.utils.data.Dataset):
    metainfo: dict = {}

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return dict(inputs=torch.tensor([i, np.random.rand()]).float())


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs, mode="tensor"):
        if mode == "loss":
            return dict(loss=self.linear(torch.stack(inputs)).pow(2).sum())
        return [{}]


class Score(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=1.0)


class Send(Hook):
    """Sends a signal in an iteration, to the whole group or to this process."""

    def __init__(self, number, at, times=1, val=False):
        self.number, self.at, self.times, self.val = number, at, times, val

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.val and runner.iter + 1 == self.at:
            for _ in range(self.times):
                signal.raise_signal(self.number)  # to this thread, at once
            loader = getattr(runner.train_loop, "dataloader_iterator", None)
            for worker in getattr(getattr(loader, "_iterator", 0), "_workers", []):
                os.kill(worker.pid, self.number)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if self.val:
            signal.raise_signal(self.number)  # to this thread, at once


class Bad(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        raise ValueError("a bug")


@pytest.fixture
def train(tmp_path):
    def train(name, hooks, until, by_epoch=True, workers=0, validate=False, **options):
        loader = dict(
            dataset=Noisy(),
            batch_size=2,
            num_workers=workers,
            persistent_workers=bool(workers),
            sampler=dict(
                type="DefaultSampler" if by_epoch else "InfiniteSampler", shuffle=True
            ),
        )
        validation = dict(
            val_dataloader=dict(loader, sampler=dict(type="DefaultSampler")),
            val_cfg=dict(),
            val_evaluator=Evaluator([Score(prefix="")]),
        )
        unit = "epoch" if by_epoch else "iter"
        runner = Runner(
            Toy(),
            str(tmp_path / name),
            train_dataloader=loader,
            train_cfg={"by_epoch": by_epoch, f"max_{unit}s": until},
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
            default_hooks=dict(
                checkpoint=dict(
                    type="lbbt_mm.AtomicCheckpointHook",
                    by_epoch=by_epoch,
                    interval=1 if by_epoch else 100,
                )
            ),
            custom_hooks=hooks,
            randomness=dict(seed=0),
            experiment_name=f"{tmp_path.name}_{name}_{len(hooks)}_{len(options)}",
            **(validation if validate else {}),
            **options,
        )
        runner.train()
        return runner.model.linear.weight.detach().clone()

    return train


def log_of(folder):
    return max(folder.glob("*/*.log")).read_text()


@pytest.mark.parametrize(
    ("by_epoch", "workers", "name"), [(True, 0, "SIGTERM"), (False, 2, "SIGINT")]
)
def test_ends_after_the_iteration_and_goes_on_exactly(
    train, tmp_path, by_epoch, workers, name
):
    number = getattr(signal, name)
    until = 3 if by_epoch else 12
    options = dict(until=until, by_epoch=by_epoch, workers=workers)
    before = signal.getsignal(number)
    whole = train("whole", [STATE], **options)
    with pytest.raises(RunEnded) as caught:
        train("run", [STATE, Send(number, 6), END], **options)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) == before
    path = tmp_path / "run" / "iter_6.pth"
    assert latest_checkpoint(tmp_path / "run") == str(path)
    words = f"ended by {name} after iteration 6; {path} is complete: go on from it"
    assert words in log_of(tmp_path / "run")
    assert torch.equal(train("run", [STATE, END], resume=True, **options), whole)
    assert path.exists() != by_epoch, "an epoch's checkpoint takes its place"


def test_without_random_state_an_epoch_has_no_middle(train, tmp_path):
    with pytest.raises(RunEnded):
        train("run", [Send(signal.SIGTERM, 6), END], until=3)
    log = log_of(tmp_path / "run")
    assert "cannot resume in mid-epoch without RandomStateHook); " in log
    assert f"{tmp_path}/run/epoch_1.pth is complete" in log
    assert not (tmp_path / "run" / "iter_6.pth").exists()


def test_in_a_validation(train, tmp_path):
    hooks = [STATE, Send(signal.SIGTERM, 0, val=True), END]
    with pytest.raises(RunEnded):
        train("run", hooks, until=3, validate=True)
    log = log_of(tmp_path / "run")
    assert "after iteration 4 (in a validation); " in log and "epoch_1.pth is" in log


def test_a_second_signal_ends_at_once(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train("run", [STATE, Send(signal.SIGINT, 2, times=2), END], until=3)
    assert latest_checkpoint(tmp_path / "run") is None


def test_the_threads_of_a_killed_parent_are_one_signal(train, tmp_path):
    """Linux sends PR_SET_PDEATHSIG's signal for each thread of the parent."""
    with pytest.raises(RunEnded):
        train("run", [STATE, Send(signal.SIGTERM, 2, times=3), END], until=3)
    assert latest_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "iter_2.pth")


def test_a_second_sigterm_ends_at_once_a_while_later(train, tmp_path, monkeypatch):
    monkeypatch.setattr("lbbt_mm.hooks.termination._PARENTS_THREADS", 0.0)
    ended = []
    before = signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    try:
        with pytest.raises(RunEnded):
            train("run", [STATE, Send(signal.SIGTERM, 2, times=2), END], until=3)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == [1]


def test_after_an_error_the_signals_are_as_before(train):
    with pytest.raises(ValueError, match="a bug"):
        train("run", [END, Bad()], until=1)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        while True:  # Python sees it between two lines
            pass


def test_after_an_error_the_second_signal_of_the_next_run_ends_it(train):
    with pytest.raises(ValueError, match="a bug"):
        train("run", [END, Bad()], until=1)
    with pytest.raises(KeyboardInterrupt):
        train("next", [STATE, Send(signal.SIGINT, 2, times=2), END], until=3)


def test_a_full_disk_is_told(train, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lbbt_mm.files.os.fsync", full)
    with pytest.raises(RunEnded):
        train("run", [STATE, Send(signal.SIGTERM, 2), END], until=3)
    log = log_of(tmp_path / "run")
    assert "iter_2.pth could not be written (No space left" in log
    assert "there is no checkpoint to go on from" in log


@pytest.mark.parametrize(
    ("options", "words"),
    [(dict(interval=0), "1 or more"), (dict(signals=["TERM"]), "such as 'SIGTERM'")],
)
def test_wrong_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        TerminationHook(**options)


def one_of_two_processes(rank, folder):
    quick_logs.install()
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    runner = Runner(
        Toy(),
        str(folder),
        train_dataloader=dict(
            dataset=Noisy(),
            batch_size=2,
            sampler=dict(type="InfiniteSampler", shuffle=True),
        ),
        train_cfg=dict(by_epoch=False, max_iters=9),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(
                type="lbbt_mm.AtomicCheckpointHook", by_epoch=False, interval=100
            )
        ),
        # One of them is told, and twice, as a launcher and a terminal do.
        custom_hooks=[STATE, dict(END, interval=4)]
        + ([Send(signal.SIGTERM, 2, times=2)] if rank else []),
        randomness=dict(seed=0),
    )
    try:
        runner.train()
    except RunEnded as ended:
        (folder / f"{rank}.txt").write_text(str(ended.code))


def test_two_processes_agree(tmp_path):
    spawn_two(one_of_two_processes, tmp_path)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["143"] * 2
    assert latest_checkpoint(tmp_path) == str(tmp_path / "iter_4.pth")
    saved = torch.load(tmp_path / "iter_4.pth", weights_only=False)
    assert len(saved["random_state"]["states"]) == 2


def test_a_signal_that_is_ignored_stays_so(train, tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train("run", [STATE, Send(signal.SIGINT, 2), END], until=1)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert "SIGINT" not in log_of(tmp_path / "run")
