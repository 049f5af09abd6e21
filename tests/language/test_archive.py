"""Files of torch.save that were packed again, cut or made up."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from lbbt_mm.language import CheckpointError, open_checkpoint, storage
from lbbt_mm.language.archive import check_archive
from lbbt_mm.language.storage import load_pickle


def repacked(
    source: Path,
    target: Path,
    compression: int = zipfile.ZIP_STORED,
    change: Callable[[str, bytes], bytes] = lambda name, data: data,
) -> Path:
    """Write an archive again, each record as ``change(name, data)``."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = change(entry.filename, old.read(entry.filename))
            new.writestr(entry.filename, data, compression)
    return target


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Numbers that compress, so that what is read in their place is another tensor."""
    tensors = {"a": torch.arange(8384.0), "b": torch.ones(50, 50), "c": torch.eye(90)}
    torch.save(tensors, tmp_path / "x.pth")
    return tmp_path / "x.pth"


@pytest.fixture(params=["this torch", "torch before 2.6"], autouse=True)
def torch_of_any_age(request, monkeypatch) -> None:
    if request.param != "this torch":
        monkeypatch.setattr(storage, "_weights_only_takes_exceptions", lambda: False)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_compressed_file_is_read_as_it_was(saved, tmp_path, kind, mmap) -> None:
    path = repacked(saved, tmp_path / "again.pth", kind)
    expected = torch.load(saved, weights_only=True)
    for name, tensor in load_pickle(path, mmap=mmap).items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("keep", [0, 0.5, 0.999, 2])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_storage_of_another_length_is_refused(saved, tmp_path, keep, mmap) -> None:
    def cut(name: str, data: bytes) -> bytes:
        return (data * 2)[: int(len(data) * keep)] if name.endswith("/data/0") else data

    path = repacked(saved, tmp_path / "cut.pth", change=cut)
    with pytest.raises(CheckpointError, match=r"needs 33536 bytes and has \d+\. "):
        load_pickle(path, mmap=mmap)


@pytest.mark.parametrize("huge", [8385, 2**27])
def test_a_shape_that_its_storage_does_not_hold(saved, tmp_path, huge) -> None:
    def lie(name: str, data: bytes) -> bytes:
        if not name.endswith("/data.pkl"):
            return data
        # The storage's length is left alone, the shape (8384,) is the second place.
        short, long = b"M" + (8384).to_bytes(2, "little"), b"J"
        first = data.index(short) + len(short)
        place = data.index(short, first) if short in data[first:] else -1
        assert place > 0
        return (
            data[:place]
            + long
            + huge.to_bytes(4, "little")
            + data[place + len(short) :]
        )

    path = repacked(saved, tmp_path / "lie.pth", change=lie)
    with pytest.raises(CheckpointError, match=rf"shape \[{huge}\] does not fit"):
        load_pickle(path)


def test_every_kind_of_content_passes(tmp_path: Path) -> None:
    whole = torch.rand(6, 4)
    content = {
        "view": whole[2:4, 1:3],
        "turned": whole.t(),
        "shared": whole,
        "broadcast": torch.ones(1).expand(5),
        "scalar": torch.tensor(3.0),
        "empty": torch.empty(0, 4),
        "parameter": torch.nn.Parameter(torch.rand(2)),
        "numpy": np.arange(3.0),
        **{
            str(dtype): torch.ones(3).to(dtype)
            for dtype in (
                torch.bfloat16,
                torch.bool,
                torch.complex64,
                torch.float8_e4m3fn,
                torch.float64,
                torch.int8,
                torch.uint16,
            )
        },
    }
    torch.save(content, tmp_path / "x.pth")
    assert check_archive(tmp_path / "x.pth")
    found = load_pickle(tmp_path / "x.pth")
    assert torch.equal(found["view"], content["view"])
    del content["torch.float8_e4m3fn"], content["torch.uint16"]  # newer than the format
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert not check_archive(tmp_path / "x.pth")
    assert torch.equal(load_pickle(tmp_path / "x.pth")["turned"], content["turned"])


def test_looking_at_a_file_runs_nothing_and_asks_for_no_memory(tmp_path: Path) -> None:
    class Poison:
        def __reduce__(self):
            return (torch.FloatStorage, (2**44,))

    torch.save({"x": Poison()}, tmp_path / "x.pth")
    check_archive(tmp_path / "x.pth")
    proof = tmp_path / "code-ran"

    class Other:
        def __reduce__(self):
            return (Path.mkdir, (proof,))

    torch.save({"x": Other()}, tmp_path / "x.pth")
    check_archive(tmp_path / "x.pth")
    assert not proof.exists()


def test_a_compressed_language_model_opens(tmp_path: Path) -> None:
    reference = tiny.build("gpt2")
    folder = Path(tiny.save(reference, tmp_path, "bin"))
    path = folder / "pytorch_model.bin"
    path.rename(tmp_path / "stored")
    repacked(tmp_path / "stored", path, zipfile.ZIP_DEFLATED)
    block = open_checkpoint(str(folder)).block(1)
    assert torch.equal(block["up.bias"], reference.h[1].mlp.c_fc.bias)


def test_a_plain_pickle_is_left_to_torch(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"x": 1}))
    assert not check_archive(tmp_path / "x.pth")
