"""Fashion scenes on disk: the layout, the same bytes again, whole or not at all."""

from __future__ import annotations

import errno
import itertools
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from fashion_scenes import files as fashion_scenes_files
from fashion_scenes.files import (
    Sizes,
    run_lengths,
    write_fashion_scenes,
)
from fashion_scenes.scenes import GARMENTS, Recipe, compose_scene
from forked import ForkedScript
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
RECIPE = Recipe(empty=0.2, seed=3)  # as in the fixture toy_scenes
SIZES = Sizes(train=12, val=12, tiny_train=3, tiny_val=2)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / "detection" / f"{name}.json").read_text())


def test_layout(toy_scenes: Path) -> None:
    train = [f"train_{i:06d}" for i in range(12)]
    val = [f"val_{i:06d}" for i in range(12)]
    lists = {"train": train, "tiny_train": train[:3], "val": val, "tiny_val": val[:2]}
    expected = {"scenes.json", "examples.png"}
    for kind in ("images", "annotations"):
        expected |= {f"{kind}/training/{name}.png" for name in train}
        expected |= {f"{kind}/validation/{name}.png" for name in val}
    for name, names in lists.items():
        expected |= {f"detection/{name}.json", f"segmentation/{name}.txt"}
        text = (toy_scenes / f"segmentation/{name}.txt").read_text()
        assert text.split("\n") == [*names, ""]
        images = read(toy_scenes, name)["images"]
        assert [image["file_name"] for image in images] == [f"{n}.png" for n in names]
    assert set(tree(toy_scenes)) == expected
    with Image.open(toy_scenes / "examples.png") as sheet:
        assert sheet.width > 3 * 256 and sheet.height > 4 * 256  # 6 scenes, twice


def test_both_formats_are_of_the_composed_scenes(toy_scenes, toy_garments) -> None:
    for split, folder in (("train", "training"), ("val", "validation")):
        coco = read(toy_scenes, split)
        for image in coco["images"]:
            index = image["id"] - 1
            scene = compose_scene(toy_garments[split], RECIPE, split, index)
            path = f"{folder}/{image['file_name']}"
            with Image.open(toy_scenes / "images" / path) as pixels:
                assert pixels.mode == "RGB"
                np.testing.assert_array_equal(pixels, scene.image)
            with Image.open(toy_scenes / "annotations" / path) as labels:
                assert labels.mode == "L"
                np.testing.assert_array_equal(labels, scene.label_map())
            found = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
            assert len(found) == len(scene.garments)
            for annotation, garment in zip(found, scene.garments, strict=True):
                assert annotation["category_id"] == garment.label + 1
                assert annotation["bbox"] == list(garment.box)
                assert annotation["area"] == garment.mask.sum()
                assert annotation["iscrowd"] == 0
                mask = decode(annotation["segmentation"])
                np.testing.assert_array_equal(mask, garment.mask)
                assert annotation["source_index"] == garment.source
                assert RECIPE.min_visible <= annotation["visible_share"] <= 1


def decode(segmentation: dict) -> np.ndarray:
    """Run lengths -> mask, by the words of COCO's format."""
    values = itertools.cycle([0, 1])
    flat = [
        v
        for v, n in zip(values, segmentation["counts"], strict=False)
        for _ in range(n)
    ]
    height, width = segmentation["size"]
    return np.array(flat, bool).reshape(width, height).T


def test_run_lengths_of_corners() -> None:
    for mask in (np.zeros((3, 2), bool), np.ones((3, 2), bool), np.eye(4, dtype=bool)):
        lengths = run_lengths(mask)
        assert sum(lengths) == mask.size
        size = list(mask.shape)
        decoded = decode({"size": size, "counts": lengths})
        np.testing.assert_array_equal(decoded, mask)


def test_ids_and_categories(toy_scenes: Path) -> None:
    for name in ("train", "val", "tiny_train", "tiny_val"):
        content = read(toy_scenes, name)
        assert [c["name"] for c in content["categories"]] == list(GARMENTS)
        assert [c["id"] for c in content["categories"]] == [*range(1, 11)]
        ids = [a["id"] for a in content["annotations"]]
        assert ids == [*range(1, len(ids) + 1)]
        images = {image["id"] for image in content["images"]}
        with_garments = {a["image_id"] for a in content["annotations"]}
        assert with_garments <= images
    assert any(
        len({a["image_id"] for a in content["annotations"]}) < len(content["images"])
        for content in (read(toy_scenes, "train"), read(toy_scenes, "val"))
    ), "some scenes are empty"


def test_the_record_tells_how_it_was_made(toy_scenes: Path, toy_garments) -> None:
    record = json.loads((toy_scenes / "scenes.json").read_text())
    settings = {**asdict(RECIPE), **asdict(SIZES), "scale": list(RECIPE.scale)}
    assert record["settings"] == settings
    for split in ("train", "val"):
        found, content = record["statistics"][split], read(toy_scenes, split)
        numbers = found["scenes_with_0_1_2_garments"]
        assert found["scenes"] == sum(numbers) == 12
        garments = sum(n * count for n, count in enumerate(numbers))
        assert garments == found["garments"] == len(content["annotations"])
        assert garments == sum(found["garments_per_class"].values())
        folder = {"train": "training", "val": "validation"}[split]
        paths = sorted((toy_scenes / "images" / folder).iterdir())
        pixels = np.array([np.asarray(Image.open(path)) for path in paths])
        mean, std = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
        np.testing.assert_allclose(found["pixel_mean_rgb"], mean, atol=0.01)
        np.testing.assert_allclose(found["pixel_std_rgb"], std, atol=0.01)
        paths = sorted((toy_scenes / "annotations" / folder).iterdir())
        share = np.mean([np.asarray(Image.open(path)) > 0 for path in paths])
        assert found["garment_pixels_share"] == pytest.approx(share, abs=0.001)


