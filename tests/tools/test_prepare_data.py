"""Data sets are fetched whole, checked, and laid out as the configs read them."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

REPO = Path(__file__).resolve().parents[2]
VOC = """<annotation><size><width>8</width><height>6</height></size>
<object><name>WBC</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>
<xmax>5</xmax><ymax>5</ymax></bndbox></object>
<object><name>RBC</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>3</xmax>
<ymax>4</ymax></bndbox></object></annotation>"""


@pytest.fixture
def prepare(ended: Callable) -> Callable:
    def run(*argv: object):
        return ended("prepare_data.py", *argv)

    return run


@pytest.fixture
def modules(tool: Callable):
    """Its tables and its downloads."""
    tool("prepare_data.py")
    return sys.modules["_datasets"], sys.modules["_download"]


def archive(path: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def png(mode: str, *rows: list) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.array(rows, np.uint8)).convert(mode).save(content, "PNG")
    return content.getvalue()


def test_every_data_set_goes_where_its_config_looks(modules) -> None:
    roots = [
        Config.fromfile(path).get("data_root")
        for folder in ("configs", "projects/cells_and_streets/configs")
        for path in (REPO / folder / "_base_/datasets").glob("*.py")
    ]
    targets = [f"data/{d.places[0].target}" for d in modules[0].DATASETS.values()]
    without = {"data/mnist"}  # one's own
    for target in {*targets} - without:
        assert any(root and f"{target}/".startswith(f"{root}/") for root in roots), (
            target
        )
    for name, data in modules[0].DATASETS.items():
        assert data.licence and data.gigabytes, name
        for file in data.files:
            assert file.md5 is None or len(file.md5) == 32, name


def test_a_folder_of_jpegs(prepare, project) -> None:
    files = {f"{split}/airplane/0.jpg": b"x" for split in ("train", "test")}
    given = archive(project.root / "mine.zip", files)
    done = prepare("cifar10", "--from", given, "--root", "deep/data")
    assert done.returncode == 0, done.stderr
    root = project.root / "deep/data"
    assert (root / "cifar10/train/airplane/0.jpg").read_bytes() == b"x"
    assert sorted(p.name for p in root.iterdir()) == ["cifar10"], "nothing is left over"
    again = prepare("cifar10", "--from", given, "--root", "deep/data")
    assert "is there already" in again.stdout


def test_boxes_become_cocos(prepare, project) -> None:
    files: dict[str, bytes | str] = {"BCCD/ImageSets/Main/test.txt": ""}
    for split, name in (("train", "a"), ("val", "b")):
        files[f"BCCD/ImageSets/Main/{split}.txt"] = f"{name}\n"
        files[f"BCCD/Annotations/{name}.xml"] = VOC
        files[f"BCCD/JPEGImages/{name}.jpg"] = b"x"
    done = prepare("bccd", "--from", archive(project.root / "b.zip", files))
    assert "classes=('RBC', 'WBC')" in done.stdout
    found = json.loads(Path("data/bccd/annotations/instances_val.json").read_text())
    assert found["images"] == [dict(id=1, file_name="b.jpg", width=8, height=6)]
    (box,) = found["annotations"]  # the other one has no width
    assert box["bbox"] == [1, 2, 4, 3] and box["category_id"] == 2
    assert Path("data/bccd/images/a.jpg").exists()


def test_void_is_ignored(prepare, project) -> None:
    files = {}
    for split in ("train", "val", "test"):
        files[f"CamVid/{split}/a.png"] = png("RGB", [[1, 2, 3]] * 2)
        files[f"CamVid/{split}annot/a.png"] = png("L", [0, 10], [11, 3])
    done = prepare("camvid", "--from", archive(project.root / "c.zip", files))
    assert "img_suffix='.png'" in done.stdout
    with Image.open("data/camvid/annotations/val/a.png") as labels:
        assert np.array(labels).tolist() == [[0, 10], [255, 3]]


def test_a_debian_package_in_a_fresh_clone(prepare, project) -> None:
    inside = io.BytesIO()
    with tarfile.open(fileobj=inside, mode="w:xz") as tar:
        for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
            member = tarfile.TarInfo(f"./usr/share/datasets/fashion-mnist/{name}")
            content = gzip.compress(b"x")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"abc"}
    parts["data.tar.xz"] = inside.getvalue()
    deb = b"!<arch>\n"
    for name, content in parts.items():
        deb += f"{name:16}{'':32}{len(content):<10}`\n".encode() + content
        deb += b"\n" * (len(content) % 2)
    (project.root / "fashion.deb").write_bytes(deb)
    done = prepare("fashion-mnist", "--from", "fashion.deb")
    assert done.returncode == 0, done.stderr
    assert len(list(Path("data/fashion-mnist").iterdir())) == 2


def test_a_download_goes_on_and_is_checked(modules, monkeypatch, project, capsys):
    content = bytes(range(256)) * 8
    asked = []

    @contextlib.contextmanager
    def answer(request, timeout):
        asked.append(request.get_header("Range"))
        start = int((request.get_header("Range") or "bytes=0-")[6:-1])
        body = io.BytesIO(content[start:])
        body.status = 206 if start else 200
        body.headers = {"Content-Length": str(len(content) - start)}
        yield body

    monkeypatch.setattr("urllib.request.urlopen", answer)
    path = project.root / "deep/file.zip"
    path.parent.mkdir()
    path.with_name("file.zip.part").write_bytes(content[:100])
    md5 = hashlib.md5(content).hexdigest()
    modules[1].download("http://a/file.zip", path, md5)
    assert path.read_bytes() == content and asked == ["bytes=100-"]
    with pytest.raises(SystemExit, match="expected 0000: it is damaged or another"):
        modules[1].download("http://a/file.zip", path, "0000")
    with pytest.raises(SystemExit, match=r"needs about 1000000.0 GB, and its disk"):
        modules[1].need_space(project.root / "not/there", 10**15)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["cifar10", "--from", "gone.zip"], "gone.zip does not exist"),
        (["cifar10", "--from", "tiny.py"], "expected data_batch_1 or train/airplane"),
        (["imagenet"], "invalid choice: 'imagenet'"),
        (["--from", "tiny.py"], "--from expects a NAME before it"),
        (["coco", "--from", "cut.zip"], "cut.zip cannot be unpacked|expected annotat"),
    ],
)
def test_what_cannot_be_prepared(prepare, project, argv, message) -> None:
    whole = archive(project.root / "whole.zip", {"a": b"x" * 999}).read_bytes()
    (project.root / "cut.zip").write_bytes(whole[:90])
    done = prepare(*argv)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert not list((project.root).glob("data/.*")), "nothing is left over"


def test_a_missing_data_set_names_the_command(failing, project) -> None:
    config = project.repo / "configs/detr_gpt2init.py"
    said = failing("train.py", config=config)
    assert "python tools/prepare_data.py coco gets it; or download" in said
    said = failing("train.py", "--cfg-options", "data_root=/big/coco", config=config)
    assert "prepare_data.py coco --root /big gets it" in said
    said = failing("train.py", "--cfg-options", "data_root=mine2017", config=config)
    assert "prepare_data" not in said
