"""Instance labels, the true labels of a few, and views: what an objective reads."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.registry import FUNCTIONS, DefaultScope
from mmengine.runner import Runner

from lbbt_mm.datasets import (
    FewLabelDataset,
    FewTrueLabelsDataset,
    InstanceLabelDataset,
    RandomLabelDataset,
    RotationDataset,
    SkipDamagedImages,
    collate_views,
)

TRUTH = np.repeat(np.arange(4), [50, 30, 15, 5])


class Toy(BaseDataset):
    """Image i is of class ``labels[i]`` and made of the number i."""

    def __init__(self, labels=TRUTH, **kwargs):
        self.labels = list(labels)
        super().__init__(**kwargs)

    def load_data_list(self):
        return [
            dict(img=np.full((4, 4, 1), i, np.uint8))
            | ({} if label is None else dict(gt_label=int(label)))
            for i, label in enumerate(self.labels)
        ]


# ---------------------------------------------------------------- instance identity


def test_each_image_is_a_class_of_its_own():
    parts = ConcatDataset([Toy(), Toy([1, 0], indices=2)])
    dataset = InstanceLabelDataset(parts, num_classes=102)
    assert len(dataset) == 102
    for i in (0, 57, 101):
        info = dataset[i]
        truth = [*TRUTH, 1, 0][i]
        assert (info["gt_label"], info["true_label"]) == (i, truth)
        assert dataset.get_cat_ids(i) == [i]
    assert dataset.get_gt_labels().tolist() == list(range(102))
    named = InstanceLabelDataset(Toy(metainfo=dict(classes="abcd")))
    assert named.CLASSES is None and named.metainfo["instance_label"]
    beside = InstanceLabelDataset(Toy(metainfo=dict(classes="abcd")), field="number")
    assert beside.CLASSES == ("a", "b", "c", "d")
    assert pickle.loads(pickle.dumps(dataset))[57]["gt_label"] == 57
    assert InstanceLabelDataset(Toy([None, None]))[1]["gt_label"] == 1


def test_a_head_of_another_width_is_refused():
    with pytest.raises(ValueError, match="images, 100, got num_classes=60000; set"):
        InstanceLabelDataset(Toy(), num_classes=60000)
    assert len(InstanceLabelDataset(Toy(indices=7), num_classes=7)) == 7


# ------------------------------------------------------------- true labels of a few


@pytest.mark.parametrize("labels", [0.2, 12])
def test_a_few_images_have_their_true_labels_and_all_a_random_one(labels):
    random = RandomLabelDataset(Toy(), num_classes=4, ratio=1.0, seed=1)
    dataset = FewTrueLabelsDataset(random, labels=labels, seed=3)
    few = FewLabelDataset(Toy(), labels=labels, seed=3).labelled
    np.testing.assert_array_equal(dataset.labelled, few)
    assert len(dataset) == 100 and 0 < len(few) < 100
    for i in range(100):
        info = dataset[i]
        assert info["few_label"] == (TRUTH[i] if i in few else -1)
        assert info["gt_label"] == random.random_labels[i]
        assert info["true_label"] == TRUTH[i]
    with pytest.raises(ValueError, match="read-only"):
        dataset.own_labels[0] = 0


def test_a_random_label_is_never_taken_for_a_true_one():
    unlabelled = RandomLabelDataset(Toy([None] * 100), num_classes=4, ratio=1.0)
    for dataset in (unlabelled, InstanceLabelDataset(unlabelled, field="number")):
        with pytest.raises(ValueError, match="`gt_label` for every image, got none"):
            FewTrueLabelsDataset(dataset, labels=8)


def test_any_order_of_labels_with_the_rotation_outside():
    images = Toy()
    inner = InstanceLabelDataset(
        RandomLabelDataset(images, num_classes=9, ratio=1.0), field="number"
    )
    few = FewTrueLabelsDataset(inner, labels=8, field="known")
    dataset = SkipDamagedImages(RotationDataset(few, field="turn"))
    info = dataset[4 * 57 + 3]
    assert (info["number"], info["turn"], info["true_label"]) == (57, 3, 1)
    assert info["gt_label"] == inner.dataset.random_labels[57]
    assert info["known"] == few.own_labels[57]
    assert dataset.get_cat_ids(4 * 57) == [info["gt_label"]]
    with pytest.raises(TypeError, match="put it outside"):
        FewTrueLabelsDataset(RotationDataset(images))


@pytest.mark.parametrize(
    "kwargs, error, message",
    [
        (dict(labels=0.0), ValueError, "FewTrueLabelsDataset: .* got 0.0; write 1 %"),
        (dict(labels=3), ValueError, "FewTrueLabelsDataset: .* from 4, one of each"),
        (dict(seed="0"), TypeError, "integer seed"),
        (dict(field="gt_label"), ValueError, "field of its own, got 'gt_label'"),
    ],
)
def test_bad_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        FewTrueLabelsDataset(Toy(), **kwargs)


# ------------------------------------------------------------------------------ views


def two_views(with_collate=True):
    pack = dict(type="PackInputs", algorithm_keys=["true_label"])
    view = [dict(type="RandomFlip", prob=0.5, direction="horizontal")]
    pipeline = [dict(type="MultiView", num_views=2, transforms=[view]), pack]
    return dict(
        batch_size=3,
        num_workers=0,
        dataset=dict(
            type=RandomLabelDataset,
            num_classes=4,
            ratio=1.0,
            dataset=dict(type=Toy, pipeline=pipeline),
        ),
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="lbbt_mm.collate_views"),
    )


def test_views_become_one_batch_view_after_view():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        batch = next(iter(Runner.build_dataloader(two_views(), seed=0)))
    assert batch["inputs"].shape == (6, 1, 4, 4)
    assert batch["inputs"][:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert [s.sample_idx for s in batch["data_samples"]] == [0, 1, 2]
    assert FUNCTIONS.get("lbbt_mm.collate_views") is collate_views


def test_one_view_is_as_the_default_collate():
    items = [dict(inputs=torch.full((1, 2, 2), i), data_samples=i) for i in range(3)]
    batch = collate_views(items)
    assert batch["inputs"].shape == (3, 1, 2, 2)
    assert batch["data_samples"].tolist() == [0, 1, 2]
    items[1]["inputs"] = [items[1]["inputs"]] * 2
    with pytest.raises(ValueError, match=r"same number of views .*, got \[1, 2\]"):
        collate_views(items)