def test_the_same_options_make_the_same_bytes(
    toy_scenes: Path, toy_garments, tmp_path: Path
) -> None:
    write_fashion_scenes(toy_garments, RECIPE, SIZES, tmp_path / "again")
    assert tree(tmp_path / "again") == tree(toy_scenes)


def test_a_smaller_set_is_the_beginning_of_a_larger(
    toy_scenes: Path, toy_garments, tmp_path: Path
) -> None:
    sizes = Sizes(train=3, val=2, tiny_train=1, tiny_val=1)
    write_fashion_scenes(toy_garments, RECIPE, sizes, tmp_path / "few")
    few, many = tree(tmp_path / "few"), tree(toy_scenes)
    pictures = [name for name in few if name.startswith(("images", "annotations"))]
    assert len(pictures) == 10
    assert all(few[name] == many[name] for name in pictures)
    assert few["detection/train.json"] == many["detection/tiny_train.json"]
    assert few["segmentation/val.txt"] == many["segmentation/tiny_val.txt"]


def test_no_garment_anywhere(toy_garments, tmp_path: Path) -> None:
    recipe, sizes = Recipe(empty=1.0), Sizes(2, 1, 1, 1)
    record = write_fashion_scenes(toy_garments, recipe, sizes, tmp_path / "bare")
    assert record["statistics"]["train"]["scenes_with_0_1_2_garments"] == [2]
    assert record["statistics"]["train"]["mean_visible_share"] is None
    assert read(tmp_path / "bare", "train")["annotations"] == []
    assert not (tmp_path / "bare/examples.png").exists()


# ------------------------------------------------- nothing overwritten, nothing half


@pytest.mark.parametrize("what", ["folder", "full folder", "file", "dangling link"])
def test_what_is_there_stays(toy_garments, tmp_path: Path, what: str) -> None:
    target = tmp_path / "mine"
    if "folder" in what:
        target.mkdir()
    if what == "full folder":
        (target / "scenes.json").write_text("precious")
    if what == "file":
        target.write_text("precious")
    if what == "dangling link":
        target.symlink_to(tmp_path / "gone")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match="does not exist yet, got .*mine, which"):
        write_fashion_scenes(
            toy_garments,
            RECIPE,
            SIZES,
            target,
            progress=lambda *_: pytest.fail("scenes made for nothing"),
        )
    assert tree(tmp_path) == before and [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_appears_meanwhile_stays(toy_garments, tmp_path: Path) -> None:
    def meanwhile(scenes, *_):
        (tmp_path / "mine").mkdir(exist_ok=True)
        return scenes

    with pytest.raises(FileExistsError, match="does not exist yet"):
        write_fashion_scenes(
            toy_garments, RECIPE, SIZES, tmp_path / "mine", progress=meanwhile
        )
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert not list((tmp_path / "mine").iterdir())


def test_a_full_disk_leaves_nothing(toy_garments, tmp_path, monkeypatch) -> None:
    save = Image.Image.save

    def full(self, path, *args, **kwargs):
        if "val_000001" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_fashion_scenes(toy_garments, RECIPE, SIZES, tmp_path / "mine")
    assert not list(tmp_path.iterdir())


KILLED = """
import os, sys, numpy as np
from fashion_scenes.scenes import Garments, Recipe
from fashion_scenes.files import Sizes, write_fashion_scenes

def killed(scenes, total, split):
    yield next(iter(scenes))
    os.kill(os.getpid(), 9)

square = Garments(np.full((1, 28, 28), 99, np.uint8), np.zeros(1, int))
write_fashion_scenes({"train": square, "val": square}, Recipe(), Sizes(), sys.argv[1],
                     progress=killed)
"""


def test_kill_9_leaves_nothing_that_looks_finished(
    toy_garments, tmp_path: Path
) -> None:
    target = tmp_path / "mine"
    assert ForkedScript(["-c", KILLED, target], ROOT).wait() == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".mine.part-"), "hidden, and not the name asked for"
    # The same command again is not in its own way.
    write_fashion_scenes(toy_garments, RECIPE, SIZES, target)
    assert (target / "scenes.json").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(train=0), "1 to 1000000 scenes in train, got 0"),
        (dict(val=-1), "scenes in val, got -1"),
        (dict(train=10**6 + 1), "scenes in train, got 1000001"),
        (dict(train=10), "1 to 10 scenes in tiny_train, .* first of train, got 64"),
        (dict(tiny_val=0), "scenes in tiny_val, .* got 0"),
    ],
    ids=str,
)
def test_sizes_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Sizes(**options)


def test_progress_sees_every_scene(toy_garments, tmp_path, monkeypatch) -> None:
    seen = []

    def progress(scenes, total, split):
        for number, scene in enumerate(scenes, 1):
            seen.append((split, number, total))
            yield scene

    monkeypatch.setattr(fashion_scenes_files, "_EXAMPLES", 1)
    write_fashion_scenes(
        toy_garments, RECIPE, Sizes(2, 1, 1, 1), tmp_path / "mine", progress=progress
    )
    assert seen == [("train", 1, 2), ("train", 2, 2), ("val", 1, 1)]
