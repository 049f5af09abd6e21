"""Fashion scenes as mmdet reads them: the shipped dataset config on a few scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fashion_scenes.scenes import GARMENTS, PALETTE
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from PIL import Image

BASE = Path(__file__).parents[1] / "configs/_base_/datasets/fashion-scenes_detection.py"
COUNT = 12  # scenes in either split


@pytest.fixture
def cfg(toy_scenes: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The shipped config, pointed to the small data set."""
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    # mmengine collects garbage for each dataset: half a second with torch imported.
    monkeypatch.setattr("gc.collect", lambda: 0)
    init_default_scope("mmdet")
    cfg = Config.fromfile(BASE)
    for name in ("train_dataloader", "val_dataloader"):
        cfg[name].dataset.data_root = str(toy_scenes)
        cfg[name].update(batch_size=4, num_workers=0, persistent_workers=False)
    relative = Path(cfg.val_evaluator.ann_file).relative_to(cfg.data_root)
    cfg.val_evaluator.ann_file = str(toy_scenes / relative)
    return cfg


def build(dataset_cfg, **options):
    from mmdet.registry import DATASETS

    return DATASETS.build({**dataset_cfg, **options})


def content(toy_scenes: Path, name: str) -> dict:
    return json.loads((toy_scenes / "detection" / f"{name}.json").read_text())


def test_classes_are_the_garments(cfg) -> None:
    assert tuple(cfg.metainfo.classes) == GARMENTS and cfg.num_classes == len(GARMENTS)
    assert [tuple(colour) for colour in cfg.metainfo.palette] == list(PALETTE)
    assert build(cfg.train_dataloader.dataset).metainfo["classes"] == GARMENTS


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_box_and_class_arrives(cfg, toy_scenes, split: str) -> None:
    dataset = build(cfg[f"{split}_dataloader"].dataset)
    assert len(dataset) == COUNT, "scenes without garments stay"
    for image in content(toy_scenes, split)["images"]:
        info = dataset.get_data_info(image["id"] - 1)
        expected = [
            (a["category_id"] - 1, *a["bbox"])
            for a in content(toy_scenes, split)["annotations"]
            if a["image_id"] == image["id"]
        ]
        found = []
        for instance in info["instances"]:
            left, top, right, bottom = instance["bbox"]
            size = (right - left, bottom - top)
            found.append((instance["bbox_label"], left, top, *size))
        assert found == expected
        assert Path(info["img_path"]).is_file()


def test_the_pipelines(cfg, toy_scenes) -> None:
    for split, keys in (("train", {"flip"}), ("val", set())):
        dataset = build(cfg[f"{split}_dataloader"].dataset)
        numbers = []
        for index in range(COUNT):
            packed = dataset[index]
            assert packed["inputs"].shape == (3, 128, 128)
            sample = packed["data_samples"]
            assert keys <= set(sample.metainfo_keys())
            # What detectors of mmdet divide their boxes by.
            assert tuple(sample.scale_factor) == (1, 1)
            boxes = sample.gt_instances.bboxes
            assert boxes.shape == (len(sample.gt_instances.labels), 4)
            numbers.append(len(boxes))
        assert 0 in numbers or split == "val"
        assert sum(numbers) == len(content(toy_scenes, split)["annotations"])


def test_a_batch_through_the_preprocessor(cfg) -> None:
    from mmdet.registry import MODELS
    from mmengine.runner import Runner

    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    batch = MODELS.build(cfg.data_preprocessor)(next(iter(loader)), True)
    assert batch["inputs"].shape == (4, 3, 128, 128)
    assert batch["inputs"].abs().max() < 4  # normalised
    assert abs(float(batch["inputs"].mean())) < 1


def evaluate(cfg, change=lambda boxes: boxes) -> dict:
    """COCO's metric of the true boxes, changed."""
    from mmdet.evaluation import CocoMetric

    options = {k: v for k, v in cfg.val_evaluator.items() if k != "type"}
    metric = CocoMetric(**options)
    dataset = build(cfg.val_dataloader.dataset)
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]["data_samples"]
        true = sample.gt_instances
        boxes = getattr(true.bboxes, "tensor", true.bboxes)
        sample.pred_instances = InstanceData(
            bboxes=change(boxes), labels=true.labels, scores=torch.ones(len(boxes))
        )
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(dataset))


def test_perfect_boxes_have_an_ap_of_one(cfg) -> None:
    found = evaluate(cfg)
    assert found["coco/bbox_mAP"] == found["coco/bbox_mAP_75"] == 1.0


def test_boxes_elsewhere_have_not(cfg) -> None:
    shifted = evaluate(cfg, lambda boxes: boxes + 9.0)
    assert shifted["coco/bbox_mAP"] < 0.5


def test_masks_come_with_the_boxes(cfg, toy_scenes) -> None:
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
        dict(type="PackDetInputs"),
    ]
    dataset = build(cfg.val_dataloader.dataset, pipeline=pipeline)
    for index in range(COUNT):
        sample = dataset[index]["data_samples"]
        labels = np.zeros((128, 128), np.uint8)
        true = sample.gt_instances
        for label, mask in zip(true.labels.tolist(), true.masks.masks, strict=True):
            labels[mask > 0] = label + 1
        path = toy_scenes / "annotations/validation" / f"val_{index:06d}.png"
        np.testing.assert_array_equal(labels, np.asarray(Image.open(path)))


@pytest.mark.parametrize("name", ["tiny_train", "tiny_val"])
def test_tiny_lists(cfg, toy_scenes, name: str) -> None:
    split = name.removeprefix("tiny_")
    dataset = cfg[f"{split}_dataloader"].dataset
    tiny = build(dataset, ann_file=f"detection/{name}.json")
    assert len(tiny) == {"tiny_train": 3, "tiny_val": 2}[name]
    whole = build(dataset)
    assert tiny.get_data_info(1)["instances"] == whole.get_data_info(1)["instances"]
