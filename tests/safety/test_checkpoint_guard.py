"""`import lbbt_mm` is enough: a plain Runner runs no code out of checkpoints."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import os
import subprocess
import sys
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from torch import nn

import lbbt_mm
from lbbt_mm.language import CheckpointError
from lbbt_mm.safety.checkpoint_guard import TRUST, guard_checkpoints

ROOT = Path(__file__).resolve().parents[2]


class Poison:
    """A pickle that makes a folder when it is opened as pickles usually are."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


class Model(BaseModel):
    def __init__(self, init_cfg=None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.linear = nn.Linear(1, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return dict(loss=self.linear(inputs).sum())


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def poison(request, tmp_path) -> Path:
    content = dict(
        state_dict=Model().state_dict(),
        meta=dict(epoch=1, iter=1),
        message_hub=Poison(tmp_path / "code-ran"),
    )
    path = tmp_path / "poison.pth"
    torch.save(content, path, _use_new_zipfile_serialization=request.param)
    return path


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path):
    yield
    assert not (tmp_path / "code-ran").exists()


def runner(tmp_path: Path, init_cfg=None, **options) -> Runner:
    model = Model(init_cfg=init_cfg)
    return Runner(
        model,
        str(tmp_path / "work"),
        train_dataloader=dict(
            dataset=[torch.ones(1)],
            sampler=dict(type="DefaultSampler", shuffle=False),
            batch_size=1,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)),
        experiment_name=tmp_path.name,
        **options,
    )


@pytest.mark.parametrize("way", ["load_from", "resume", "init_cfg"])
def test_a_plain_runner(way, poison, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    options = dict(load_from=str(poison))
    if way == "resume":
        options["resume"] = True
    elif way == "init_cfg":
        options = dict(init_cfg=dict(type="Pretrained", checkpoint=str(poison)))
    with pytest.raises(CheckpointError, match="calls .*mkdir, which could run code"):
        runner(tmp_path, **options).train()


def test_latest_checkpoint_of_the_work_folder(poison, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    started = runner(tmp_path, resume=True)
    Path(started.work_dir, "last_checkpoint").write_text(str(poison))
    with pytest.raises(CheckpointError, match="could run code"):
        started.train()


def test_addresses_and_storage_services(poison, tmp_path, monkeypatch) -> None:
    def download(url: str, path: str, progress: bool) -> None:
        Path(path).write_bytes(poison.read_bytes())

    class Service:
        def get(self, name: str) -> bytes:
            return poison.read_bytes()

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(
        "mmengine.runner.checkpoint.get_file_backend", lambda *_, **__: Service()
    )
    for address in ("https://example.org/a.pth?x=1", "mmcls://resnet50", "s3://b/c"):
        with pytest.raises(CheckpointError, match="could run code"):
            CheckpointLoader.load_checkpoint(address, map_location="cpu")


@pytest.mark.slow
def test_whatever_is_imported_first(tmp_path) -> None:
    path = tmp_path / "poison.pth"
    torch.save(Poison(tmp_path / "code-ran"), path)
    code = """if True:
        import sys
        import lbbt_mm.registry  # of a config that says type='lbbt_mm.X'
        assert "torch" not in sys.modules, "importing is light"
        from mmengine.runner import CheckpointLoader
        try:
            CheckpointLoader.load_checkpoint(sys.argv[1])
        except RuntimeError as error:
            print("refused", type(error).__name__)
    """
    said = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True
    )
    assert said.stdout.endswith("refused CheckpointError\n"), said.stderr


def content() -> dict:
    """All that was ever seen in the checkpoints of mmengine and its users."""
    history = HistoryBuffer()
    history.update(1.5)
    return dict(
        history=history,
        numbers=[np.int64(3), np.float32(1), np.bool_(True), np.str_("x")],
        arrays=[
            *(np.arange(3), np.ones(2, dtype="f2"), np.array(["a", "bc"])),
            *(np.array([1, "a", None], dtype=object), np.zeros(2, dtype=">i4")),
        ],
        random=np.random.get_state(),
        config=ConfigDict(a=dict(b=[1, dict(c=2)])),
        ordered=collections.OrderedDict(a=1),
        default=collections.defaultdict(list, a=[1]),
        when=datetime.datetime(2024, 1, 2),
        plain=({1, 2}, frozenset([1]), 1j, bytearray(b"x"), range(3), slice(1)),
        where=PosixPath("/a"),
        tensor=torch.ones(1),
    )


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_what_is_data_loads(new, tmp_path) -> None:
    path = tmp_path / "good.pth"
    for name, value in content().items():
        torch.save({name: value}, path, _use_new_zipfile_serialization=new)
        loaded = CheckpointLoader.load_checkpoint(str(path), "cpu")[name]
        if name == "history":
            assert loaded.current() == value.current()
        elif name in ("arrays", "random"):
            assert all(map(np.array_equal, loaded, value))
        else:
            assert loaded == value


def test_what_a_run_saves_loads(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    saved = runner(tmp_path)
    saved.train()
    again = runner(tmp_path, load_from=f"{saved.work_dir}/epoch_2.pth", resume=True)
    again.load_or_resume()
    assert again.epoch == 2


def test_what_stays_as_it_was(poison, tmp_path, monkeypatch) -> None:
    # A file that is not there raises what mmengine raises.
    with pytest.raises(FileNotFoundError):
        load_checkpoint(Model(), str(tmp_path / "no.pth"))
    # A loader that somebody registered is used.
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
    mine = dict(state_dict=Model().state_dict())
    CheckpointLoader.register_scheme("mine://", lambda name, where: mine)
    guard_checkpoints()
    assert CheckpointLoader.load_checkpoint("mine://x") is mine
    # torch.load is torch's.
    assert torch.load.__module__ == "torch.serialization"


def test_the_ways_out(tmp_path, monkeypatch) -> None:
    path = tmp_path / "options.pth"
    torch.save(dict(args=argparse.Namespace(a=1)), path)
    with pytest.raises(CheckpointError, match="argparse.Namespace"):
        CheckpointLoader.load_checkpoint(str(path))
    if hasattr(torch.serialization, "safe_globals"):
        with torch.serialization.safe_globals([argparse.Namespace]):
            assert CheckpointLoader.load_checkpoint(str(path))["args"].a == 1
    monkeypatch.setenv(TRUST, "1")
    assert CheckpointLoader.load_checkpoint(str(path))["args"].a == 1
    buffer = io.BytesIO(path.read_bytes())
    assert lbbt_mm.safety.checkpoint_guard._load(buffer)["args"].a == 1
