"""The loaders of every dataset base for mmpretrain yield labelled batches."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from PIL import Image

from lbbt_mm.datasets import MNIST5k

from shipped import CONFIGS  # isort: skip

# Those for detection, segmentation and questions have tests of their own.
DENSE = ("coco", "ade20k", "pascal", "fashion-scenes", "plain-scenes")
QUESTIONS = ("llava", "plain-questions", "vqa")
BASES = sorted(
    path
    for path in CONFIGS.glob("_base_/datasets/*.py")
    if not path.stem.startswith(DENSE + QUESTIONS)
)
COUNT = 20  # images in a split


def pixels(*shape: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, shape, np.uint8)


def write_cifar(folder: Path, files: list[str], key: str) -> None:
    folder.mkdir(parents=True)
    content = {"data": pixels(COUNT, 3072), key: [i % 10 for i in range(COUNT)]}
    for file in files:
        (folder / file).write_bytes(pickle.dumps(content))


def write_jpeg(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(height, width, 3)).save(path, "JPEG")


def write_tiny_imagenet(root: Path) -> None:
    for i in range(COUNT):
        write_jpeg(root / f"train/n{i % 2}/images/{i}.JPEG", 64, 64)
        write_jpeg(root / f"val/images/val_{i}.JPEG", 64, 64)
    (root / "wnids.txt").write_text("n0\nn1\n")
    (root / "words.txt").write_text("n0\tzero\nn1\tone\n")
    rows = [f"val_{i}.JPEG\tn{i % 2}\t0\t0\t9\t9\n" for i in range(COUNT)]
    (root / "val/val_annotations.txt").write_text("".join(rows))


def write_imagenet(root: Path) -> None:
    (root / "meta").mkdir(parents=True)
    for split in ("train", "val"):
        names = [f"n{i % 2}/{i}.JPEG" for i in range(COUNT)]
        for name in names:
            write_jpeg(root / split / name, 90, 120)
        rows = [f"{name} {i % 2}\n" for i, name in enumerate(names)]
        (root / f"meta/{split}.txt").write_text("".join(rows))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images of each dataset, in its own layout and under its name."""
    root = tmp_path_factory.mktemp("data")
    batches = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    write_cifar(root / "cifar10/cifar-10-batches-py", batches, "labels")
    write_cifar(root / "cifar100/cifar-100-python", ["train", "test"], "fine_labels")
    write_tiny_imagenet(root / "tiny-imagenet-200")
    write_imagenet(root / "imagenet")
    (root / "imagenet100").symlink_to(root / "imagenet")
    return root


@pytest.fixture(autouse=True)
def _small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    # No fake has the checksums of the real files; and reading MNIST-5k takes a second.
    monkeypatch.setattr("mmpretrain.datasets.CIFAR10._check_integrity", lambda _: True)
    # mmengine collects garbage for each dataset: half a second with torch imported.
    monkeypatch.setattr("gc.collect", lambda: 0)
    monkeypatch.setattr(
        MNIST5k, "load_data_list", lambda self: copy.deepcopy(_mnist(self.split))
    )


@cache
def _mnist(split: str, load=MNIST5k.load_data_list) -> list[dict]:
    dataset = MNIST5k(split=split, lazy_init=True)
    return load(dataset)


def point_to(node, data: Path) -> None:
    """Exchange data_root wherever it stands, and use all images there are."""
    if isinstance(node, dict):
        if "data_root" in node:
            node["data_root"] = str(data / Path(node["data_root"]).name)
            node.pop("indices", None)
        for value in node.values():
            point_to(value, data)


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
def test_loaders(base: Path, data: Path, write_idx_images) -> None:
    cfg = Config.fromfile(base)
    if "fashion" in base.stem and not (data / "fashion-mnist").exists():
        (data / "fashion-mnist").mkdir()
        write_idx_images(data / "fashion-mnist", COUNT)
    init_default_scope("mmpretrain")
    grey = base.stem.startswith(("mnist", "fashion"))
    shape = (4, 1, 28, 28) if grey else (4, 3, 224, 224)
    preprocessor = MODELS.build(
        dict(dict(type="mmpretrain.ClsDataPreprocessor"), **cfg.data_preprocessor)
    )
    classes = preprocessor.num_classes if grey else cfg.num_classes
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader_cfg = copy.deepcopy(cfg[name])
        point_to(loader_cfg, data)
        loader_cfg.update(batch_size=4, num_workers=0, persistent_workers=False)
        loader = Runner.build_dataloader(loader_cfg, seed=0)
        batch = preprocessor(next(iter(loader)), name == "train_dataloader")
        assert batch["inputs"].shape == shape and batch["inputs"].dtype == torch.float32
        assert batch["inputs"].abs().max() < 10  # normalised
        labels = torch.cat([sample.gt_label for sample in batch["data_samples"]])
        assert 0 <= labels.min() and labels.max() < classes
        random = "random" in base.stem or "_true_" in base.stem
        wrapped = random and name != "test_dataloader"
        assert all(("true_label" in s) == wrapped for s in batch["data_samples"])
