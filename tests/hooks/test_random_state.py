"""A resumed run draws what the uninterrupted run would have drawn: real Runners."""

from __future__ import annotations

import random
import types

import numpy as np
import pytest
import torch
import torch.distributed as dist
from forked import spawn_two
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.hooks import random_state as module
from lbbt_mm.hooks.random_state import random_state, set_random_state
from lbbt_mm.language.storage import load_pickle

pytestmark = pytest.mark.slow

HOOK = dict(type="lbbt_mm.RandomStateHook")


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """mmengine sleeps two seconds whenever a loop by iterations begins an epoch."""
    # Not the sleep of everybody, in which workers are waited for.
    idle = types.SimpleNamespace(sleep=lambda _: None)
    monkeypatch.setattr("mmengine.runner.loops.time", idle)


class Noisy(torch.utils.data.Dataset):
    """Each image draws from all three generators, as augmentation does."""

    metainfo: dict = {}

    def __len__(self):
        return 8

    def __getitem__(self, i):
        noise = [
            np.random.rand(),
            random.random(),
            random.gauss(0, 1),
            np.random.randn(),
        ]
        return dict(inputs=torch.tensor([i, *noise]).float() + torch.rand(5))


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)  # it is built before the Runner sets a seed
        self.linear = nn.Linear(5, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs, mode="tensor"):
        if mode == "loss":
            return dict(loss=self.drop(self.linear(torch.stack(inputs))).pow(2).sum())
        torch.rand(3)  # a validation that draws as well
        return [{}]


class Draws(BaseMetric):
    def process(self, data_batch, data_samples):
        np.random.rand(), random.random()
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=1.0)


@pytest.fixture
def train(tmp_path):
    """Train to an epoch or iteration; returns the weights and the checkpoint."""

    def train(
        until,
        name="run",
        hooks=(HOOK,),
        validate=True,
        by_epoch=True,
        workers=0,
        persistent=False,
        checkpoint=None,
        sampler="DefaultSampler",
        accumulate=1,
        saves_by_epoch=None,
        batch_size=2,
        dataset=None,
        train_cfg=None,
        model=Toy,
        **options,
    ):
        loader = dict(
            dataset=dataset or Noisy(),
            batch_size=batch_size,
            num_workers=workers,
            persistent_workers=persistent,
            sampler=dict(type=sampler, shuffle=True),
        )
        validation = dict(
            val_dataloader=dict(loader, num_workers=0, persistent_workers=False),
            val_cfg=dict(),
            val_evaluator=Evaluator([Draws()]),
        )
        # A copy: mmengine writes a resumed seed into it.
        options["randomness"] = dict(options.get("randomness", dict(seed=0)))
        unit = "max_epochs" if by_epoch else "max_iters"
        runner = Runner(
            model(),
            str(tmp_path / name),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=by_epoch, **{unit: until}, **(train_cfg or {})),
            optim_wrapper=dict(
                optimizer=dict(type="AdamW", lr=0.1), accumulative_counts=accumulate
            ),
            default_hooks=dict(
                checkpoint=dict(
                    type="lbbt_mm.AtomicCheckpointHook",
                    by_epoch=by_epoch if saves_by_epoch is None else saves_by_epoch,
                    interval=1,
                    **(checkpoint or {}),
                )
            ),
            custom_hooks=list(hooks),
            experiment_name=f"{tmp_path.name}_{name}_{until}_{len(options)}",
            **(validation if validate else {}),
            **options,
        )
        runner.train()
        log = "".join(p.read_text() for p in (tmp_path / name).glob("*/*.log"))
        return runner.model.linear.weight.detach().clone(), log

    return train


def same(a, b):
    return torch.equal(a, b)


LOADERS = [(0, False), (2, False), (2, True)]


