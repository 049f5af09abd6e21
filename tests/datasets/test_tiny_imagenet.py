"""TinyImageNet on a miniature of the original layout."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from mmengine.registry import DATASETS as ROOT
from PIL import Image

from lbbt_mm.datasets import TinyImageNet

# Not sorted, as in the original wnids.txt.
WNIDS = ["n03", "n01", "n02"]
TRAIN, VAL = 4, 6


def write_image(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(path, "JPEG")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    for c, wnid in enumerate(WNIDS):
        names = [f"{wnid}_{i}.JPEG" for i in range(TRAIN)]
        for name in names:
            write_image(root / "train" / wnid / "images" / name, 40 * c)
        boxes = "".join(f"{name}\t0\t0\t7\t7\n" for name in names)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
    lines = []
    for i in range(VAL):
        write_image(root / "val" / "images" / f"val_{i}.JPEG", 40 * (i % 3))
        lines.append(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t0\t0\t7\t7\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    # words.txt names all of WordNet, not only these classes.
    words = "n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tnewt\nn03\tox\n"
    (root / "words.txt").write_text(words)
    return root


def test_both_splits_number_the_classes_alike(root):
    train, val = (TinyImageNet(str(root), split=split) for split in ("train", "val"))
    for dataset in (train, val):
        assert dataset.metainfo["wnids"] == ("n01", "n02", "n03")
        assert dataset.metainfo["classes"] == ("goldfish", "newt", "ox")
    assert [train[i]["gt_label"] for i in range(len(train))] == [0] * 4 + [1] * 4 + (
        [2] * 4
    )
    # WNIDS in turn, by their sorted place.
    assert [val[i]["gt_label"] for i in range(len(val))] == [2, 0, 1, 2, 0, 1]
    assert train[5]["img_path"] == str(root / "train/n02/images/n02_1.JPEG")
    assert val[5]["img_path"] == str(root / "val/images/val_5.JPEG")


def test_through_a_pipeline_as_config(root):
    import mmpretrain.datasets  # noqa: F401

    steps = [
        dict(type="mmpretrain.LoadImageFromFile"),
        dict(type="mmpretrain.PackInputs"),
    ]
    config = dict(type="lbbt_mm.TinyImageNet", data_root=str(root), split="val")
    dataset = ROOT.build(dict(config, pipeline=steps, indices=2))
    assert len(dataset) == 2
    assert tuple(dataset[0]["inputs"].shape) == (3, 8, 8)
    assert dataset[0]["data_samples"].gt_label.tolist() == [2]


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "split, broken, words",
    [
        ("train", "wnids.txt", r"expected .*wnids.txt, got none"),
        ("val", "words.txt", r"expected .*words.txt, got none"),
        ("train", "train/n02", r"expected images in .*n02/images, got none"),
        ("train", "train/n02/images/n02_3.JPEG", r"4 images .* got 3 .*n02_3.JPEG is"),
        ("val", "val/val_annotations.txt", r"expected .*val_annotations.txt, got none"),
        ("val", "val/images", r"expected images in .*val/images, got none"),
        (
            "val",
            "val/images/val_0.JPEG",
            r"lists, got 5 of them, val_0.JPEG is missing",
        ),
    ],
)
def test_a_missing_part_is_one_sentence(root, split, broken, words):
    remove(root / broken)
    with pytest.raises(FileNotFoundError, match=words) as caught:
        TinyImageNet(str(root), split=split)
    assert "unpack tiny-imagenet-200.zip again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "split, name, text, words",
    [
        ("train", "wnids.txt", "", "got an empty file"),
        ("train", "words.txt", "n01 goldfish\n", "tabs.*got the line 'n01 goldfish'"),
        ("val", "val/val_annotations.txt", "val_0.JPEG\tn0", "wnids.txt, got 'n0' in"),
        ("train", "train/n01/n01_boxes.txt", "n01_0.JP\t0\n", "n01_0.JP is missing"),
    ],
)
def test_a_truncated_list_is_one_sentence(root, split, name, text, words):
    (root / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        TinyImageNet(str(root), split=split)


def test_no_test_split(root):
    with pytest.raises(ValueError, match="'train' or 'val', got 'test'"):
        TinyImageNet(str(root), split="test")
