"""A picture reaches a model as an image of its test set does, and comes out named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_run import finished_run
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from PIL import Image

from lbbt_mm.demo.models import open_model
from lbbt_mm.demo.picture import read_picture
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.measure.measured_model import MeasuredModel


def opened(cfg, checkpoint):
    return open_model(cfg.copy(), "config.py", str(checkpoint), "cpu")


@pytest.fixture
def cfg(project):
    return Config.fromfile(project.config)


@pytest.fixture
def save(tmp_path):
    """Save a model as it is drawn, for a config; returns the file."""

    def write(cfg, **meta):
        path = tmp_path / "epoch_1.pth"
        model = MeasuredModel(cfg, device="cpu").model
        torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
        return path

    return write


def of_test_set(cfg, checkpoint, number):
    """Scores of an image as a test gives it to the model."""
    model = MeasuredModel(cfg, str(checkpoint)).model
    batch = pseudo_collate([DATASETS.build(cfg.test_dataloader.dataset)[number]])
    return model.test_step(batch)[0].pred_score.tolist()


@pytest.mark.parametrize("to_rgb", [True, False])
def test_files_are_read_as_in_a_test(cfg, save, project, to_rgb) -> None:
    cfg.model.data_preprocessor.update(to_rgb=to_rgb, mean=[100.0, 120.0, 140.0])
    checkpoint = save(cfg)
    image = project.root / "test/light/1.png"
    colour = Image.new("RGB", (8, 8), (255, 60, 0))
    colour.save(image)
    chances, seen = opened(cfg, checkpoint)(read_picture(image))
    number = 4  # dark/0.png to 2.png, light/0.png, light/1.png
    assert [*chances.values()] == pytest.approx(of_test_set(cfg, checkpoint, number))
    assert seen.getpixel((3, 3)) == (255, 60, 0), (
        "in its true colours, whatever goes in"
    )


@pytest.mark.parametrize("colours", [1, 3])
def test_arrays_are_made_as_in_a_test(cfg, save, colours, monkeypatch) -> None:
    kind = {1: "lbbt_mm.MNIST5k", 3: "mmpretrain.CIFAR10"}[colours]
    side = {1: 28, 3: 32}[colours]
    image = np.random.RandomState(0).randint(0, 256, (side, side, colours), np.uint8)
    dataset = dict(type=kind, pipeline=[dict(type="PackInputs")])
    if colours == 1:
        dataset["split"] = "test"
    cfg.test_dataloader.dataset = dataset
    cfg.model.data_preprocessor = dict(mean=[33.0] * colours, std=[70.0] * colours)
    cfg.model.backbone.update(img_size=side, in_channels=colours)
    checkpoint = save(cfg)
    model = opened(cfg, checkpoint)
    picture = Image.fromarray(image.squeeze()).convert("RGB")
    _, seen = model(picture.resize((3 * side, 2 * side)))
    assert seen.size == (side, side) and seen.mode == ("L" if colours == 1 else "RGB")
    chances, seen = model(picture)
    assert (np.asarray(seen) == image.squeeze()).all()
    if colours == 3:
        cfg.test_dataloader.dataset.update(data_root="none", split="test")
    monkeypatch.setattr(
        DATASETS.get(kind), "load_data_list", lambda _: [dict(img=image, gt_label=0)]
    )
    assert [*chances.values()] == pytest.approx(of_test_set(cfg, checkpoint, 0))


def test_a_data_set_that_nobody_knows_is_refused(cfg, save) -> None:
    checkpoint = save(cfg)
    cfg.test_dataloader.dataset.pipeline = [dict(type="PackInputs")]
    with pytest.raises(ValueError, match="files .LoadImageFromFile.* got CustomDatas"):
        opened(cfg, checkpoint)


def test_names_come_with_the_checkpoint_and_each_once(cfg, save) -> None:
    grey = Image.new("RGB", (8, 8))
    cfg.train_dataloader.dataset = cfg.train_dataloader.dataset.dataset
    for classes, expected in (
        (("cat", "dog"), ["cat", "dog"]),
        (("crane", "crane"), ["crane (class 0)", "crane (class 1)"]),
        (("one", "of", "three"), ["class 0", "class 1"]),
        ("ab", ["class 0", "class 1"]),
        (None, ["class 0", "class 1"]),
    ):
        model = opened(cfg, save(cfg, dataset_meta=dict(classes=classes)))
        assert list(model(grey)[0]) == expected
        told = "Trained on true labels. 2 classes: " + ", ".join(expected)
        assert model.about == told


@pytest.mark.parametrize("said_by", ["config", "checkpoint"])
def test_random_labels_are_not_shown_as_classes(cfg, save, said_by) -> None:
    meta = dict(classes=("cat", "dog"))
    if said_by == "checkpoint":
        cfg.train_dataloader.dataset = cfg.train_dataloader.dataset.dataset
        meta["random_label"] = dict(ratio=1.0)
    model = opened(cfg, save(cfg, dataset_meta=meta))
    names = list(model(Image.new("RGB", (8, 8)))[0])
    assert names == ["random label 0", "random label 1"]
    assert "nothing of other" in model.about


def test_another_models_checkpoint_is_refused(cfg, save) -> None:
    checkpoint = save(cfg)
    cfg.model.backbone.arch.num_layers = 2
    with pytest.raises(CheckpointError, match="not the one in the config"):
        opened(cfg, checkpoint)
    cfg.model = dict(type="BaseTTAModel")
    with pytest.raises(ValueError, match="expected an lbbt_mm.LLaVA, a classifier"):
        opened(cfg, checkpoint)


def test_a_model_that_predicts_nothing_is_refused(cfg, save) -> None:
    cfg.model.head = None
    with pytest.raises(ValueError, match="ImageClassifier does not predict a picture"):
        opened(cfg, save(cfg))


def test_phone_pictures_stand_upright_and_bad_ones_are_named(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    path = tmp_path / "phone.jpg"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert read_picture(path).size == (20, 30)
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    with pytest.raises(ValueError, match="got nice.png, which cannot be read") as said:
        read_picture(bad, "nice.png")
    assert str(tmp_path) not in str(said.value)


@pytest.mark.parametrize("task", ["detr", "segmenter"])
def test_boxes_and_masks_are_drawn(task, toy_scenes, tmp_path) -> None:
    run = finished_run(task, toy_scenes, tmp_path / "run")
    cfg = Config.fromfile(run / "config.py")
    model = opened(cfg, run / "iter_9.pth")
    picture = read_picture(toy_scenes / "images/validation/val_000001.png")
    drawn, words = model(picture, 0.0) if task == "detr" else model(picture)
    assert drawn.size == picture.size
    assert (np.asarray(drawn) != np.asarray(picture)).any()
    names = (*model._meta["classes"],)
    assert any(name in words for name in names), words
    if task == "detr":
        nothing, words = model(picture, 1.1)
        assert words.startswith("Nothing has a score of 1.1; the best has 0.")
        assert (np.asarray(nothing) == np.asarray(picture)).all()
    else:
        assert "%" in words
