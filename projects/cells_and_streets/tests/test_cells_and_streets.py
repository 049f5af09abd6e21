"""The detector of cells and the segmenter of streets train, on a few drawn images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from lbbt_mm.config import load_config
from lbbt_mm.config.names import changed_keys, effective
from lbbt_mm.transplant.meta_model import build_on_meta_device

CONFIGS = Path(__file__).parents[1] / "configs"
LANGUAGE = sorted(CONFIGS.glob("*/*_language_*.py"))
HEIGHT, WIDTH = 48, 64  # pixels
SMALL = dict(width=16, num_layers=2, img_size=(32, 48), max_epochs=2, val_interval=2)


def picture(path: Path, *channels: int, high: int = 256) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(0).randint(0, high, (HEIGHT, WIDTH, *channels))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def write_cells(root: Path) -> None:
    """Write three images in BCCD's layout, in each list."""
    names = ("Platelets", "RBC", "WBC")
    content: dict = dict(images=[], annotations=[], categories=[])
    content["categories"] = [dict(id=i, name=n) for i, n in enumerate(names, 1)]
    for i in (1, 2, 3):
        picture(root / f"images/{i}.jpg", 3)
        size = dict(height=HEIGHT, width=WIDTH)
        content["images"].append(dict(id=i, file_name=f"{i}.jpg", **size))
        box = dict(bbox=[8, 8, 30, 30], area=900, iscrowd=0)
        content["annotations"].append(dict(id=i, image_id=i, category_id=i, **box))
    (root / "annotations").mkdir()
    for split in ("train", "val", "test"):
        file = root / f"annotations/instances_{split}.json"
        file.write_text(json.dumps(content))


def write_streets(root: Path) -> None:
    """Write three images in CamVid's layout, in each list."""
    for split in ("train", "val", "test"):
        for i in (1, 2, 3):
            picture(root / f"images/{split}/{i}.png", 3)
            picture(root / f"annotations/{split}/{i}.png", high=11)


@pytest.mark.slow
@pytest.mark.parametrize("path", LANGUAGE, ids=lambda path: path.stem)
def test_it_trains_and_is_scored(path, project, ended, monkeypatch) -> None:
    # Formatting a config for the log takes seconds.
    monkeypatch.setattr(Config, "pretty_text", "")
    name = path.stem.rpartition("_")[2]
    dict(bccd=write_cells, camvid=write_streets)[name](project.root / f"data/{name}")
    options = dict(SMALL, language_model=project.save_gpt2(2))
    given = [f"{key}={value}".replace(" ", "") for key, value in options.items()]
    done = ended("train.py", path, "--work-dir", project.work_dir, "--cfg-options",
                 *given)  # fmt: skip
    assert not done.returncode, done.stderr
    (log,) = project.work_dir.glob("*/*.log")
    text = log.read_text()
    losses = [float(loss) for loss in re.findall(r" loss: (\S+)", text)]
    assert len(losses) == 2 and np.isfinite(losses).all(), "one batch an epoch"
    metric = dict(bccd="coco/bbox_mAP_50", camvid="mIoU")[name]
    assert re.search(rf"Epoch\(val\) \[2\]\[1/1\].* {metric}: \d", text)
    assert (project.work_dir / "epoch_2.pth").is_file()


@pytest.mark.parametrize("path", LANGUAGE, ids=lambda path: path.stem)
def test_language_and_scratch_differ_in_one_line(path) -> None:
    other = path.with_name(path.name.replace("_language_", "_scratch_"))
    one, two = (effective(load_config(p)) for p in (path, other))
    assert changed_keys(one, two) == ["model.backbone.pretrained"]
    option = effective(load_config(path, dict(pretrained=False)))
    assert changed_keys(option, two) == []


def test_the_resnet_differs_in_backbone_and_neck() -> None:
    (path,) = CONFIGS.glob("detector/*_resnet18_*.py")
    (other,) = CONFIGS.glob("detector/*_smollm2-b4_scratch_*.py")
    one, two = (load_config(p) for p in (path, other))
    changed = changed_keys(effective(one), effective(two))
    parts = ("model.backbone.", "model.neck.")
    assert changed and all(key.startswith(parts) for key in changed)
    init_default_scope("mmdet")
    model = build_on_meta_device(one)
    assert model.backbone.depth == 18 and model.neck.num_outs == 5


@pytest.mark.parametrize("path", LANGUAGE, ids=lambda path: path.stem)
def test_it_is_the_recipe_of_the_documentation(path) -> None:
    cfg = load_config(path)
    backbone, neck = cfg.model.backbone, cfg.model.neck
    assert backbone.attention == "bidirectional" and backbone.position == "sincos2d"
    assert backbone.drop_path_rate > 0 and backbone.out_type == "featmap"
    assert neck.type == "lbbt_mm.SimpleFeaturePyramid"
    assert neck.in_stride == backbone.patch_size
    splits = [
        cfg[f"{split}_dataloader"].dataset.get("ann_file")
        or cfg[f"{split}_dataloader"].dataset.data_prefix.img_path
        for split in ("train", "val", "test")
    ]
    for split, place in zip(("train", "val", "test"), splits, strict=True):
        assert split in place
    # Scored against what is in the file, not against a resized truth.
    kinds = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    assert kinds.index("Resize") < kinds.index("LoadAnnotations")
