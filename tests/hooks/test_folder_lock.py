"""Two trainings in one work folder: the second ends in a sentence."""

from __future__ import annotations

import errno
import os
import platform
import signal
from pathlib import Path

import pytest
import torch
from forked import ForkedScript
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from lbbt_mm import folder_lock
from lbbt_mm.folder_lock import FolderInUseError, FolderLock, is_free

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import os, sys, time
from lbbt_mm.folder_lock import FolderLock
FolderLock(sys.argv[1])
if os.fork() == 0:  # as a data loader's worker that outlives the run
    time.sleep(30)
    os._exit(0)
print("locked", flush=True)
time.sleep(30)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder."""
    process = ForkedScript(["-c", HOLD, tmp_path], tmp_path)
    assert process.stdout.readline() == "locked\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs, mode="tensor"):
        return dict(loss=self.linear(torch.stack(inputs)).sum())


def train(folder, name):
    runner = Runner(
        Toy(),
        str(folder),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(2))],
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
        custom_hooks=[dict(type="lbbt_mm.FolderLockHook")],
        experiment_name=f"{folder.name}_{name}",
    )
    runner.train()


def test_the_second_is_told_of_the_first_until_that_is_gone(other, tmp_path):
    assert not is_free(tmp_path)
    words = rf"process {other.pid} on .* is at work in {tmp_path}, and two would"
    with pytest.raises(FolderInUseError, match=words):
        train(tmp_path, "refused")
    assert not (tmp_path / "epoch_1.pth").exists()
    other.kill()  # its child lives on, and has the file open
    other.wait()
    assert is_free(tmp_path)
    train(tmp_path, "goes on")
    assert (tmp_path / "epoch_1.pth").exists()
    assert not (tmp_path / ".lock").exists()


def test_one_process_may_enter_twice(tmp_path):
    first = FolderLock(tmp_path)
    second = FolderLock(tmp_path)
    second.release()
    assert (tmp_path / ".lock").exists(), "the first still has it"
    first.release()
    first.release()
    assert is_free(tmp_path) and is_free(tmp_path / "missing")
    train(tmp_path, "one")
    train(tmp_path, "two")


def test_a_disk_without_locks(other, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock, "_lock", refuse)
    with pytest.raises(FolderInUseError, match=f"process {other.pid} on") as caught:
        FolderLock(tmp_path)
    # It may have been of another machine, which nobody can ask.
    assert f"If that process is gone, remove {tmp_path}/.lock." in str(caught.value)
    other.kill()
    other.wait()
    FolderLock(tmp_path).release()
    (tmp_path / ".lock").write_text(f'{{"pid": "x", "machine": "{platform.node()}"}}')
    FolderLock(tmp_path).release()


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError):
            FolderLock(path)
