"""A shipped DETR and a shipped Segmenter train, validate, save and resume."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from lbbt_mm.models.checkpoint_config import find_dicts

from shipped import CONFIGS, load  # isort: skip

pytestmark = pytest.mark.slow

SIDE = 64  # pixels
CROP = (SIDE // 2, SIDE // 2)
CLASSES = ("person", "bicycle")


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    # Formatting a config for the log takes seconds, as does collecting garbage.
    monkeypatch.setattr(Config, "pretty_text", "")
    monkeypatch.setattr("gc.collect", lambda: 0)


def picture(path: Path, *channels: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(0).randint(0, 151, (SIDE, SIDE, *channels), np.uint8)
    Image.fromarray(pixels).save(path)


def write_ade(root: Path) -> None:
    for split in ("training", "validation"):
        picture(root / f"images/{split}/a.jpg", 3)
        picture(root / f"annotations/{split}/a.png")


def write_coco(root: Path) -> None:
    for split in ("train2017", "val2017"):
        images, boxes = [], []
        for i in (1, 2):
            picture(root / f"{split}/{i}.jpg", 3)
            size = dict(height=SIDE, width=SIDE)
            images.append(dict(id=i, file_name=f"{i}.jpg", **size))
            box = dict(bbox=[8, 8, 40, 40], area=1600, iscrowd=0)
            boxes.append(dict(id=i, image_id=i, category_id=i, **box))
        categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
        content = dict(images=images, annotations=boxes, categories=categories)
        (root / "annotations").mkdir(exist_ok=True)
        file = root / f"annotations/instances_{split}.json"
        file.write_text(json.dumps(content))


def cut_down(path: Path, root: Path, **train_cfg: Any) -> Config:
    """Two small images, no file of weights; the rest as shipped."""
    cfg = copy.deepcopy(load(path))
    cfg.model.backbone.init_cfg = None
    cfg.work_dir = str(root / "work")
    cfg.train_cfg.update(train_cfg, val_interval=1)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.default_hooks.logger.interval = 1
    throughput = next(h for h in cfg.custom_hooks if "Throughput" in h.type)
    throughput.warmup = 0
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[name].update(num_workers=0, persistent_workers=False)
        cfg[name].dataset.data_root = str(root)
        for kind, size in dict(
            Resize=dict(scale=(SIDE, SIDE)),
            RandomResize=dict(scale=(SIDE, SIDE)),
            RandomChoiceResize=dict(scales=[(SIDE, SIDE)]),
        ).items():
            for step in find_dicts(cfg[name].dataset.pipeline, {kind}):
                step.update(size)
        for step in find_dicts(cfg[name].dataset.pipeline, {"RandomCrop"}):
            step.crop_size = CROP
    return cfg


def train(cfg: Config, name: str) -> Runner:
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def scalars(root: Path) -> list[dict[str, Any]]:
    file = max((root / "work").glob("*/vis_data/scalars.json"))
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_segmenter_counts_iterations(tmp_path: Path) -> None:
    write_ade(tmp_path)
    (path,) = CONFIGS.glob("segmenter/*vit-t*_scratch_*_ade20k.py")
    cfg = cut_down(path, tmp_path, max_iters=2)
    cfg.model.data_preprocessor.size = CROP
    cfg.data_preprocessor.size = CROP
    cfg.model.test_cfg.update(crop_size=CROP, stride=CROP)
    cfg.model.backbone.num_layers = 2
    runner = train(cfg, "first")
    assert runner.iter == 2
    logged = scalars(tmp_path)
    losses = [line["decode.loss_ce"] for line in logged if "decode.loss_ce" in line]
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert all("images_per_second" in line for line in logged if "loss" in line)
    assert [line["mIoU"] for line in logged if "mIoU" in line]
    kept = [file.name for file in (tmp_path / "work").glob("*.pth")]
    assert kept == ["iter_2.pth"], "one is kept"
    saved = torch.load(tmp_path / "work/iter_2.pth", weights_only=False)
    assert len(saved["random_state"]["states"]) == 1
    assert "language_init" not in saved["meta"], "the scratch arm"

    cfg.resume, cfg.train_cfg.max_iters = True, 3
    runner = train(cfg, "second")
    assert runner.iter == 3
    log = max((tmp_path / "work").glob("*/*.log")).read_text()
    assert "random numbers go on as the checkpoint left them." in log


def test_detr_counts_epochs(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (path,) = CONFIGS.glob("detr/*minilm_language*_coco.py")
    cfg = cut_down(path, tmp_path, max_epochs=1)
    for name in ("train_dataloader", "val_dataloader"):
        cfg[name].dataset.metainfo = dict(classes=CLASSES)
    cfg.custom_hooks[-1].pretrained = False  # no file of the language model either
    cfg.val_evaluator.ann_file = str(tmp_path / "annotations/instances_val2017.json")
    cfg.model.bbox_head.num_classes = len(CLASSES)
    runner = train(cfg, "first")
    assert runner.epoch == runner.iter == 1  # two images, a batch
    logged = scalars(tmp_path)
    (line,) = [line for line in logged if "loss" in line]
    # The last of six decoder layers and five auxiliary losses.
    assert {"loss_bbox", "d4.loss_iou", "images_per_second"} <= line.keys()
    assert np.isfinite(line["loss"])
    assert [line for line in logged if "coco/bbox_mAP" in line]
    saved = torch.load(tmp_path / "work/epoch_1.pth", weights_only=False)
    assert len(saved["random_state"]["states"]) == 1
    # Nothing of the ResNet's first stage trains, all of the transformer does.
    state = runner.optim_wrapper.optimizer.state
    for name, parameter in runner.model.named_parameters():
        assert (parameter in state) == parameter.requires_grad, name
        if not name.startswith("backbone."):
            assert parameter.requires_grad, name
    rates = {group["lr"] for group in runner.optim_wrapper.optimizer.param_groups}
    assert sorted(rates) == pytest.approx([1e-5, 1e-4])
