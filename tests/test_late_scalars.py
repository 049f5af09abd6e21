"""A log whose numbers stay on the device says what a log says."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lbbt_mm.late_scalars import update_late, waiting_of

STEPS = 8


class Reads(TorchDispatchMode):
    """Counts what makes a processor wait: values that become Python numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.single = self.together = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.single += func is torch.ops.aten._local_scalar_dense.default
        # What a reading of all begins with; clipping stacks two norms.
        stack = func is torch.ops.aten.stack.default
        self.together += stack and len(args[0]) > 2
        return func(*args, **(kwargs or {}))


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        out = self.linear(torch.cat(inputs).view(-1, 4))
        accuracy = (out.argmax(1) == 0).float().mean() * 100
        return dict(loss=out.square().mean(), accuracy=accuracy)


class Count(Hook):
    """Counts from the second iteration on, which has seen every name."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.reads = Reads()
        self.counts: list[tuple[int, int]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.reads.__enter__()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.reads.__exit__(None, None, None)
        self.counts.append((self.reads.single, self.reads.together))


def run(tmp_path, deferred: bool, name: str, **settings):
    torch.manual_seed(0)
    data = [dict(inputs=torch.randn(4)) for _ in range(2 * STEPS)]
    loader = dict(
        dataset=data, batch_size=2, sampler=dict(type="DefaultSampler", shuffle=False)
    )
    kind = "lbbt_mm.AutocastOptimWrapper" if deferred else "OptimWrapper"
    precision = dict(dtype="float32") if deferred else {}
    info = dict(type="lbbt_mm.DeferredLogHook", interval=4) if deferred else {}
    count = Count()
    runner = Runner(
        Toy(),
        str(tmp_path / name),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(
            type=kind,
            optimizer=dict(type="SGD", lr=0.5),
            clip_grad=dict(max_norm=0.1),
            **precision,
        ),
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=4),
            checkpoint=dict(type="CheckpointHook", interval=1),
            **(dict(runtime_info=info) if deferred else {}),
        ),
        custom_hooks=[count],
        experiment_name=f"{tmp_path.name}_{name}",
        **settings,
    )
    runner.train()
    (log,) = (tmp_path / name).glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        for changing in ("time", "data_time", "memory"):
            line.pop(changing, None)
    return runner, lines, count.counts


def test_the_log_and_the_checkpoint_are_those_of_mmengine(tmp_path) -> None:
    plain, expected, _ = run(tmp_path, False, "plain")
    late, found, _ = run(tmp_path, True, "late")
    assert found == expected
    assert len(found) == 4 and {"loss", "accuracy", "grad_norm"} <= set(found[0])
    hubs = [
        torch.load(tmp_path / name / "epoch_1.pth", weights_only=False)["message_hub"]
        for name in ("plain", "late")
    ]
    for key in ("train/loss", "train/accuracy", "train/grad_norm"):
        before, after = (hub["log_scalars"][key] for hub in hubs)
        assert type(after) is HistoryBuffer  # of a file that needs no lbbt_mm
        assert [x.tolist() for x in after.data] == [x.tolist() for x in before.data]
        assert len(after.data[0]) == STEPS


def test_a_resumed_run_goes_on_with_the_history(tmp_path) -> None:
    run(tmp_path, True, "late")
    checkpoint = str(tmp_path / "late" / "epoch_1.pth")
    runner, _, _ = run(tmp_path, True, "again", load_from=checkpoint, resume=True)
    whole = len(runner.message_hub.get_scalar("train/loss").data[0])
    assert whole == 2 * STEPS


def test_a_step_reads_nothing_and_an_interval_once(tmp_path) -> None:
    _, _, plain = run(tmp_path, False, "plain")
    _, _, late = run(tmp_path, True, "late")
    steps = [b[0] - a[0] for a, b in zip(plain[1:], plain[2:], strict=False)]
    assert set(steps) == {3}  # norm, loss and accuracy
    assert late[-1][0] == late[0][0]  # none after the first iteration
    readings = [b[1] - a[1] for a, b in zip(late, late[1:], strict=False)]
    assert readings == [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]


@pytest.fixture()
def hub(request):
    return MessageHub.get_instance(request.node.name)


def test_whoever_reads_sees_all_in_order(hub) -> None:
    for value in (1.0, 2.0):
        update_late(hub, "train/loss", torch.tensor(value))
    update_late(hub, "train/count", 3)
    hub.update_scalar("train/loss", 4.0)
    update_late(hub, "train/loss", torch.tensor([5], dtype=torch.int64))
    update_late(hub, "train/loss", torch.tensor(6.0, dtype=torch.bfloat16))
    buffer = hub.get_scalar("train/loss")
    assert buffer.current() == 6
    assert buffer.data[0].tolist() == [1, 2, 4, 5, 6]
    assert buffer.data[1].tolist() == [1] * 5
    assert buffer.mean(2) == 5.5 and buffer.max() == 6 and buffer.min() == 1
    assert waiting_of(hub) == []


def test_a_copy_is_mmengines_own(hub) -> None:
    for value in (1.0, 2.0, 3.0):
        update_late(hub, "train/loss", torch.tensor(value))
    buffer = hub.get_scalar("train/loss")
    for same in (copy.deepcopy(buffer), pickle.loads(pickle.dumps(buffer))):
        assert type(same) is HistoryBuffer and same.data[0].tolist() == [1, 2, 3]


def test_a_history_keeps_its_longest_length(hub) -> None:
    hub.update_scalar("train/loss", 0.0)
    hub.log_scalars["train/loss"].max_length = 3
    for value in range(1, 6):
        update_late(hub, "train/loss", torch.tensor(float(value)))
    assert hub.get_scalar("train/loss").data[0].tolist() == [3, 4, 5]


def test_what_waits_is_bounded(hub, monkeypatch) -> None:
    monkeypatch.setattr("lbbt_mm.late_scalars._MOST", 3)
    for value in range(10):
        update_late(hub, "train/loss", torch.tensor(float(value)))
        assert len(waiting_of(hub)) < 3


def test_an_interval_of_nothing_is_refused() -> None:
    from lbbt_mm.hooks import DeferredLogHook

    with pytest.raises(ValueError, match="interval of 1 or more, got 0"):
        DeferredLogHook(interval=0)
