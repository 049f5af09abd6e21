"""A checkpoint is complete or absent, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import tracemalloc

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from lbbt_mm import files
from lbbt_mm.hooks import AtomicCheckpointHook, CheckpointWriteError
from lbbt_mm.hooks.atomic_checkpoint import (
    AtomicLocalBackend,
    is_complete,
    latest_checkpoint,
)


class Toy(BaseModel):
    def __init__(self, size=64):
        super().__init__()
        self.linear = nn.Linear(64, size * size // 64)

    def forward(self, inputs, mode="tensor"):
        if mode != "loss":
            return [{}]
        return dict(loss=self.linear(torch.stack(inputs)).pow(2).sum())


class LateState(Hook):
    """Adds to a checkpoint as late as a hook can."""

    priority = "LOWEST"

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint["late"] = 7


@pytest.fixture
def train(tmp_path):
    def train(
        epochs,
        resume=False,
        folder=tmp_path,
        score=False,
        size=64,
        hooks=(),
        **checkpoint,
    ):
        validation = dict(
            val_dataloader=dict(
                dataset=[dict(inputs=torch.ones(64))],
                sampler=dict(type="DefaultSampler", shuffle=False),
            ),
            val_cfg=dict(),
            val_evaluator=Evaluator([Score(prefix="")]),
        )
        runner = Runner(
            Toy(size),
            str(folder),
            train_dataloader=dict(
                dataset=[dict(inputs=torch.ones(64))] * 2,
                sampler=dict(type="DefaultSampler", shuffle=False),
                batch_size=2,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
            default_hooks=dict(
                checkpoint=dict(
                    type="lbbt_mm.AtomicCheckpointHook", interval=1, **checkpoint
                )
            ),
            custom_hooks=list(hooks),
            resume=resume,
            experiment_name=f"{folder.name}_{epochs}_{resume}",
            **(validation if score else {}),
        )
        runner.train()
        return runner

    return train


def names(folder):
    """Files with weights, and parts of them, whose names are their own."""
    found = [path.name for path in folder.iterdir() if ".pth" in path.name]
    return sorted(re.sub(r"pth\..*\.part(\.pth)?", "pth.part", name) for name in found)


class Full:
    """Stands for os.fsync: the disk is full when checkpoint number n is written."""

    def __init__(self, n):
        self.n = n

    def __call__(self, descriptor):
        self.n -= 1
        if self.n <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_only_the_newest_is_kept_once_it_is_there(train, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(files.os, "fsync", lambda _: seen.append(names(tmp_path)))
    train(3, max_keep_ckpts=1)
    # While a checkpoint is written, the one before it is still there.
    assert seen == [
        [".epoch_1.pth.part"],
        [".epoch_2.pth.part", "epoch_1.pth"],
        [".epoch_3.pth.part", "epoch_2.pth"],
    ]
    assert names(tmp_path) == ["epoch_3.pth"]
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_3.pth")


def limited(put, n):
    """``put``, but write number n gets past half of its bytes, and no further."""
    writes = []

    def limited_put(self, obj, filepath):
        writes.append(filepath)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if len(writes) == n:
            half = os.path.getsize(writes[0]) // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (half, limits[1]))
        try:
            put(self, obj, filepath)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited_put


@pytest.mark.parametrize("reason", ["No space left on device", "File too large"])
def test_a_failing_write_is_one_sentence_and_the_earlier_one_is_intact(
    train, tmp_path, monkeypatch, reason
):
    if reason == "File too large":  # the kernel's own error, with half of it written
        put = AtomicLocalBackend.put
        monkeypatch.setattr(AtomicLocalBackend, "put", limited(put, 2))
    else:
        monkeypatch.setattr(files.os, "fsync", Full(2))
    with pytest.raises(CheckpointWriteError) as caught:
        train(3, max_keep_ckpts=1)
    assert str(caught.value) == (
        f"The checkpoint {tmp_path}/epoch_2.pth could not be written ({reason}). The "
        f"earlier one, {tmp_path}/epoch_1.pth, is intact: free some space and go on "
        "from it with --resume."
    )
    assert names(tmp_path) == ["epoch_1.pth"], "and no half file"
    monkeypatch.undo()
    runner = train(3, resume=True, max_keep_ckpts=1)
    assert runner.epoch == 3 and names(tmp_path) == ["epoch_3.pth"]


def test_a_full_disk_at_the_first_one(train, tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "fsync", Full(1))
    with pytest.raises(
        CheckpointWriteError, match="There is no earlier one: free some"
    ):
        train(2)
    assert names(tmp_path) == []


def test_torchs_own_form_of_a_full_disk(train, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write")

    monkeypatch.setattr("mmengine.runner.checkpoint.torch.save", fail)
    with pytest.raises(
        CheckpointWriteError, match=r"epoch_1.pth could not .*StreamWri"
    ):
        train(1)


def test_other_errors_stay_what_they_are(train, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Runner, "save_checkpoint", fail)
    with pytest.raises(RuntimeError, match="^a bug$"):
        train(1)


def test_it_is_streamed_and_what_every_hook_left_is_in_it(train, tmp_path):
    """The largest Python object while it is written is smaller than the weights."""
    tracemalloc.start()
    try:
        train(2, size=1024, hooks=[LateState()])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    weights = 4 * 1024**2
    assert (tmp_path / "epoch_2.pth").stat().st_size > weights > 2 * peak
    found = torch.load(tmp_path / "epoch_2.pth", weights_only=False)
    assert {"meta", "state_dict", "optimizer", "message_hub"} <= set(found)
    assert found["late"] == 7 and "streamed" not in found
    assert AtomicLocalBackend.streams == {}


def test_a_killed_write_leaves_the_earlier_one_whole(train, tmp_path, monkeypatch):
    train(1)
    path = tmp_path / "epoch_2.pth"
    whole = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    pid = os.fork()
    if not pid:  # dies in the middle of the second file

        def die(checkpoint, file):
            file.write(b"PK half of a file")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(torch, "save", die)
        monkeypatch.setitem(AtomicLocalBackend.streams, "word", whole)
        AtomicLocalBackend().put(b"a word", path)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert names(tmp_path) == [".epoch_2.pth.part", "epoch_1.pth"]
    assert latest_checkpoint(tmp_path) == str(tmp_path / "epoch_1.pth")
    assert train(2, resume=True).epoch == 2
    assert names(tmp_path) == ["epoch_1.pth", "epoch_2.pth"], "and its part is gone"


def test_a_validation_without_a_training_writes_nothing(train, tmp_path):
    runner = train(1, score=True)
    again = Runner(
        Toy(),
        str(tmp_path / "val"),
        val_dataloader=runner.val_dataloader,
        val_cfg=dict(),
        val_evaluator=Evaluator([Score(prefix="")]),
        default_hooks=dict(checkpoint=dict(type="lbbt_mm.AtomicCheckpointHook")),
        experiment_name=f"{tmp_path.name}_val",
    )
    assert again.val()
    assert names(tmp_path / "val") == []


def test_another_backend_gets_the_whole_file(train, tmp_path):
    train(1, backend_args=dict(backend="local"))
    assert torch.load(tmp_path / "epoch_1.pth", weights_only=False)["state_dict"]


class Clock:
    """An epoch takes ten seconds, and a checkpoint as many as it is told."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def monotonic(self):
        return self.now