@pytest.mark.parametrize(("workers", "persistent"), LOADERS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_by_bit(train, workers, persistent):
    options = dict(workers=workers, persistent=persistent)
    whole, log = train(4, "whole", **options)
    assert "RandomStateHook: " not in log
    train(2, **options)
    resumed, log = train(4, resume=True, **options)
    assert same(resumed, whole)
    assert "random numbers go on as the checkpoint left them." in log
    # The workers themselves make no difference.
    assert same(train(4, "none", validate=False)[0], whole)


@pytest.mark.parametrize(
    ("sampler", "workers", "persistent"),
    [
        ("InfiniteSampler", 0, False),
        ("InfiniteSampler", 2, True),
        ("DefaultSampler", 2, False),
        ("DefaultSampler", 2, True),
    ],
)
def test_the_same_in_a_loop_by_iterations(train, sampler, workers, persistent):
    """Seven of four batches an epoch; the sampler is passed over, or read again."""
    options = dict(by_epoch=False, workers=workers, persistent=persistent)
    options |= dict(sampler=sampler, validate=False)
    whole, _ = train(7, "whole", **options)
    train(5, **options)
    resumed, log = train(7, resume=True, **options)
    assert same(resumed, whole)
    assert "random numbers go on as the checkpoint left them." in log


@pytest.mark.parametrize(("by_epoch", "workers"), [(True, 0), (True, 2), (False, 2)])
def test_accumulated_gradients_go_on(train, tmp_path, by_epoch, workers):
    """A checkpoint after every iteration; the third of four batches of the epoch."""
    options = dict(by_epoch=by_epoch, workers=workers, persistent=bool(workers))
    options |= dict(accumulate=2, saves_by_epoch=False, validate=False)
    until = 2 if by_epoch else 8
    whole, _ = train(until, "whole", **options)
    for step in (3, 4, 5):
        saved = load_pickle(tmp_path / "whole" / f"iter_{step}.pth")
        assert ("gradients_in_flight" in saved) == (step % 2 == 1)
        start = dict(load_from=str(tmp_path / "whole" / f"iter_{step}.pth"))
        resumed, log = train(until, f"run{step}", resume=True, **start, **options)
        assert same(resumed, whole), step
        assert "between two steps" not in log
        assert (f"goes on after batch {step} of 4" in log) == (by_epoch and step < 5)


def test_a_checkpoint_without_the_gradients_is_told(train, tmp_path):
    options = dict(by_epoch=False, accumulate=2, validate=False)
    train(3, hooks=(), **options)
    _, log = train(4, resume=True, **options)
    assert "lies between two steps of accumulated gradients and does not hold" in log


def test_resumed_mid_epoch_with_another_batch_size_is_told(train):
    options = dict(by_epoch=False, validate=False)
    train(3, **options)
    _, log = train(4, resume=True, batch_size=4, **options)
    assert "will not be exactly the one that was interrupted: batch_size was 2" in log


def test_a_seed_that_nobody_chose_goes_on(train, tmp_path):
    options = dict(by_epoch=False, validate=False, randomness=dict(seed=None))
    whole, _ = train(3, "whole", **options)
    start = dict(load_from=str(tmp_path / "whole" / "iter_1.pth"), resume=True)
    resumed, _ = train(3, **start, **options)
    assert same(resumed, whole)
    assert not same(train(3, "another", **options)[0], whole)


class Counting(Toy):
    """Keeps a number outside of its tensors, as mmdet's BatchSyncRandomResize does."""

    def __init__(self):
        super().__init__()
        self.name, self.sizes = "a", []

    def forward(self, inputs, mode="tensor"):
        if mode == "loss":
            self.sizes.append(1 + len(self.sizes))
            inputs = [sum(self.sizes) * one for one in inputs]
        return super().forward(inputs, mode)


@pytest.mark.parametrize("by_epoch", [True, False])
def test_what_modules_remember_goes_on(train, tmp_path, by_epoch):
    options = dict(by_epoch=by_epoch, model=Counting)
    whole, _ = train(3, "whole", **options)
    train(2, **options)
    resumed, _ = train(3, resume=True, **options)
    assert same(resumed, whole)
    name = f"{'epoch' if by_epoch else 'iter'}_1.pth"
    (state,) = load_pickle(tmp_path / "whole" / name)["random_state"]["states"]
    steps = 4 if by_epoch else 1
    assert state["modules"] == {"": dict(sizes=list(range(1, steps + 1)))}


class Batchwise(Noisy):
    def __getitems__(self, batch):
        return [self[i] for i in batch]


def test_what_cannot_be_exact_is_said_before_training(train, monkeypatch):
    options = dict(by_epoch=False, validate=False)
    _, log = train(1, "batchwise", dataset=Batchwise(), **options)
    assert "not be exactly the one that was interrupted: Batchwise loads whole" in log
    _, log = train(1, "forward", train_cfg=dict(fast_forward_on_resume=True), **options)
    assert "fast_forward_on_resume=True begins the images anew" in log
    dataset = Noisy()
    keeping = type("CachedMosaic", (), dict(results_cache=[]))()
    dataset.dataset = type("Inner", (), {})()
    dataset.dataset.pipeline = type("Compose", (), dict(transforms=[keeping]))()
    _, log = train(1, "mosaic", dataset=dataset, **options)
    assert "CachedMosaic keeps images of earlier batches" in log


def test_without_the_hook_it_is_not(train):
    whole, _ = train(4, "whole", hooks=())
    train(2, hooks=())
    resumed, _ = train(4, hooks=(), resume=True)
    assert not same(resumed, whole)
    # With the hook, but from a checkpoint without its state.
    train(2, "old", hooks=())
    resumed, log = train(4, "old", resume=True)
    assert not same(resumed, whole)
    assert "the checkpoint has no random state (it was written without" in log


def test_validation_changes_nothing_and_the_best_checkpoint_resumes_too(train):
    never, _ = train(3, "never", validate=False)
    often, _ = train(3, "often")
    assert same(often, never)
    # save_best writes the checkpoint of the epoch once more, during validation.
    train(1, "best", checkpoint=dict(save_best="score", rule="greater"))
    resumed, _ = train(3, "best", resume=True)
    assert same(resumed, never)


def test_load_from_starts_a_new_run(train, tmp_path):
    train(1)
    start = dict(load_from=str(tmp_path / "run" / "epoch_1.pth"))
    a, log = train(2, "a", **start)
    saved = torch.load(start["load_from"], weights_only=False)
    del saved["random_state"]
    torch.save(saved, start["load_from"])
    b, _ = train(2, "b", validate=False, **start)
    assert "RandomStateHook: " not in log
    assert same(a, b)


def test_the_checkpoint_stays_readable_where_only_tensors_are_allowed(train, tmp_path):
    train(1)
    saved = load_pickle(tmp_path / "run" / "epoch_1.pth")
    (state,) = saved["random_state"]["states"]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    np.random.randn(), random.gauss(0, 1)  # both keep a second number for later
    before = random_state()
    draws = (
        random.gauss(0, 1),
        np.random.randn(),
        np.random.rand(),
        float(torch.rand(1)),
    )
    set_random_state(state)
    assert random.gauss(0, 1) != draws[0]
    set_random_state(before)
    assert draws == (
        random.gauss(0, 1),
        np.random.randn(),
        np.random.rand(),
        float(torch.rand(1)),
    )


def test_another_number_of_processes_is_said(train, monkeypatch):
    train(1)
    monkeypatch.setattr(module, "get_world_size", lambda: 2)
    _, log = train(2, resume=True)
    assert "has the random state of 1 process(es), this run has 2, so" in log


def test_each_process_gets_its_own_state_back(train, monkeypatch, tmp_path):
    def gather(mine):
        other = dict(mine, torch=torch.zeros_like(mine["torch"]))
        return [other, mine]

    monkeypatch.setattr(module, "get_world_size", lambda: 2)
    monkeypatch.setattr(module, "get_rank", lambda: 1)
    monkeypatch.setattr(module, "all_gather_object", gather)
    whole, _ = train(3, "whole")
    train(1)
    saved = load_pickle(tmp_path / "run" / "epoch_1.pth")["random_state"]["states"]
    assert len(saved) == 2 and not saved[0]["torch"].any()
    resumed, _ = train(3, resume=True)
    assert same(resumed, whole)


class Spied(Noisy):
    """Writes down what it drew."""

    def __init__(self, path):
        self.path = path

    def __getitem__(self, i):
        item = super().__getitem__(i)
        with self.path.open("a") as file:
            file.write(f"{item['inputs'].tolist()}\n")
        return item


def one_of_two_processes(rank, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    for name, epochs, resume, unit in (
        ("whole", 2, False, "epoch"),
        ("run", 1, False, "epoch"),
        ("run", 2, True, "epoch"),
        ("whole_by_iterations", 4, False, "iter"),
        ("run_by_iterations", 3, False, "iter"),
        ("run_by_iterations", 4, True, "iter"),
    ):
        by_epoch = unit == "epoch"
        kind = "DefaultSampler" if by_epoch else "InfiniteSampler"
        Runner(
            Toy(),
            str(folder / name),
            train_dataloader=dict(
                dataset=Spied(folder / f"{name}_rank{rank}.txt"),
                batch_size=2,
                sampler=dict(type=kind, shuffle=True),
            ),
            train_cfg={"by_epoch": by_epoch, f"max_{unit}s": epochs},
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
            default_hooks=dict(
                checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=by_epoch)
            ),
            custom_hooks=[HOOK],
            randomness=dict(seed=0, diff_rank_seed=True),
            resume=resume,
            experiment_name=f"{name}{epochs}",
        ).train()
        dist.barrier()


def test_two_processes(tmp_path):
    spawn_two(one_of_two_processes, tmp_path)
    drawn = {
        (name, rank): (tmp_path / f"{name}_rank{rank}.txt").read_text().splitlines()
        for name in ("whole", "run", "whole_by_iterations", "run_by_iterations")
        for rank in (0, 1)
    }
    assert drawn["run", 0] == drawn["whole", 0] and len(drawn["run", 0]) == 8
    assert drawn["run", 1] == drawn["whole", 1]
    assert not set(drawn["run", 0]) & set(drawn["run", 1])
    for rank in (0, 1):
        done = drawn["run_by_iterations", rank]
        assert done == drawn["whole_by_iterations", rank] and len(done) == 8
    log = max((tmp_path / "run_by_iterations").glob("*/*.log")).read_text()
    assert "go on as the checkpoint left them." in log
