"""kill -9 in mid-training, then --resume: as a user meets it."""

from __future__ import annotations

import errno
import json
import signal
import sys

import pytest
import torch
from forked import ForkedScript

pytestmark = pytest.mark.slow

# A hook that writes down what is trained on, and ends the process without a word.
SPY = """
import hashlib, json, os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

@HOOKS.register_module(force=True)
class Spy(Hook):
    def before_train(self, runner):
        if os.environ.get("KILL") == "save":  # half of the second checkpoint, then die
            from mmengine.fileio import LocalBackend
            from lbbt_mm import files
            writes = []
            def half(descriptor):
                writes.append(descriptor)
                if len(writes) == 2:
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                    die()
            files.os.fsync = half

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        pixels = hashlib.sha256(data_batch["inputs"][0].numpy().tobytes())
        samples = data_batch["data_samples"]
        record = [runner.iter, [s.gt_label.item() for s in samples],
                  [s.sample_idx for s in samples], pixels.hexdigest(),
                  outputs["loss"].item()]
        with open(os.path.join(runner.work_dir, "spy.jsonl"), "a") as file:
            file.write(json.dumps(record) + "\\n")
        if os.environ.get("KILL") == "iter" and runner.iter == 2:
            die()  # in the middle of the second of three epochs, two iterations each
"""

CONFIG = """
_base_ = 'tiny.py'
custom_imports = dict(imports=['spy'])
model = dict(backbone=dict(
    drop_rate=0.2, drop_path_rate=0.5, arch=dict(num_layers=3)))
train_cfg = dict(max_epochs=3)
default_hooks = dict(checkpoint=dict(
    type='lbbt_mm.AtomicCheckpointHook', max_keep_ckpts=1))
custom_hooks = [dict(type='lbbt_mm.RandomStateHook'), dict(type='Spy')]
"""


@pytest.fixture
def run(project, tool, monkeypatch):
    """Train in this process, or (KILL) in one that will not survive."""
    (project.root / "spy.py").write_text(SPY)
    project.config = project.root / "killed.py"
    project.config.write_text(CONFIG)
    monkeypatch.syspath_prepend(str(project.root))

    def run(work_dir, *options, kill=None):
        command = [project.config, "--work-dir", work_dir, "--amp", *options]
        if kill is None:
            tool("train.py", *command).main()
            return None
        done = ForkedScript(
            [project.tools / "train.py", *command, "--device", "cpu"],
            project.root,
            project.environment(PYTHONPATH=str(project.root), KILL=kill),
        )
        said, _ = done.communicate()
        assert done.returncode == -signal.SIGKILL, said
        return said

    yield run
    sys.modules.pop("spy", None)


def batches(work_dir):
    lines = (work_dir / "spy.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_equal(a, b, where=""):
    """The same tensors, bit by bit, and the same numbers, at any depth."""
    assert type(a) is type(b), where
    if torch.is_tensor(a):
        assert a.dtype == b.dtype and torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


@pytest.fixture
def whole(run, project):
    """The uninterrupted run."""
    run(project.root / "whole")
    return project.root / "whole"


def assert_as_if_nothing_had_happened(work, whole):
    a, b = (
        torch.load(folder / "epoch_3.pth", weights_only=False)
        for folder in (work, whole)
    )
    for key in ("state_dict", "optimizer", "random_state"):
        assert_equal(a[key], b[key], key)
    # Images, their order, labels, augmented pixels and losses.
    redone = {record[0]: record for record in batches(work)}
    assert list(redone.values()) == batches(whole)


def test_killed_in_mid_epoch(run, project, whole):
    work = project.work_dir
    run(work, kill="iter")
    assert [record[0] for record in batches(work)] == [0, 1, 2]
    assert sorted(p.name for p in work.glob("*.pth")) == ["epoch_1.pth"]
    run(work, "--resume")
    assert [record[0] for record in batches(work)] == [0, 1, 2, 2, 3, 4, 5]
    assert_as_if_nothing_had_happened(work, whole)


def test_killed_while_a_checkpoint_is_written(run, project, whole, capfd):
    work = project.work_dir
    run(work, kill="save")
    (part,) = work.glob(".epoch_2.pth.*.part.pth")
    assert 0 < part.stat().st_size < (work / "epoch_1.pth").stat().st_size
    assert not (work / "epoch_2.pth").exists()
    # Even if `last_checkpoint` were to name it.
    (work / "last_checkpoint").write_text(str(part))
    capfd.readouterr()
    run(work, "--resume")
    assert f"Going on from {work}/epoch_1.pth." in capfd.readouterr().out
    assert_as_if_nothing_had_happened(work, whole)
    assert not list(work.glob(".*.part*"))


def test_resume_from_half_a_checkpoint_is_refused(run, project):
    path = project.root / "half.pth"
    torch.save(dict(state_dict={}), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        SystemExit, match="half.pth is not complete: writing it was int"
    ):
        run(project.work_dir, "--resume", path)


def test_resume_of_nothing_starts(run, project, capfd):
    run(project.work_dir, "--resume", "--cfg-options", "train_cfg.max_epochs=1")
    assert "No complete checkpoint in" in capfd.readouterr().out
    assert (project.work_dir / "epoch_1.pth").is_file()


def test_a_resume_that_is_not_exact_says_so(run, project):
    options = ["--cfg-options", "custom_hooks=[]", "train_cfg.max_epochs=2"]
    run(project.work_dir, *options)
    (log,) = project.work_dir.glob("*/*.log")
    log.parent.rename(project.work_dir / "0")  # the next may begin in the same second
    run(project.work_dir, "--resume", *options[:2], "train_cfg.max_epochs=3")
    first, second = sorted(project.work_dir.glob("*/*.log"))
    said = "Without lbbt_mm.RandomStateHook the resumed run is a valid one, but not"
    assert said in second.read_text()
    assert said not in first.read_text()


def test_a_damaged_image_and_a_full_disk_end_in_one_sentence(run, project, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lbbt_mm.files.os.fsync", full)
        words = r"error: The checkpoint .*epoch_1.pth could not be written \(No space"
        with pytest.raises(SystemExit, match=words):
            run(project.work_dir)
    image = project.root / "train" / "light" / "2.png"
    image.write_bytes(b"")
    words = f"error: RandomLabelDataset: image 6, {image}, cannot be read"
    with pytest.raises(SystemExit, match=words):
        run(project.work_dir)
