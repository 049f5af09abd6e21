"""Damaged image files: stop with a sentence, or skip, count and report."""

from __future__ import annotations

import re

import mmpretrain.datasets  # noqa: F401
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS as ROOT
from mmengine.registry import DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from lbbt_mm.datasets import (
    DamagedImageError,
    FewLabelDataset,
    RandomLabelDataset,
    SkipDamagedImages,
)

N = 12  # images 0 to 5 are in class a, 6 to 11 in class b; every pixel of i is 10 * i


@pytest.fixture
def folder(tmp_path):
    for i in range(N):
        path = tmp_path / "ab"[i >= N // 2] / f"{i:02d}.{'png' if i % 2 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 10 * i, np.uint8)).save(path)
    return tmp_path


def images(folder, load=None):
    config = dict(
        type="CustomDataset",
        data_root=str(folder),
        pipeline=[
            dict(type="LoadImageFromFile", **(load or {})),
            dict(type="PackInputs"),
        ],
        serialize_data=False,  # it collects garbage, which takes a second
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return ROOT.build(config)


def file(folder, i):
    (path,) = folder.glob(f"*/{i:02d}.*")
    return path


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path):
    path.write_text("<html>404</html>")


def empty(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


def number(sample):
    """Which image it is, by its pixels (JPEG is not exact)."""
    return round(float(sample["inputs"].float().mean()) / 10)


# -------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("wrapper", [RandomLabelDataset, FewLabelDataset])
@pytest.mark.parametrize(
    "i, damage, load, why",
    [
        (3, half, {}, r"\d+ bytes are no complete image"),
        (4, half, dict(imdecode_backend="pillow"), r"\d+ bytes are no complete image"),
        (3, text, {}, "16 bytes are no complete image"),
        (3, text, dict(imdecode_backend="pillow"), "16 bytes are no complete image"),
        (4, empty, {}, "the file is empty"),
        (4, gone, {}, "there is no such file"),
    ],
)
def test_by_default_it_stops_and_names_file_and_index(
    folder, wrapper, i, damage, load, why
):
    inner = images(folder, load)
    path = file(folder, i)
    damage(path)
    if wrapper is RandomLabelDataset:
        dataset = RandomLabelDataset(inner, 10, ratio=1)
    else:
        dataset = FewLabelDataset(inner, labels=1.0)
    words = (
        f"{wrapper.__name__}: image {i}, {re.escape(str(path))}, cannot be read "
        rf"\({why}\); replace the file, or wrap lbbt_mm.SkipDamagedImages around"
    )
    with pytest.raises(DamagedImageError, match=words) as caught:
        dataset[i]
    assert "\n" not in str(caught.value)
    assert number(dataset[i + 1]) == i + 1


def test_a_worker_hands_the_sentence_on(folder):
    dataset = RandomLabelDataset(images(folder), 10, ratio=1)
    empty(file(folder, 7))
    with pytest.raises(DamagedImageError) as caught:
        list(DataLoader(dataset, 4, num_workers=1, collate_fn=list))
    assert "Traceback" in str(caught.value)
    assert caught.value.sentence.startswith("RandomLabelDataset: image 7, ")
    assert "\n" not in caught.value.sentence


def test_a_failing_transform_is_not_blamed_on_the_image(folder):
    inner = images(folder)
    inner.pipeline.transforms.append(lambda data: 1 / 0)
    for dataset in (RandomLabelDataset(inner, 10, ratio=1), SkipDamagedImages(inner)):
        with pytest.raises(ZeroDivisionError):
            dataset[0]


# -------------------------------------------------------------------------- skipping


@pytest.fixture
def logged(tmp_path_factory):
    """Lines about damaged images in a run's log, of this process and its workers."""
    path = tmp_path_factory.mktemp("log") / "run.log"
    MMLogger.get_instance("test_damaged", logger_name="mmengine", log_file=str(path))
    yield lambda: [li for li in path.read_text().splitlines() if "SkipDamaged" in li]
    MMLogger._instance_dict.pop("test_damaged")


@pytest.mark.parametrize("damage", [half, text, empty, gone])
def test_the_next_readable_image_with_its_own_label_takes_the_place(
    folder, damage, logged
):
    bridge = RandomLabelDataset(images(folder), 10, ratio=1, seed=4)
    labels = bridge.get_gt_labels()
    dataset = SkipDamagedImages(bridge)
    for i in (3, 6, 7, 11):
        damage(file(folder, i))
    shown = [0, 1, 2, 4, 4, 5, 8, 8, 8, 9, 10, 0]
    for _ in range(2):  # and in every epoch
        for i, shown_instead in enumerate(shown):
            sample = dataset[i]
            assert number(sample) == shown_instead
            assert sample["data_samples"].gt_label.item() == labels[shown_instead]
            assert sample["data_samples"].sample_idx == shown_instead
    assert dataset.damaged.tolist() == [3, 6, 7, 11]
    np.testing.assert_array_equal(dataset.get_gt_labels(), labels)
    assert len(dataset) == N and dataset.CLASSES == bridge.CLASSES
    lines = logged()
    assert len(lines) == 4, "each file once"
    assert f"image 3, {folder}/a/03.png, cannot be read (" in lines[0]
    assert "image 4 takes its place. Damaged so far: 1 of 12 images, at" in lines[0]
    assert "image 6, " in lines[1] and "image 8 takes its place" in lines[1]
    assert "Damaged so far: 4 of 12 images, at most 10 are accepted" in lines[3]


def test_a_jpeg_that_opencv_may_fill_with_grey_counts(folder, logged, monkeypatch):
    dataset = SkipDamagedImages(images(folder))
    half(file(folder, 4))
    # As OpenCV before 4.12 does it, whichever version this is.
    fill = np.full((16, 16, 3), 128, np.uint8)
    monkeypatch.setattr("mmcv.imfrombytes", lambda *_, **__: fill)
    assert dataset[4]["data_samples"].sample_idx == 5
    (line,) = logged()
    assert "04.jpg, cannot be read (the end of the JPEG is missing)" in line
    # Bytes after the end are common and harmless.
    path = file(folder, 6)
    path.write_bytes(path.read_bytes() + b"made by a camera")
    assert dataset[6]["data_samples"].sample_idx == 6


def test_workers_and_epochs_report_once_and_share_the_count(folder, logged):
    dataset = SkipDamagedImages(RandomLabelDataset(images(folder), 10, ratio=1))
    for i in (2, 5):
        empty(file(folder, i))
    loader = DataLoader(dataset, 2, num_workers=2, shuffle=True, collate_fn=list)
    for _ in range(2):  # the workers of the second epoch are new processes
        shown = sorted(number(sample) for batch in loader for sample in batch)
        assert shown == [0, 1, 3, 3, 4, 6, 6, 7, 8, 9, 10, 11]
    assert dataset.damaged.tolist() == [2, 5]
    assert len(logged()) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_stop_the_run(folder, workers):
    dataset = SkipDamagedImages(images(folder), max_damaged=2)
    for i in (1, 5, 9):
        text(file(folder, i))
    loader = DataLoader(dataset, 1, num_workers=workers, collate_fn=list)
    words = (
        "SkipDamagedImages: expected at most 2 damaged images of 12, got 3, lately "
        f"image 9, {folder}/b/09.png, cannot be read (16 bytes are no complete image); "
        "replace the files that the log names, or raise max_damaged."
    )
    with pytest.raises(DamagedImageError) as caught:
        list(loader)
    assert caught.value.sentence == words


def test_none_left(folder):
    dataset = SkipDamagedImages(images(folder), max_damaged=N)
    for i in range(N):
        gone(file(folder, i))
    with pytest.raises(DamagedImageError, match="but all 12 are damaged"):
        dataset[3]


def test_around_each_kind_of_dataset(folder):
    empty_at = 3
    parts = ConcatDataset([images(folder), images(folder)])
    few = FewLabelDataset(images(folder), labels=1.0)
    empty(file(folder, empty_at))
    twice = SkipDamagedImages(parts)
    assert number(twice[N + empty_at]) == empty_at + 1
    assert twice.damaged.tolist() == [N + empty_at]
    assert number(SkipDamagedImages(few)[empty_at]) == empty_at + 1
    with pytest.raises(TypeError, match=r"SkipDamagedImages\(FewLabelDataset\(\.\.\."):
        FewLabelDataset(SkipDamagedImages(images(folder)))


def test_bad_arguments(folder):
    hides = images(folder, dict(ignore_empty=True))
    for inner in (hides, RandomLabelDataset(hides, 10, ratio=1)):
        with pytest.raises(
            ValueError, match="got ignore_empty=True.*leave ignore_empt"
        ):
            SkipDamagedImages(inner)
    for bad, error in ((-1, ValueError), (0.1, TypeError), (True, TypeError)):
        with pytest.raises(error, match=f"max_damaged of 0 or more, got {bad}; it is"):
            SkipDamagedImages(images(folder), max_damaged=bad)