class Epochs(Hook):
    def __init__(self, clock):
        self.clock = clock

    def before_train_epoch(self, runner):
        self.clock.now += 10

    def before_save_checkpoint(self, runner, checkpoint):
        self.clock.now += self.clock.seconds


@pytest.mark.parametrize(
    ("settings", "written"),
    [
        # 0.5 s of 2 % are 25 s: every third epoch, and the last one.
        (dict(max_share=0.02, max_keep_ckpts=1), [1, 4, 7, 8]),
        (dict(max_share=0.1, max_keep_ckpts=1), [1, 2, 3, 4, 5, 6, 7, 8]),
        (dict(max_share=0.02), [1, 2, 3, 4, 5, 6, 7, 8]),  # whoever keeps all wants all
        (dict(max_keep_ckpts=1), [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_a_checkpoint_is_not_written_more_often_than_it_is_worth(
    train, monkeypatch, settings, written
):
    clock = Clock(0.5)
    monkeypatch.setattr("lbbt_mm.hooks.atomic_checkpoint.time", clock)
    seen = []

    def note(self, obj, filepath):
        seen.append(int(re.findall(r"epoch_(\d+)", str(filepath))[0]))

    monkeypatch.setattr(AtomicLocalBackend, "put", note)
    train(8, hooks=[Epochs(clock)], **settings)
    assert seen == written


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match="such as 0.02, or None, got 2"):
        AtomicCheckpointHook(interval=1, max_share=2)


@pytest.fixture
def saved(tmp_path):
    """Two complete checkpoints; the second is newer and `last_checkpoint`."""
    for i in (1, 2):
        torch.save(dict(i=i), tmp_path / f"epoch_{i}.pth")
        os.utime(tmp_path / f"epoch_{i}.pth", (i, i))
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
    return tmp_path


def test_the_named_one_then_the_newest_complete_one(saved):
    def latest():
        path = latest_checkpoint(saved)
        return path and os.path.basename(path)

    assert latest() == "epoch_2.pth"
    (saved / "last_checkpoint").write_text(str(saved / "epoch_1.pth"))
    assert latest() == "epoch_1.pth"
    # A folder that has moved, and a pointer that a full disk has emptied.
    (saved / "last_checkpoint").write_text("elsewhere/epoch_1.pth")
    assert latest() == "epoch_1.pth"
    (saved / "last_checkpoint").write_text("")
    assert latest() == "epoch_2.pth"
    # Half-written by a hook that is not atomic: every length is recognised.
    whole = (saved / "epoch_2.pth").read_bytes()
    for length in (0, 1, 2, 100, len(whole) // 2, len(whole) - 1):
        (saved / "epoch_2.pth").write_bytes(whole[:length])
        (saved / "last_checkpoint").write_text(str(saved / "epoch_2.pth"))
        assert latest() == "epoch_1.pth", length
    (saved / "epoch_1.pth").unlink()
    assert latest() is None
    assert latest_checkpoint(saved / "no_such_folder") is None


def test_a_copied_run_goes_on_from_the_copy(train, tmp_path):
    """mmengine's own `resume=True` follows the absolute path to the original."""
    train(2)
    copy = tmp_path.with_name(f"{tmp_path.name}_copy")
    shutil.copytree(tmp_path, copy)
    assert latest_checkpoint(copy) == str(copy / "epoch_2.pth")
    mark = torch.load(copy / "epoch_2.pth", weights_only=False)
    mark["state_dict"]["linear.weight"].fill_(7)
    torch.save(mark, copy / "epoch_2.pth")
    runner = train(2, resume=True, folder=copy)
    assert (runner.model.linear.weight == 7).all()
    # Without its weights, a copy has nothing to go on from but what is named.
    (copy / "epoch_2.pth").unlink()
    assert latest_checkpoint(copy) == str(copy / "epoch_1.pth")
    (copy / "epoch_1.pth").unlink()
    assert latest_checkpoint(copy) == str(tmp_path / "epoch_2.pth")


class Score(BaseMetric):
    """Better in every epoch."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=MessageHub.get_current_instance().get_info("epoch"))


def test_a_copied_run_leaves_the_best_checkpoint_of_the_original(train, tmp_path):
    best = dict(save_best="score", rule="greater", score=True)
    train(1, **best)
    copy = tmp_path.with_name(f"{tmp_path.name}_copy")
    shutil.copytree(tmp_path, copy)
    train(2, resume=True, folder=copy, **best)
    found = {
        folder: sorted(p.name for p in folder.glob("best*"))
        for folder in (tmp_path, copy)
    }
    assert found == {
        tmp_path: ["best_score_epoch_1.pth"],
        copy: ["best_score_epoch_2.pth"],
    }


def test_other_formats_count_as_complete(tmp_path):
    old = tmp_path / "old.pth"
    torch.save(dict(i=1), old, _use_new_zipfile_serialization=False)
    assert is_complete(old)
    shards = tmp_path / "deepspeed"
    shards.mkdir()
    assert not is_complete(shards)
    (shards / "shard").touch()
    assert is_complete(shards)
