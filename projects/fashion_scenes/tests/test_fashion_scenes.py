"""Fashion scenes: what is composed, what is annotated, and that both stay."""

from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fashion_scenes.scenes import (
    GARMENTS,
    Garments,
    Recipe,
    Scene,
    compose_scene,
    garment_mask,
    load_garments,
)

RECIPE = Recipe(empty=0.0)
COUNT = 40


@pytest.fixture(scope="module")
def scenes(toy_garments) -> list[Scene]:
    return [
        compose_scene(toy_garments["train"], RECIPE, "train", index)
        for index in range(COUNT)
    ]


# ------------------------------------------------------------------- always the same


def test_a_scene_is_a_pure_function(toy_garments, scenes) -> None:
    np.random.seed(5)  # nobody's business
    again = compose_scene(toy_garments["train"], RECIPE, "train", 7)
    np.testing.assert_array_equal(again.image, scenes[7].image)
    np.testing.assert_array_equal(again.label_map(), scenes[7].label_map())
    assert len(again.garments) == len(scenes[7].garments)
    for one, other in zip(again.garments, scenes[7].garments, strict=True):
        assert one[:3] == other[:3] and one.visible_share == other.visible_share


@pytest.mark.parametrize(
    "other",
    [dict(seed=1), dict(split="val"), dict(index=8)],
    ids=lambda o: next(iter(o)),
)
def test_another_seed_split_or_index_is_another_scene(
    toy_garments, scenes, other
) -> None:
    recipe = replace(RECIPE, seed=other.get("seed", 0))
    split, index = other.get("split", "train"), other.get("index", 7)
    scene = compose_scene(toy_garments["train"], recipe, split, index)
    same = np.mean(scene.image == scenes[7].image)
    assert same < 0.2


def test_the_pixels_of_this_scene_never_change(scenes) -> None:
    # If this fails, everybody's scenes have become others: say so in the changelog.
    digest = hashlib.sha256(scenes[7].image.tobytes() + scenes[7].label_map().tobytes())
    assert digest.hexdigest()[:16] == "bd127d86c2fc153a"


def test_plain_scenes_are_the_same_garments_in_grey_on_black(
    toy_garments, scenes
) -> None:
    recipe = replace(RECIPE, plain=True)
    plain = compose_scene(toy_garments["train"], recipe, "train", 7)
    np.testing.assert_array_equal(plain.label_map(), scenes[7].label_map())
    red, green, blue = np.moveaxis(plain.image, 2, 0)
    np.testing.assert_array_equal(red, green)
    np.testing.assert_array_equal(red, blue)
    inside = plain.label_map() > 0
    # The darkest shade, on an edge that lets half of the ground through.
    assert red[inside].min() >= 0.5 * 0.3 * 255 - 1
    assert np.mean(red[~inside] == 0) > 0.9


# --------------------------------------------------------- what is seen is annotated


def test_boxes_are_tight_around_what_is_visible(scenes) -> None:
    for scene in scenes:
        for garment in scene.garments:
            x, y, width, height = garment.box
            inside = garment.mask[y : y + height, x : x + width]
            assert inside.sum() == garment.mask.sum() > 0
            edges = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
            assert all(edge.any() for edge in edges)


def test_masks_share_no_pixel_and_make_the_label_map(scenes, toy_garments) -> None:
    labels = toy_garments["train"].labels
    for scene in scenes:
        masks = np.array([garment.mask for garment in scene.garments])
        assert masks.sum(axis=0).max() == 1
        found = scene.label_map()
        np.testing.assert_array_equal(found > 0, masks.any(axis=0))
        for garment in scene.garments:
            assert garment.label == labels[garment.source]
            assert (found[garment.mask] == garment.label + 1).all()


def test_nothing_else_is_in_the_picture(scenes, toy_garments) -> None:
    # The same backgrounds without garments: away from the masks and their soft edges
    # no pixel differs, and in the masks almost all do.
    for index, scene in enumerate(scenes):
        bare = compose_scene(
            toy_garments["train"], replace(RECIPE, empty=1.0), "train", index
        )
        assert not bare.garments and not bare.label_map().any()
        differs = (bare.image != scene.image).any(axis=-1)
        garment = scene.label_map() > 0
        assert differs[garment].mean() > 0.98
        near = np.pad(garment, 3)
        near = np.lib.stride_tricks.sliding_window_view(near, (7, 7)).any(axis=(2, 3))
        # A garment of an enclosed hole or cut by the edge has no other soft edge.
        assert not differs[~near].any()


def test_enough_of_every_garment_is_visible(scenes, toy_garments) -> None:
    shares = [g.visible_share for scene in scenes for g in scene.garments]
    assert min(shares) >= RECIPE.min_visible and max(shares) == 1
    assert any(share < 0.9 for share in shares), "some garments hide others"
    strict = replace(RECIPE, min_visible=1.0)
    whole = compose_scene(toy_garments["train"], strict, "train", 0)
    assert {garment.visible_share for garment in whole.garments} == {1.0}


