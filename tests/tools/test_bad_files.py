"""Unsafe and damaged checkpoints and full disks, as the user of a tool sees them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import mmengine
import pytest
import torch
from mmengine.runner import CheckpointLoader

pytestmark = pytest.mark.slow

LANGUAGE = (
    "model.backbone._delete_=True", "model.backbone.type=lbbt_mm.LanguageBackbone",
)  # fmt: skip


class Poison:
    """A pickle that makes a folder when it is opened as pickles usually are."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.fixture
def poison(project, trained) -> Path:
    """A checkpoint of this project, good but for one entry."""
    content = torch.load(trained.work_dir / "epoch_1.pth", weights_only=False)
    content["more"] = Poison(project.root / "code-ran")
    path = project.root / "poison.pth"
    torch.save(content, path)
    return path


# ---------------------------------------------------------------- files that run code


def overrides(*options: str):
    return ("--cfg-options", *options)


@pytest.mark.parametrize(
    "command",
    [
        ("train.py", "--resume", "poison.pth"),
        ("train.py", *overrides("load_from=poison.pth")),
        ("train.py", *overrides(
            "model.backbone.init_cfg.type=Pretrained",
            "model.backbone.init_cfg.checkpoint=poison.pth")),
        ("test.py", "poison.pth"),
        ("linear_probe.py", "poison.pth"),
        ("linear_probe.py", *overrides(
            "model.backbone.init_cfg.type=Pretrained",
            "model.backbone.init_cfg.checkpoint=poison.pth")),
        ("train.py", *overrides(*LANGUAGE, "model.backbone.language_model=poison.pth")),
    ],
    ids=lambda command: " ".join(command)[:60],
)  # fmt: skip
def test_no_tool_runs_code_from_a_checkpoint(project, poison, failing, command) -> None:
    message = failing(*command)
    assert "poison.pth cannot be read" in message
    assert "mkdir, which could run code" in message
    assert not (project.root / "code-ran").exists()
    assert not list(project.work_dir.rglob("*.pth"))


def test_nor_from_the_latest_one_in_the_work_folder(project, poison, failing) -> None:
    project.work_dir.mkdir()
    poison.rename(project.work_dir / "epoch_1.pth")
    (project.work_dir / "last_checkpoint").write_text(
        str(project.work_dir / "epoch_1.pth")
    )
    assert "could run code" in failing("train.py", "--resume")
    assert not (project.root / "code-ran").exists()


def test_nor_from_an_address(project, poison, monkeypatch) -> None:
    def download(url: str, path: str, progress: bool) -> None:
        Path(path).write_bytes(poison.read_bytes())

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(project.root / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for address in ("https://example.org/a.pth?x=1", "mmcls://resnet50"):
        with pytest.raises(RuntimeError, match="mkdir, which could run code"):
            CheckpointLoader.load_checkpoint(address, map_location="cpu")
    assert (project.root / "hub" / "checkpoints" / "a.pth").is_file()
    assert not (project.root / "code-ran").exists()


def test_what_a_user_sees_is_one_line_and_a_status(project, poison) -> None:
    output = project.tool("train.py", "--resume", poison, ok=False)
    assert "Traceback" not in output
    assert output.strip().splitlines()[-1].startswith("train.py: error: ")
    assert not (project.root / "code-ran").exists()


# --------------------------------------------------------------------- damaged files


@pytest.mark.parametrize(
    "command",
    [
        ("train.py", "--cfg-options", "load_from=cut.pth"),
        ("test.py", "cut.pth"),
        ("linear_probe.py", "cut.pth"),
    ],
    ids=lambda command: command[0],
)
def test_a_truncated_checkpoint(project, trained, failing, command) -> None:
    content = (trained.work_dir / "epoch_1.pth").read_bytes()
    cut = project.root / "cut.pth"
    cut.write_bytes(content[: len(content) // 2])
    message = failing(*command)
    assert "cut.pth cannot be read" in message and "truncated" in message
    assert cut.stat().st_size == len(content) // 2


def test_a_checkpoint_without_a_state_dict(project, failing) -> None:
    torch.save([1, 2], project.root / "list.pth")
    assert "holds a list; expected a state dict" in failing(
        "linear_probe.py", "list.pth"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("somebody/gone", ["hub cache", "models--somebody--gone", "--local-dir"]),
        ("./gone", ["no file or folder", "gone"]),
    ],
)
def test_a_language_model_that_is_not_there(project, failing, name, words) -> None:
    options = overrides(*LANGUAGE, f"model.backbone.language_model={name}")
    for tool_name in ("train.py", "linear_probe.py"):
        message = failing(tool_name, *options)
        assert all(word in message for word in words)


# ----------------------------------------------------------------------- a full disk


@pytest.fixture
def full_disk(monkeypatch):
    """Let writes of one kind of file stop halfway."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write_bytes, dump = Path.write_bytes, mmengine.dump

    def half_text(self, data):
        if not self.name.endswith(".part"):
            return write_bytes(self, data)
        write_bytes(self, data[: len(data) // 2])
        raise full

    def half_dump(obj, file=None, *args, **kwargs):
        if ".part." not in str(file):
            return dump(obj, file, *args, **kwargs)
        Path(file).write_bytes(b"half")
        raise full

    monkeypatch.setattr(Path, "write_bytes", half_text)
    monkeypatch.setattr(mmengine, "dump", half_dump)


@pytest.mark.parametrize("suffix", ["json", "pkl"])
def test_metrics_and_predictions(
    project, trained, failing, full_disk, capfd, suffix
) -> None:
    out = project.root / f"out.{suffix}"
    out.write_bytes(b"of an earlier run")
    message = failing("test.py", trained.work_dir / "epoch_1.pth", "--out", out)
    assert f"written to {out} (No space left on device). Free some" in message
    assert out.read_bytes() == b"of an earlier run"
    assert not list(project.root.glob(".*"))
    # The evaluation is not lost: its metrics are in the log.
    assert "accuracy/top1" in "".join(capfd.readouterr())


def test_a_probes_result(project, trained, failing, full_disk, capfd) -> None:
    out = project.work_dir / "linear_probe.json"
    project.work_dir.mkdir()
    out.write_bytes(b"of an earlier run")
    message = failing(
        "linear_probe.py", trained.work_dir / "epoch_1.pth", "--epochs", "2"
    )
    assert f"the result above could not be written to {out} (No space" in message
    assert "last epoch (2)" in capfd.readouterr().out
    assert out.read_bytes() == b"of an earlier run"
    assert not list(project.work_dir.glob(".*"))
    assert len(list((project.work_dir / "features").glob("*.safetensors"))) == 2


def test_a_file_appears_whole_or_not_at_all(tool, project) -> None:
    launch = tool("train.py", project.config)._launch
    path = project.root / "deep" / "a.json"
    seen = []
    launch.write_whole(path, lambda p: (seen.append(path.exists()), p.write_text("1")))
    assert path.read_text() == "1" and seen == [False]

    def fails(part: Path) -> None:
        part.write_text("2")
        raise OSError(errno.EIO, "no more")

    with pytest.raises(OSError, match="no more"):
        launch.write_whole(path, fails)
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    assert json.loads(path.read_text()) == 1
