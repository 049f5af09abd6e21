"""RotationDataset: which rotation, that label and image agree, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS as ROOT
from mmengine.registry import DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from lbbt_mm.datasets import (
    FewLabelDataset,
    IdxDataset,
    RandomLabelDataset,
    RotationDataset,
    SkipDamagedImages,
)
from lbbt_mm.datasets.rotation import draw_rotations, rotate

SIZE = 5
PACK = dict(type="mmpretrain.PackInputs", algorithm_keys=("true_label", "turn"))


class Toy(BaseDataset):
    """``images[i]``, of class i % 3 unless unlabelled."""

    def __init__(self, count=10, shape=(SIZE, SIZE, 3), labelled=True, **kwargs):
        rng = np.random.RandomState(count)
        self.images = rng.randint(0, 256, (count, *shape), dtype=np.uint8)
        self.labelled = labelled
        super().__init__(**kwargs)

    def load_data_list(self):
        return [
            dict(img=image) | (dict(gt_label=i % 3) if self.labelled else {})
            for i, image in enumerate(self.images)
        ]


# ----------------------------------------------------------------- which rotation


FROZEN = [2, 3, 1, 1, 0, 1, 1, 1, 0, 3]


def test_the_draw_is_frozen():
    # If this fails, published numbers of copies=1 would change their images.
    assert draw_rotations(10, 0).tolist() == FROZEN
    assert draw_rotations(10, 1).tolist() != FROZEN
    assert np.bincount(draw_rotations(40000, 0)).min() > 9700


def test_four_copies_are_all_rotations_of_each_image():
    images = Toy()
    dataset = RotationDataset(images)
    assert len(dataset) == 40
    for i in range(40):
        info = dataset[i]
        expected = np.rot90(images.images[i // 4], i % 4)
        np.testing.assert_array_equal(info["img"], expected)
        assert (info["gt_label"], info["true_label"]) == (i % 4, i // 4 % 3)
        assert info["sample_idx"] == i and "rotation" not in info
    assert dataset.get_gt_labels().tolist() == [0, 1, 2, 3] * 10
    assert dataset.get_cat_ids(-1) == [3]
    assert dataset[-1]["gt_label"] == 3
    assert dataset.CLASSES == tuple(f"{k} degrees" for k in (0, 90, 180, 270))
    with pytest.raises(IndexError, match="below 40, got 40"):
        dataset[40]


def test_one_copy_is_one_rotation_of_each_image():
    images = Toy()
    dataset = RotationDataset(images, copies=1, seed=5)
    assert len(dataset) == 10
    np.testing.assert_array_equal(dataset.own_labels, draw_rotations(10, 5))
    for i in range(10):
        turns = int(dataset.own_labels[i])
        expected = np.rot90(images.images[i], turns)
        np.testing.assert_array_equal(dataset[i]["img"], expected)
        assert dataset[i]["gt_label"] == turns
    with pytest.raises(ValueError, match="read-only"):
        dataset.own_labels[0] = 1


@pytest.mark.parametrize("copies", [1, 4])
def test_no_random_state_is_touched_and_workers_agree(copies):
    dataset = RotationDataset(Toy(pipeline=[PACK]), copies=copies)
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    alone = [dataset[i] for i in range(len(dataset))]
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    loader = DataLoader(dataset, num_workers=2, collate_fn=lambda batch: batch[0])
    for one, other in zip(alone, loader, strict=True):
        assert torch.equal(one["inputs"], other["inputs"])
        assert one["data_samples"].gt_label == other["data_samples"].gt_label
    copied = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copied[3]["inputs"], alone[3]["inputs"])


def test_parts_and_subsets_count_on():
    parts = [Toy(3), Toy(4, indices=2)]
    dataset = RotationDataset(ConcatDataset(parts))
    assert len(dataset) == 20
    expected = np.rot90(parts[1].images[1], 3)
    np.testing.assert_array_equal(dataset[19]["img"], expected)
    with pytest.raises(NotImplementedError, match="use get_subset"):
        dataset.get_subset_(3)


def test_an_image_in_the_place_of_a_broken_one_has_its_own_label():
    def broken(info):
        return None if info["sample_idx"] // 4 % 2 else info

    images = Toy(pipeline=[broken])
    dataset = RotationDataset(images)
    for i in range(4, 8):  # all copies of image 1
        info = dataset[i]
        source, turns = divmod(info["sample_idx"], 4)
        assert source % 2 == 0 and turns == info["gt_label"] == i % 4
        expected = np.rot90(images.images[source], turns)
        np.testing.assert_array_equal(info["img"], expected)


# ------------------------------------------------------------------- the image


def test_a_flip_does_not_falsify_the_label():
    flip = dict(type="mmpretrain.RandomFlip", prob=1.0, direction="horizontal")
    images = Toy()
    dataset = RotationDataset(Toy(pipeline=[flip, PACK]))
    for i in range(4):
        expected = np.rot90(np.fliplr(images.images[0]), i).transpose(2, 0, 1)
        np.testing.assert_array_equal(dataset[i]["inputs"].numpy(), expected)
        assert dataset[i]["data_samples"].gt_label.tolist() == [i]


def test_images_of_files_are_loaded_cropped_and_then_rotated(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    class Folder(BaseDataset):
        def load_data_list(self):
            return [dict(img_path=str(tmp_path / "a.png"))]

    load = dict(type="mmcv.LoadImageFromFile")
    crop = dict(type="mmpretrain.CenterCrop", crop_size=4)
    dataset = RotationDataset(Folder(pipeline=[load, crop, PACK]))
    upright = torch.from_numpy(pixels[1:5, 2:6, ::-1].copy()).permute(2, 0, 1)
    for i in range(4):
        data = dataset[i]
        assert torch.equal(data["inputs"], torch.rot90(upright, i, (1, 2)))
        assert data["data_samples"].gt_label.tolist() == [i]
    with pytest.raises(ValueError, match="square images .* got 6 x 9 pixels; crop"):
        RotationDataset(Folder(pipeline=[load, PACK]))[0]


def test_views_and_tensors_rotate_too():
    image = np.arange(12).reshape(2, 2, 3)
    views = rotate([image, image], 1)
    np.testing.assert_array_equal(views[1], np.rot90(image))
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    turned = torch.from_numpy(np.rot90(image).copy()).permute(2, 0, 1)
    assert torch.equal(rotate(tensor, 1), turned)
    assert rotate(image, 1).flags.c_contiguous


# ------------------------------------------------------------- with other wrappers


@pytest.mark.parametrize("copies", [1, 4])
def test_beside_random_labels_each_image_keeps_its_own(copies):
    images = Toy(pipeline=[PACK])
    inner = RandomLabelDataset(images, num_classes=7, ratio=1.0, seed=2)
    dataset = RotationDataset(inner, copies=copies, field="turn")
    for i in range(len(dataset)):
        data = dataset[i]
        sample = data["data_samples"]
        assert sample.gt_label.item() == inner.random_labels[i // copies]
        assert sample.true_label == i // copies % 3
        assert sample.turn == dataset.own_labels[i]
        expected = np.rot90(images.images[i // copies], sample.turn)
        np.testing.assert_array_equal(
            data["inputs"].numpy(), expected.transpose(2, 0, 1)
        )
    assert dataset.metainfo["classes"] == inner.metainfo["classes"]


def test_as_gt_label_around_random_labels_the_true_one_is_still_the_true_one():
    inner = RandomLabelDataset(Toy(), num_classes=7, ratio=1.0)
    info = RotationDataset(inner)[9]
    assert (info["gt_label"], info["true_label"]) == (1, 2)


def test_around_few_labels_and_inside_of_skipping():
    images = Toy(30)
    few = FewLabelDataset(images, labels=6)
    dataset = SkipDamagedImages(RotationDataset(few))
    assert len(dataset) == 24
    expected = np.rot90(images.images[few.labelled[2]], 3)
    np.testing.assert_array_equal(dataset[11]["img"], expected)
    assert dataset[11]["gt_label"] == dataset.get_cat_ids(11)[0] == 3


def test_unlabelled_images_are_enough():
    info = RotationDataset(Toy(labelled=False))[2]
    assert info["gt_label"] == 2 and "true_label" not in info


def test_from_a_config_in_any_scope(tmp_path, write_idx_images):
    write_idx_images(tmp_path, 6)
    images = dict(type="lbbt_mm.IdxDataset", data_root=str(tmp_path), split="train")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        dataset = ROOT.build(dict(type="lbbt_mm.RotationDataset", dataset=images))
    assert len(dataset) == 24
    upright = IdxDataset(data_root=str(tmp_path), split="train")[5]["img"]
    np.testing.assert_array_equal(dataset[22]["img"], np.rot90(upright, 2))
    assert "copies=4" in repr(dataset)


# ------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "kwargs, error, message",
    [
        (dict(copies=3), ValueError, "copies=4 or copies=1, got 3"),
        (dict(copies=True), TypeError, "integer copies"),
        (dict(seed=-1), ValueError, "integer seed of 0 or more, got -1"),
        (dict(field="a b"), TypeError, "a field such as 'gt_label', got 'a b'"),
        (dict(field="img"), ValueError, "a field of its own, got 'img'"),
    ],
)
def test_bad_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        RotationDataset(Toy(), **kwargs)


def test_bad_datasets():
    with pytest.raises(ValueError, match="square images .* got 5 x 6 pixels"):
        RotationDataset(Toy(shape=(5, 6, 3)))[0]
    with pytest.raises(TypeError, match=r"put it outside, RepeatDataset\(Rotation"):
        RotationDataset(RepeatDataset(Toy(), 2))
    with pytest.raises(ValueError, match="got an empty dataset"):
        RotationDataset(Toy(0, serialize_data=False))

    class NoImage(Toy):
        def load_data_list(self):
            return [dict(name=1)]

    with pytest.raises(ValueError, match=r"an image in `img` .* got .*'name'"):
        RotationDataset(NoImage())[0]
    with pytest.raises(TypeError, match="as an array or a tensor in `img`, got str"):
        RotationDataset(Toy(pipeline=[lambda info: dict(info, img="x")]))[0]