def test_a_garment_that_finds_no_place_is_left_out(toy_garments) -> None:
    recipe = Recipe(scale=(1.0, 1.0), min_visible=1.0, empty=0.0)
    for index in range(5):
        scene = compose_scene(toy_garments["train"], recipe, "train", index)
        assert len(scene.garments) <= 1


def test_numbers_of_garments(scenes, toy_garments) -> None:
    counts = np.bincount([len(scene.garments) for scene in scenes])
    assert len(counts) == RECIPE.max_garments + 1
    assert counts[0] == 0 and (counts[1:] > 0).all()
    half = replace(RECIPE, empty=0.5)
    made = [
        compose_scene(toy_garments["train"], half, "train", i) for i in range(COUNT)
    ]
    assert 0.25 < np.mean([not scene.garments for scene in made]) < 0.75


@pytest.mark.parametrize("canvas", [56, 97, 200])
def test_other_canvases(toy_garments, canvas: int) -> None:
    recipe = replace(RECIPE, canvas=canvas)
    scene = compose_scene(toy_garments["train"], recipe, "train", 0)
    assert scene.image.shape == (canvas, canvas, 3) and scene.image.dtype == np.uint8
    assert scene.label_map().shape == (canvas, canvas)
    assert scene.garments


# ---------------------------------------------------------------------------- masks


def test_a_dark_print_is_garment_and_a_gap_is_not() -> None:
    grey = np.zeros((28, 28), np.uint8)
    grey[4:24, 4:24] = 200
    grey[8:12, 8:12] = 0  # enclosed
    grey[14:24, 13:15] = 0  # open below, as between the legs of trousers
    open_gap = np.zeros_like(grey, bool)
    open_gap[14:24, 13:15] = True
    square = np.zeros_like(open_gap)
    square[4:24, 4:24] = True
    np.testing.assert_array_equal(
        garment_mask(grey, see_through=False), square & ~open_gap
    )
    np.testing.assert_array_equal(garment_mask(grey, see_through=True), grey > 0)


def test_a_bag_is_seen_through_at_its_handle_and_a_shirt_is_not() -> None:
    ring = np.full((28, 28), 255, np.uint8)
    ring[8:20, 8:20] = 0
    recipe = Recipe(max_garments=1, scale=(0.5, 0.5), empty=0.0, min_visible=1.0)
    shares = {}
    for name in ("Bag", "Shirt"):
        garments = Garments(ring[None], np.array([GARMENTS.index(name)]))
        (garment,) = compose_scene(garments, recipe, "train", 0).garments
        shares[name] = garment.mask.sum() / (garment.box[2] * garment.box[3])
    assert shares["Shirt"] == 1
    assert shares["Bag"] == pytest.approx(1 - (12 / 28) ** 2, abs=0.05)


# --------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(canvas=32), "a canvas of 56 pixels or more.*got 32. Enlarge"),
        (dict(canvas=0), "a canvas of 56"),
        (dict(scale=(0.1, 0.6)), "a canvas of 140 pixels"),
        (dict(scale=(0.6, 0.3)), "LOW <= HIGH <= 1, got"),
        (dict(scale=(0.5, 1.5)), "LOW <= HIGH <= 1, got"),
        (dict(scale=(float("nan"), 1.0)), "LOW <= HIGH <= 1, got"),
        (dict(max_garments=0), "max_garments of 1 or more, got 0"),
        (dict(min_visible=0.0), "min_visible <= 1, got 0"),
        (dict(empty=1.5), "0 to 1, got 1.5"),
        (dict(seed=-1), "a seed from 0"),
        (dict(seed=2**32), "a seed from 0"),
    ],
    ids=str,
)
def test_recipes_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe(**options)


def write_idx(folder: Path, images: np.ndarray) -> None:
    for stem in ("train", "t10k"):
        header = struct.pack(">IIII", 0x803, *images.shape)
        path = folder / f"{stem}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(header + images.astype(np.uint8).tobytes()))
        labels = struct.pack(">II", 0x801, len(images)) + bytes(len(images))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(labels)


def test_garments_are_read_from_the_right_split(tmp_path, write_idx_images) -> None:
    write_idx_images(tmp_path, 12)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-12] + bytes([9] * 12))
    train, val = (load_garments(tmp_path, split) for split in ("train", "val"))
    assert train.images.shape == val.images.shape == (12, 28, 28)
    assert train.labels.tolist() == [i % 10 for i in range(12)]
    assert val.labels.tolist() == [9] * 12


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="four idx files.*dataset-fashion-mnist"
    ):
        load_garments(tmp_path, "train")
    write_idx(tmp_path, np.full((3, 32, 32), 99))
    with pytest.raises(ValueError, match="images of 28x28 pixels in .*, got 32x32"):
        load_garments(tmp_path, "train")
    images = np.full((3, 28, 28), 99)
    images[1] = 7
    write_idx(tmp_path, images)
    with pytest.raises(ValueError, match="no pixel above 20 .* image 1 of the test"):
        load_garments(tmp_path, "val")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="a broken gzip stream"):
        load_garments(tmp_path, "train")
