"""Files that are not what they should be: one sentence, with the file's name."""

from __future__ import annotations

import json
import os
import re

import mmdet.datasets  # noqa: F401
import mmpretrain.datasets  # noqa: F401
import mmseg.datasets  # noqa: F401
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS as ROOT
from mmengine.registry import DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from lbbt_mm.datasets import DamagedImageError, RandomLabelDataset
from lbbt_mm.datasets.checks import left_out
from lbbt_mm.datasets.checks.categories import CategoryError
from lbbt_mm.datasets.checks.damaged import DataError
from lbbt_mm.datasets.checks.guard import build_guarded, guard_dataset
from lbbt_mm.datasets.checks.label_maps import LabelMapError


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def build(scope, config):
    with DefaultScope.overwrite_default_scope(scope):
        return build_guarded(lambda: ROOT.build(config), config)


def classification(folder, **options):
    pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
    return dict(
        dict(type="CustomDataset", data_root=str(folder), pipeline=pipeline), **options
    )


# ---------------------------------------------------------------------- segmentation


@pytest.fixture
def scenes(tmp_path):
    """Two images of 6x8 pixels, with the labels 0, 1, 2 and 255."""
    labels = np.zeros((6, 8), np.uint8)
    labels[0, :3], labels[5, 7] = [1, 2, 255], 2
    for name in "ab":
        save(tmp_path / f"images/{name}.png", np.zeros((6, 8, 3), np.uint8))
        save(tmp_path / f"maps/{name}.png", labels)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="PackSegInputs"),
    ]
    return dict(
        type="BaseSegDataset",
        data_root=str(tmp_path),
        data_prefix=dict(img_path="images", seg_map_path="maps"),
        img_suffix=".png",
        metainfo=dict(classes=("sky", "land", "sea")),
        pipeline=pipeline,
        serialize_data=False,  # it collects garbage, which takes a second
    )


@pytest.mark.parametrize("test_mode", [False, True])
def test_sound_label_maps_pass_as_they_are(scenes, test_mode):
    scenes["test_mode"] = test_mode
    with DefaultScope.overwrite_default_scope("mmseg"):
        plain = ROOT.build(scenes)
    guarded = build("mmseg", scenes)
    for index in range(2):
        before, after = (
            dataset[index]["data_samples"].gt_sem_seg.data
            for dataset in (plain, guarded)
        )
        assert before.tolist() == after.tolist()
    # 16 bits a pixel, but no value that needs them.
    deep = np.zeros((6, 8), np.uint16)
    deep[0, 0] = 2
    save(plain_map(scenes), deep)
    assert guarded[1]["data_samples"].gt_sem_seg.data[0, 0, 0] == 2


def plain_map(scenes):
    from pathlib import Path

    return Path(scenes["data_root"]) / "maps/b.png"


def map_of(value, shape=(6, 8), kind=np.uint8):
    pixels = np.zeros(shape, kind)
    pixels[-1] = value
    return pixels


@pytest.mark.parametrize("test_mode", [False, True])
@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (map_of(3), r"from 0 to 2 \(the dataset's 3 classes\) or 255 for none, got 3"),
        (map_of(300, kind=np.uint16), "got the value 300, which does not fit"),
        (map_of(2, (6, 8, 3)), r"got an image of shape \(6, 8, 3\)"),
        (map_of(2, (8, 6)), "size of .*b.png, 6x8, got 8x6"),
    ],
)
def test_label_maps_that_are_none(scenes, pixels, words, test_mode):
    path = save(plain_map(scenes), pixels)
    scenes["test_mode"] = test_mode
    dataset = build("mmseg", scenes)
    dataset[0]  # the other one is sound
    with pytest.raises(LabelMapError, match=f"{path}: expected .*{words}") as error:
        dataset[1]
    assert "\n" not in error.value.sentence


def test_labels_after_zero_was_taken_away(scenes):
    scenes["reduce_zero_label"] = True
    build("mmseg", scenes)[1]
    path = save(plain_map(scenes), map_of(4))
    words = "from 0 to 2 after reduce_zero_label .*got 3"
    with pytest.raises(LabelMapError, match=f"{path}.*{words}"):
        build("mmseg", scenes)[1]


