"""Fashion scenes as mmseg reads them: the shipped dataset config on a few scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fashion_scenes.scenes import GARMENTS, PALETTE
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from PIL import Image

CONFIGS = Path(__file__).parents[1] / "configs/_base_/datasets"
COUNT = 12  # scenes in either split


@pytest.fixture
def cfg(toy_scenes: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The shipped config, pointed to the small data set."""
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    # mmengine collects garbage for each dataset: half a second with torch imported.
    monkeypatch.setattr("gc.collect", lambda: 0)
    init_default_scope("mmseg")
    cfg = Config.fromfile(CONFIGS / "fashion-scenes_segmentation.py")
    for name in ("train_dataloader", "val_dataloader"):
        cfg[name].dataset.data_root = str(toy_scenes)
        cfg[name].update(batch_size=4, num_workers=0, persistent_workers=False)
    return cfg


def build(dataset_cfg, **options):
    from mmseg.registry import DATASETS

    return DATASETS.build({**dataset_cfg, **options})


def label_map(toy_scenes: Path, index: int) -> np.ndarray:
    path = toy_scenes / "annotations/validation" / f"val_{index:06d}.png"
    return np.array(Image.open(path))


def test_classes_are_the_background_and_the_garments(cfg) -> None:
    assert tuple(cfg.garments) == GARMENTS
    assert tuple(cfg.metainfo.classes) == ("background", *GARMENTS)
    assert cfg.num_classes == 1 + len(GARMENTS)
    assert [tuple(colour) for colour in cfg.metainfo.palette[1:]] == list(PALETTE)
    dataset = build(cfg.train_dataloader.dataset)
    assert dataset.metainfo["classes"] == ("background", *GARMENTS)
    assert dataset.metainfo["label_map"] is None, "no class is renumbered"


def test_both_tasks_have_the_same_numbers(cfg) -> None:
    detection = Config.fromfile(CONFIGS / "fashion-scenes_detection.py")
    for name in ("pixel_mean", "pixel_std", "img_size", "data_root", "batch_size"):
        assert detection[name] == cfg[name]


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_pipelines(cfg, toy_scenes, split: str) -> None:
    dataset = build(cfg[f"{split}_dataloader"].dataset)
    assert len(dataset) == COUNT
    for index in range(COUNT):
        packed = dataset[index]
        assert packed["inputs"].shape == (3, 128, 128)
        found = packed["data_samples"].gt_sem_seg.data
        assert found.shape == (1, 128, 128) and int(found.max()) <= 10
        if split == "val":
            np.testing.assert_array_equal(found[0], label_map(toy_scenes, index))


def test_a_batch_through_the_preprocessor(cfg) -> None:
    from mmengine.runner import Runner
    from mmseg.registry import MODELS

    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    batch = MODELS.build(cfg.data_preprocessor)(next(iter(loader)), True)
    assert batch["inputs"].shape == (4, 3, 128, 128)
    assert batch["inputs"].abs().max() < 4  # normalised


def evaluate(cfg, dataset, change=lambda labels: labels) -> dict:
    """Mean IoU of the true labels, changed; 255 is predicted as class 0."""
    from mmseg.evaluation import IoUMetric

    options = {k: v for k, v in cfg.val_evaluator.items() if k != "type"}
    metric = IoUMetric(**options)
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]["data_samples"]
        labels = change(sample.gt_sem_seg.data.long())
        sample.pred_sem_seg = PixelData(data=labels.where(labels != 255, 0))
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(dataset))


def test_perfect_labels_have_a_mean_iou_of_one(cfg) -> None:
    dataset = build(cfg.val_dataloader.dataset)
    found = evaluate(cfg, dataset)
    assert found["mIoU"] == found["aAcc"] == 100.0
    blank = evaluate(cfg, dataset, torch.zeros_like)
    assert blank["mIoU"] < 20 and blank["aAcc"] > 50, "the background is counted"


def test_as_in_ade20k_the_background_may_be_ignored(cfg, toy_scenes) -> None:
    options = dict(reduce_zero_label=True, metainfo=dict(classes=cfg.garments))
    dataset = build(cfg.val_dataloader.dataset, **options)
    for index in range(COUNT):
        found = dataset[index]["data_samples"].gt_sem_seg.data[0].numpy()
        true = label_map(toy_scenes, index)
        assert (found[true == 0] == 255).all()
        np.testing.assert_array_equal(found[true > 0], true[true > 0] - 1)
    assert evaluate(cfg, dataset)["mIoU"] == 100.0


@pytest.mark.parametrize("name", ["tiny_train", "tiny_val"])
def test_tiny_lists(cfg, name: str) -> None:
    split = name.removeprefix("tiny_")
    dataset = cfg[f"{split}_dataloader"].dataset
    tiny = build(dataset, ann_file=f"segmentation/{name}.txt")
    assert len(tiny) == {"tiny_train": 3, "tiny_val": 2}[name]
    info = tiny.get_data_info(1)
    assert Path(info["img_path"]).name == f"{split}_000001.png"
    assert Path(info["seg_map_path"]).is_file()
