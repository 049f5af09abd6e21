"""tools/constant_baseline.py: its scores are those that can be worked out by hand."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from lbbt_mm.config import load_config
from lbbt_mm.datasets.checks.guard import build_guarded
from lbbt_mm.metrics.constant_baseline import ConstantBaseline

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LEAVES = dict(
    detr="detr/detr-r18-postnorm_minilm_language_1xb8-2k_fashion-scenes.py",
    segmenter="segmenter/segmenter-r18_small-gpt2_language_1xb8-1k_fashion-scenes.py",
)


def shipped(task: str, scenes: Path) -> Config:
    """A shipped config whose images are toys."""
    path = ROOT / "projects/fashion_scenes/configs" / LEAVES[task]
    cfg = load_config(path, {"pretrained": False})
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[name].dataset.data_root = str(scenes)
        cfg[name].update(batch_size=5, num_workers=0)
    if task == "detr":
        cfg.test_evaluator.ann_file = str(scenes / "detection/val.json")
    return cfg


def scores(tool, task: str, scenes: Path, folder: Path) -> dict[str, float]:
    """Run the tool."""
    path, out = folder / f"{task}.py", folder / "scores.json"
    shipped(task, scenes).dump(path)
    tool("constant_baseline.py", path, "--out", out).main()
    return json.loads(out.read_text())


def test_a_segmenter_that_always_says_background(tool, toy_scenes, tmp_path) -> None:
    found = scores(tool, "segmenter", toy_scenes, tmp_path)
    maps = sorted((toy_scenes / "annotations/validation").glob("*.png"))
    pixels = np.concatenate([np.asarray(Image.open(path)).ravel() for path in maps])
    background = 100 * (pixels == 0).mean()
    present = len({*pixels.tolist()})  # a class that nobody has is not averaged
    assert found["aAcc"] == pytest.approx(background, abs=0.01)
    assert found["mIoU"] == pytest.approx(background / present, abs=0.01)


def test_a_detector_with_one_box_a_class(tool, toy_scenes, tmp_path) -> None:
    found = scores(tool, "detr", toy_scenes, tmp_path)
    assert 0 <= found["coco/bbox_mAP"] < 0.1


WRAPPERS = {
    "repeat": lambda one: dict(type="RepeatDataset", times=3, dataset=one),
    "concat": lambda one: dict(type="ConcatDataset", datasets=[one, one]),
    "both": lambda one: dict(
        type="ConcatDataset",
        datasets=[dict(type="mmengine.RepeatDataset", times=2, dataset=one)] * 2,
    ),
    "folds": lambda one: dict(
        type="mmpretrain.KFoldDataset", dataset=one, num_splits=2, fold=0
    ),
}


@pytest.mark.parametrize("task", LEAVES)
def test_wrapped_training_images(toy_scenes, task) -> None:
    cfg = shipped(task, toy_scenes)
    init_default_scope(cfg.default_scope)
    one = cfg.train_dataloader.dataset.to_dict()

    def answer(dataset: dict) -> object:
        node = Config(dict(dataset=dataset)).dataset
        found = ConstantBaseline(build_guarded(partial(DATASETS.build, node), node))
        if found.boxes is None:
            return found.commonest
        return [np.round(part, 12).tolist() for part in found.boxes]

    plain = answer(one)
    for name, wrap in WRAPPERS.items():
        # A fold has fewer images, but has an answer.
        assert answer(wrap(one)) == plain or name == "folds", name


def test_it_is_right_where_nothing_varies(tool, toy_scenes, tmp_path) -> None:
    """One object a scene, always the same: the constant answer is perfect."""
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    (scenes / "images").symlink_to(toy_scenes / "images")
    (scenes / "detection").mkdir()
    for split in ("train", "val"):
        content = json.loads((toy_scenes / f"detection/{split}.json").read_text())
        content["annotations"] = [
            dict(id=i, image_id=picture["id"], category_id=3, iscrowd=0)
            | dict(bbox=[20, 30, 50, 40], area=2000)
            for i, picture in enumerate(content["images"], 1)
        ]
        (scenes / f"detection/{split}.json").write_text(json.dumps(content))
    assert scores(tool, "detr", scenes, tmp_path)["coco/bbox_mAP"] == 1.0


def test_damaged_training_annotations(tool, toy_scenes, tmp_path) -> None:
    """Also where the classes have the names of others, which ends no training."""
    for split in ("train", "val"):
        content = json.loads((toy_scenes / f"detection/{split}.json").read_text())
        content["categories"].reverse()
        (tmp_path / "detection").mkdir(exist_ok=True)
        (tmp_path / f"detection/{split}.json").write_text(json.dumps(content))
    (tmp_path / "images").symlink_to(toy_scenes / "images")
    with pytest.raises(SystemExit, match=r"train\.json: expected the classes in its"):
        scores(tool, "detr", tmp_path, tmp_path)
    (tmp_path / "detection/train.json").write_text("[]")
    with pytest.raises(SystemExit, match=r"train\.json: expected images, annotations"):
        scores(tool, "detr", tmp_path, tmp_path)


def test_a_classifier_is_refused(tool, project) -> None:
    with pytest.raises(SystemExit, match=r"boxes \(mmdet\) or label maps \(mmseg\)"):
        tool("constant_baseline.py", project.config).main()
