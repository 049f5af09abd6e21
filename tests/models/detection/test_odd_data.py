"""Images as they come: unannotated, alone in a batch, of unequal sizes, a class absent.

The pre-norm DETR and a Segmenter train on them and are evaluated by the libraries' own
metrics.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.runner import Runner
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[2] / "hooks"))
import vision_runs  # noqa: E402

SIZES = [(32, 48), (40, 28), (36, 36)]  # pixels: width, height
CLASSES = ("a", "b", "never")
IGNORED = 255


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setattr("gc.collect", lambda: 0)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> str:
    return vision_runs.save_bert(tmp_path_factory.mktemp("bert"))


def write(root: Path) -> None:
    """Write three images; the last one has neither box nor labelled pixel."""
    random = np.random.RandomState(0)
    images, boxes = [], []
    for folder in ("images", "maps"):
        (root / folder).mkdir()
    for i, (width, height) in enumerate(SIZES):
        pixels = random.randint(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"images/{i}.png")
        labels = np.full((height, width), IGNORED, np.uint8)
        images.append(dict(id=i, file_name=f"{i}.png", width=width, height=height))
        if i < 2:
            labels[4:20, 4:20] = i
            box = dict(id=i + 1, image_id=i, category_id=i, bbox=[4, 4, 16, 16])
            boxes.append(dict(box, area=256, iscrowd=0))
        Image.fromarray(labels).save(root / f"maps/{i}.png")
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES)]
    content = dict(images=images, annotations=boxes, categories=categories)
    (root / "coco.json").write_text(json.dumps(content))


def detection(root: Path) -> tuple[dict, dict]:
    """Dataset and metric of mmdet."""
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="mmdet.LoadAnnotations", with_bbox=True),
        dict(type="mmdet.Resize", scale_factor=1.0, keep_ratio=True),
        dict(
            type="mmdet.PackDetInputs",
            meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        ),
    ]
    dataset = dict(
        type="mmdet.CocoDataset",
        ann_file=str(root / "coco.json"),
        data_prefix=dict(img=str(root / "images")),
        metainfo=dict(classes=CLASSES),
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=pipeline,
    )
    return dataset, dict(type="mmdet.CocoMetric", ann_file=str(root / "coco.json"))


def segmentation(root: Path) -> tuple[dict, dict]:
    """Dataset and metric of mmseg."""
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="mmseg.LoadAnnotations"),
        dict(type="mmseg.PackSegInputs"),
    ]
    dataset = dict(
        type="mmseg.BaseSegDataset",
        data_prefix=dict(
            img_path=str(root / "images"), seg_map_path=str(root / "maps")
        ),
        img_suffix=".png",
        metainfo=dict(classes=CLASSES, palette=[[0, 0, 0]] * len(CLASSES)),
        pipeline=pipeline,
    )
    return dataset, dict(type="mmseg.IoUMetric")


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("task", ["segmenter", "detr", "pre-norm detr"])
def test_trains_and_evaluates(task, batch_size, bert, tmp_path) -> None:
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    write(tmp_path)
    cfg = vision_runs.config(
        "segmenter" if task == "segmenter" else "detr", bert, tmp_path / "work"
    )
    if task == "segmenter":
        dataset, metric = segmentation(tmp_path)
        cfg.model.data_preprocessor.size = (48, 48)  # the largest, padded to
        cfg.default_scope = "mmseg"
    else:
        dataset, metric = detection(tmp_path)
        cfg.default_scope = "mmdet"
    if task == "pre-norm detr":
        cfg.model.type = "lbbt_mm.PreNormDETR"
        cfg.custom_hooks[0].accept = ["norm_order"]
    for name in ("train_dataloader", "val_dataloader"):
        cfg[name].dataset = dict(dataset)
    cfg.train_dataloader.batch_size = batch_size
    cfg.val_dataloader.dataset.test_mode = True
    cfg.val_dataloader.batch_size = 1
    cfg.val_evaluator = metric
    cfg.train_cfg.max_epochs = 2
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert math.isfinite(scalars["train/loss"].current())
    name = "val/mIoU" if task == "segmenter" else "val/coco/bbox_mAP"
    assert 0 <= scalars[name].current() <= 100
