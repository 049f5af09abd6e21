"""Cross-validation around and inside: an image keeps the label that it has anyway."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS as ROOT
from mmengine.registry import DefaultScope
from mmpretrain.datasets import KFoldDataset
from PIL import Image

from lbbt_mm.datasets import (
    FewLabelDataset,
    InstanceLabelDataset,
    RandomLabelDataset,
    SkipDamagedImages,
)

N = 12  # images 0 to 5 are in class a, 6 to 11 in class b; every pixel of i is 10 * i
LOAD = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]


@pytest.fixture
def images(tmp_path):
    for i in range(N):
        path = tmp_path / "images" / "ab"[i >= N // 2] / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(np.full((8, 8, 3), 10 * i, np.uint8)).save(path)
    return dict(
        type="CustomDataset",
        data_root=str(tmp_path / "images"),
        pipeline=LOAD,
        serialize_data=False,  # it collects garbage, which takes a second
    )


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def folds(dataset, fold, test_mode=False):
    return dict(
        type="KFoldDataset",
        dataset=dataset,
        fold=fold,
        num_splits=3,
        seed=5,
        test_mode=test_mode,
    )


def shown(dataset):
    """Which image has which label, as the model gets them."""
    found = {}
    for sample in (dataset[i] for i in range(len(dataset))):
        number = round(float(sample["inputs"].float().mean()) / 10)
        found[number] = int(sample["data_samples"].gt_label)
    assert len(found) == len(dataset)
    return found


WRAPPERS = [
    dict(type="lbbt_mm.RandomLabelDataset", num_classes=5, ratio=1.0, seed=3),
    dict(type="lbbt_mm.RandomLabelDataset", num_classes=5, ratio=0.5, seed=3),
    dict(
        type="lbbt_mm.RandomLabelDataset",
        num_classes=5,
        ratio=0.5,
        exclude_true_label=True,
    ),
    dict(type="lbbt_mm.InstanceLabelDataset", num_classes=N),
    dict(type="lbbt_mm.RotationDataset", copies=1, seed=1),
]


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda w: w["type"].split(".")[1])
@pytest.mark.parametrize("test_mode", [False, True])
def test_folds_outside_and_inside_have_the_labels_without_folds(
    images, wrapper, test_mode
):
    whole = shown(ROOT.build(dict(wrapper, dataset=images)))
    everything = {}
    for fold in range(3):
        outside = folds(dict(wrapper, dataset=images), fold, test_mode)
        inside = dict(wrapper, dataset=folds(images, fold, test_mode))
        outside, inside = ROOT.build(outside), ROOT.build(inside)
        plain = shown(ROOT.build(folds(images, fold, test_mode)))
        labels = shown(outside)
        assert labels == shown(inside)
        assert list(labels) == list(plain)  # mmpretrain's own folds
        assert labels == {image: whole[image] for image in labels}
        assert outside.get_gt_labels().tolist() == list(labels.values())
        assert inside.get_gt_labels().tolist() == list(labels.values())
        assert outside.get_cat_ids(1) == [list(labels.values())[1]]
        everything |= labels
    assert everything == whole


def test_folds_under_two_wrappers_and_inside_of_folds(images):
    draw = dict(type="lbbt_mm.RandomLabelDataset", num_classes=9, ratio=1.0)
    whole = shown(ROOT.build(dict(draw, dataset=images)))
    skip = dict(type="lbbt_mm.SkipDamagedImages")
    for found in (
        dict(skip, dataset=dict(draw, dataset=folds(images, 0))),
        dict(skip, dataset=folds(dict(draw, dataset=images), 0)),
        folds(dict(skip, dataset=dict(draw, dataset=images)), 0),
        folds(dict(draw, dataset=folds(images, 1)), 0),
    ):
        labels = shown(ROOT.build(found))
        assert labels == {image: whole[image] for image in labels}
        assert 0 < len(labels) < N


def test_few_labels_of_a_fold_are_true_labels_of_that_fold(images):
    few = FewLabelDataset(folds(images, 0), labels=4)
    inside = shown(ROOT.build(folds(images, 0)))
    assert shown(few).items() <= inside.items()
    assert len(few) == 4
    few = dict(type=FewLabelDataset, dataset=images, labels=6)
    assert len(ROOT.build(folds(few, 0))) == 4


@pytest.mark.parametrize("outside", [False, True])
def test_a_damaged_image_is_replaced_by_one_of_its_fold(images, outside):
    draw = dict(type=RandomLabelDataset, num_classes=9, ratio=1.0)
    images["pipeline"] = [dict(LOAD[0], ignore_empty=True), LOAD[1]]
    config = folds(dict(draw, dataset=images), 0, test_mode=False)
    if outside:
        config = dict(draw, dataset=folds(images, 0, test_mode=False))
    mine = shown(ROOT.build(config))
    broken = next(iter(mine))
    (path,) = Path(images["data_root"]).glob(f"*/{broken:02d}.png")
    path.write_bytes(b"")
    dataset = ROOT.build(config)
    for _ in range(30):
        sample = dataset[0]
        number = round(float(sample["inputs"].float().mean()) / 10)
        assert int(sample["data_samples"].gt_label) == mine[number]


def test_an_image_is_skipped_for_another_of_its_fold(images):
    config = folds(dict(type=SkipDamagedImages, dataset=images), 0, test_mode=True)
    mine = shown(ROOT.build(config))
    broken = next(iter(mine))
    (path,) = Path(images["data_root"]).glob(f"*/{broken:02d}.png")
    path.write_bytes(b"")
    sample = ROOT.build(config)[0]
    assert round(float(sample["inputs"].float().mean()) / 10) in mine


def test_parts(images):
    whole = ROOT.build(dict(WRAPPERS[0], dataset=images))
    labels = whole.random_labels
    assert whole.get_subset(3).get_gt_labels().tolist() == labels[:3].tolist()
    assert whole.get_subset(-2).get_gt_labels().tolist() == labels[-2:].tolist()
    part = whole.get_subset([7, 2, 4])
    assert part.get_gt_labels().tolist() == labels[[7, 2, 4]].tolist()
    assert part.metainfo == whole.metainfo and part.gives_other_labels
    assert part.get_data_info(-1)["gt_label"] == labels[4]
    assert part.get_subset([1])[0]["data_samples"].gt_label.item() == labels[2]
    with pytest.raises(NotImplementedError, match="use get_subset"):
        whole.get_subset_(3)


def test_wrappers_of_mmengine_take_a_built_one(images):
    whole = ROOT.build(dict(WRAPPERS[0], dataset=images))
    labels = whole.random_labels.tolist()
    repeated = RepeatDataset(whole, times=2)
    assert [repeated.get_data_info(i)["gt_label"] for i in range(24)] == labels * 2
    both = ConcatDataset([whole, whole])
    assert [both.get_data_info(i)["gt_label"] for i in range(24)] == labels * 2
    balanced = ClassBalancedDataset(whole, oversample_thr=1e-3)
    assert len(balanced) == N


def test_built_folds_and_a_built_pipeline_say_what_to_do(images):
    with pytest.raises(TypeError, match="KFoldDataset as a config"):
        RandomLabelDataset(KFoldDataset(images), num_classes=5, ratio=1.0)
    with pytest.raises(TypeError, match="as a config to exchange its pipeline"):
        RandomLabelDataset(ROOT.build(images), 5, 1.0, pipeline=LOAD)


@pytest.mark.parametrize("wrapper", [InstanceLabelDataset, SkipDamagedImages])
def test_a_pipeline_goes_to_the_dataset_at_the_bottom(images, wrapper):
    inner = dict(WRAPPERS[0], dataset=dict(images, pipeline=["unknown"]))
    assert len(shown(wrapper(inner, pipeline=LOAD))) == N


def test_the_cross_validation_tool_of_mmpretrain(images, tmp_path, monkeypatch):
    seen = []
    original = KFoldDataset.__getitem__

    def look(self, index):
        sample = original(self, index)
        number = round(float(sample["inputs"].float().mean()) / 10)
        label = int(sample["data_samples"].gt_label)
        seen.append((self.fold, self.test_mode, number, label))
        return sample

    monkeypatch.setattr(KFoldDataset, "__getitem__", look)
    loader = dict(batch_size=4, num_workers=0)
    train = dict(WRAPPERS[0], dataset=images)
    config = Config(
        dict(
            default_scope="mmpretrain",
            model=dict(
                type="ImageClassifier",
                backbone=dict(
                    type="VisionTransformer",
                    img_size=8,
                    patch_size=4,
                    arch=dict(
                        embed_dims=8,
                        num_layers=1,
                        num_heads=2,
                        feedforward_channels=8,
                    ),
                ),
                head=dict(
                    type="VisionTransformerClsHead", num_classes=5, in_channels=8
                ),
            ),
            data_preprocessor=dict(mean=[0.0] * 3, std=[255.0] * 3, num_classes=5),
            train_dataloader=dict(
                loader, dataset=train, sampler=dict(type="DefaultSampler", shuffle=True)
            ),
            val_dataloader=dict(
                loader,
                dataset=images,
                sampler=dict(type="DefaultSampler", shuffle=False),
            ),
            val_evaluator=dict(type="Accuracy", topk=1),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            val_cfg=dict(),
            test_dataloader=None,
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        )
    )
    config.dump(tmp_path / "config.py")
    tool = Path(mmpretrain.__file__).parent / ".mim/tools/kfold-cross-valid.py"
    words = "--num-splits 3 --seed 5 --no-pin-memory --no-persistent-workers"
    words = [*words.split(), "--work-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [str(tool), str(tmp_path / "config.py"), *words])
    runpy.run_path(str(tool), run_name="__main__")
    labels = ROOT.build(train).random_labels
    assert {(number, label) for *_, number, label in seen} == set(enumerate(labels))
    for fold in range(3):
        shares = [
            {number for f, mode, number, _ in seen if (f, mode) == (fold, test)}
            for test in (False, True)
        ]
        assert [len(share) for share in shares] == [8, 4]
        assert not shares[0] & shares[1]