@pytest.mark.parametrize("part", ["images", "maps"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>404</html>", "16 bytes are no complete image"),
        (b"", "the file is empty"),
        (None, "there is no such file"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_files_that_cannot_be_read(scenes, tmp_path, part, content, words, workers):
    path = tmp_path / part / "b.png"
    dataset = build("mmseg", scenes)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    loader = DataLoader(dataset, num_workers=workers, collate_fn=list)
    with pytest.raises(DamagedImageError) as error:
        list(loader)
    assert error.value.sentence.startswith(f"{path} cannot be read ({words})")


def test_an_image_beyond_what_is_decoded(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    scenes["pipeline"][0]["imdecode_backend"] = "pillow"
    with pytest.raises(DamagedImageError, match=r"a.png .*image size \(48 pixels\) is"):
        build("mmseg", scenes)[0]


# ------------------------------------------------------------------------- detection


@pytest.fixture
def coco(tmp_path):
    """An image with a cat, one with a dog, and an empty one."""
    for number in range(3):
        save(tmp_path / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
    box = dict(bbox=[1, 1, 4, 4], area=16, iscrowd=0)
    content = dict(
        images=[dict(id=n, file_name=f"{n}.png", height=8, width=8) for n in range(3)],
        annotations=[
            dict(box, id=1, image_id=0, category_id=7),
            dict(box, id=2, image_id=1, category_id=9),
        ],
        categories=[dict(id=7, name="cat"), dict(id=9, name="dog")],
    )
    config = dict(
        type="CocoDataset",
        data_root=str(tmp_path),
        ann_file="all.json",
        data_prefix=dict(img=""),
        metainfo=dict(classes=("cat", "dog")),
        serialize_data=False,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="PackDetInputs"),
        ],
    )

    def write(**changes):
        text = json.dumps({**changes, **content, **changes})
        (tmp_path / "all.json").write_text(text)
        return config

    write()
    return write


TURNED = [dict(id=9, name="dog"), dict(id=7, name="cat")]


def labels(dataset):
    return [dataset[i]["data_samples"].gt_instances.labels.tolist() for i in range(3)]


def test_categories_that_fit_pass(coco):
    assert labels(build("mmdet", coco())) == [[0], [1], []]
    # One that is missing at the end moves no other.
    config = dict(coco(), metainfo=dict(classes=("cat", "dog", "horse")))
    assert labels(build("mmdet", config)) == [[0], [1], []]
    unlabelled = coco(annotations=[])
    unlabelled["pipeline"] = [unlabelled["pipeline"][0]]
    build("mmdet", unlabelled)


@pytest.mark.parametrize("serialize", [False, True])
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("test_mode", [False, True])
def test_names_that_do_not_fit_are_refused_with_both_lists(
    coco, filtered, test_mode, serialize
):
    config = dict(coco(), metainfo=dict(classes=("Cat", "Dog")), test_mode=test_mode)
    config["serialize_data"] = serialize
    if filtered:
        config["filter_cfg"] = dict(filter_empty_gt=True)
    with pytest.raises(DataError, match="all.json: .* Cat, Dog, got cat, dog;"):
        build("mmdet", config)


def test_the_check_looks_into_wrappers(coco):
    config = dict(coco(), metainfo=dict(classes=("Cat", "Dog")))
    with DefaultScope.overwrite_default_scope("mmdet"):
        inner = ROOT.build(config)
    with pytest.raises(CategoryError, match="got cat, dog"):
        guard_dataset(RepeatDataset(inner, times=2))
    with pytest.raises(CategoryError, match="got cat, dog"):
        guard_dataset(ConcatDataset([inner, inner]))


def test_a_missing_name_that_moves_the_others_is_refused(coco):
    config = dict(coco(), metainfo=dict(classes=("bird", "cat", "dog")))
    words = "bird, cat, dog, got cat, dog without bird"
    with pytest.raises(CategoryError, match=words):
        build("mmdet", config)


@pytest.mark.parametrize("test_mode", [False, True])
def test_classes_in_another_order_than_the_file_are_refused(coco, test_mode):
    """mmdet would number by the file, so that a cat were called a dog."""
    turned = dict(classes=("dog", "cat"))
    with pytest.raises(CategoryError, match=r"numbered, cat, dog, got .* dog, cat,"):
        build("mmdet", dict(coco(), metainfo=turned, test_mode=test_mode))
    build("mmdet", dict(coco(categories=TURNED), metainfo=turned, test_mode=test_mode))
    with pytest.raises(CategoryError, match=r"numbered, dog, cat, got .* cat, dog,"):
        build("mmdet", dict(coco(categories=TURNED), test_mode=test_mode))


def test_one_name_twice_is_refused(coco):
    double = [dict(id=1, name="cat"), *reversed(TURNED)]
    with pytest.raises(CategoryError, match="numbered, cat, cat, dog, got"):
        build("mmdet", coco(categories=double))


def test_the_order_is_that_of_the_labels(coco):
    """Objects365 sorts the file's categories by their id before it numbers them."""
    build("mmdet", dict(coco(categories=TURNED), type="Objects365V1Dataset"))


def test_categories_are_found_among_others(coco):
    """Not in what stands before, and with more text than is read at first."""
    long = [dict(c, synonyms=["x" * 2**20]) for c in TURNED]
    info = {"categories": [dict(id=1, name="x")]}
    with pytest.raises(CategoryError, match="numbered, dog, cat, got"):
        build("mmdet", coco(info=info, categories=long))


def test_no_box_at_all_is_refused_for_training_only(coco):
    config = coco(annotations=[])
    with pytest.raises(CategoryError, match="boxes of cat, dog .*none in 3 images"):
        build("mmdet", config)
    build("mmdet", dict(config, test_mode=True))


def test_files_that_are_no_coco(coco, tmp_path):
    config = coco()
    for content, words in (
        ("{", "expected annotations as JSON"),
        ("[]", "got a list, without images, annotations, categories"),
        ('{"images": [], "annotations": []}', "without categories"),
        ('{"images": [], "annotations": [], "categories": []}', "got an empty list"),
    ):
        (tmp_path / "all.json").write_text(content)
        with pytest.raises(DataError, match=f"all.json: .*{words}"):
            build("mmdet", config)


def test_records_that_are_none_of_coco(coco):
    image = dict(id=0, file_name="0.png", height=8, width=8)
    box = dict(id=1, image_id=0, category_id=7, bbox=[1, 1, 4, 4], area=16)
    for changes, words in (
        (dict(annotations=None), "annotations as a list, got 'None'"),
        (dict(images=dict(a=1)), "images as a list"),
        (dict(images=[image, dict(id=1)]), r"images\[1\] with id, file_name, height"),
        (dict(images=["0.png"]), r"images\[0\] with id, .*got 0.png"),
        (dict(annotations=[dict(box, area=None)]), r"annotations\[0\] with id, image"),
        (dict(annotations=[dict(box, bbox=[1, 2, 3])]), r"\.bbox as .*got \[1, 2, 3\]"),
        (dict(annotations=[dict(box, bbox=["a", 1, 2, 3])]), r"annotations\[0\].bbox"),
    ):
        with pytest.raises(DataError, match=f"all.json: expected {words}|{words}"):
            build("mmdet", coco(**changes))


def test_a_missing_image_is_named(coco, tmp_path):
    dataset = build("mmdet", coco())
    (tmp_path / "1.png").unlink()
    with pytest.raises(DamagedImageError, match="1.png cannot be read .*no such file"):
        dataset[1]


# -------------------------------------------------------------------- classification


def test_a_damaged_image_without_any_wrapper(tmp_path):
    path = save(tmp_path / "a/0.png", np.zeros((4, 4, 3), np.uint8))
    dataset = build("mmpretrain", classification(tmp_path))
    path.write_bytes(b"no image")
    with pytest.raises(DamagedImageError, match="a/0.png cannot be read .8 bytes"):
        dataset[0]


def test_somebody_elses_error_stays_what_it_is(tmp_path):
    save(tmp_path / "a/0.png", np.zeros((4, 4, 3), np.uint8))
    dataset = build("mmpretrain", classification(tmp_path))

    def broken(info):
        raise ZeroDivisionError("mine")

    dataset.pipeline.transforms.insert(1, broken)
    with pytest.raises(ZeroDivisionError, match="mine"):
        dataset[0]


def test_zero_images(tmp_path, scenes):
    (tmp_path / "empty/a").mkdir(parents=True)
    config = classification(tmp_path / "empty")
    for found in (config, dict(type="RepeatDataset", dataset=config, times=2)):
        with pytest.raises(DataError, match="expected images in .*empty.*got none"):
            build("mmpretrain", found)
    scenes["img_suffix"] = ".JPG"
    for serialize in (False, True):
        scenes["serialize_data"] = serialize
        with pytest.raises(DataError, match="expected images in .*got none"):
            build("mmseg", scenes)


def test_classes_in_another_order_than_their_folders_are_refused(tmp_path):
    """mmpretrain numbers folders by their sorted names, whatever ``classes`` says."""
    for name in ("cat", "dog"):
        save(tmp_path / name / "0.png", np.zeros((8, 8, 3), np.uint8))
    for fits in (["cat", "dog"], ["Felis", "Canis"], None):
        build("mmpretrain", classification(tmp_path, classes=fits))
    with pytest.raises(CategoryError, match="numbered, cat, dog, got .* dog, cat,"):
        build("mmpretrain", classification(tmp_path, classes=["dog", "cat"]))


def test_what_a_folder_dataset_leaves_out_is_said_once(tmp_path, monkeypatch):
    for name in ("a/0.png", "a/1.PNG", "a/2.gif", "b/3.webp", "b/.4.png"):
        save(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    os.symlink(tmp_path / "nowhere", tmp_path / "b/5.png")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    lines = []
    monkeypatch.setattr(left_out, "print_log", lambda line, **_: lines.append(line))
    dataset = build("mmpretrain", classification(tmp_path))
    guard_dataset(dataset)
    (said,) = lines
    assert len(dataset) == 2
    assert "4 files are left out (1 hidden, 1 links to nowhere, 1 with the" in said
    assert "suffix .gif, 1 with the suffix .webp: a/2.gif, b/.4.png" in said
    assert "hidden folder .ipynb_checkpoints counts as a class" in said
    # Under a wrapper, and with a plain loader, too.
    len(
        RandomLabelDataset(
            classification(tmp_path, type="mmpretrain.CustomDataset"), 2, 1.0
        )
    )
    assert len(lines) == 2


def test_capital_letters_of_a_suffix_in_mmseg(scenes, tmp_path):
    dataset = build("mmseg", scenes)
    assert left_out.left_out(dataset) is None
    (tmp_path / "images/b.png").rename(tmp_path / "images/b.PNG")
    words = r"1 files are left out \(1 with the suffix .PNG: b.PNG\); img_suffix"
    assert re.search(words, left_out.left_out(build("mmseg", scenes)))
