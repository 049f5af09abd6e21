"""CorruptImage: every recipe, the same each time, and only on test images."""

from __future__ import annotations

import sys

import imagecorruptions
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lbbt_mm.config import load_config
from lbbt_mm.datasets import CorruptImage
from lbbt_mm.probe.setup import probe_dataloaders

RECIPES = imagecorruptions.get_corruption_names("all")


def picture(*shape: int) -> np.ndarray:
    """Waves, so that no recipe leaves it alone."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = 128 + 60 * np.sin(x / 3) + 60 * np.cos(y / 4)
    if len(shape) == 3:
        waves = np.stack([np.roll(waves, 3 * i, 0) for i in range(shape[2])], -1)
    return waves.clip(0, 255).astype(np.uint8)


def corrupted(image: np.ndarray, *args, **options) -> np.ndarray:
    return CorruptImage(*args, **options)(dict(img=image.copy()))["img"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_function_of_the_image(name: str, capsys) -> None:
    image = picture(32, 40, 3)
    first = corrupted(image, name, 3)
    assert first.shape == image.shape and first.dtype == np.uint8
    assert (first != image).any()
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    assert (corrupted(image, name, 3) == first).all()
    assert (np.random.get_state()[1] == state).all()  # nobody else's draws change
    assert capsys.readouterr().out == ""
    if name == "saturate":
        with pytest.raises(ValueError, match="changes colours, and the images are g"):
            corrupted(picture(28, 28, 1), name, 2)
        return
    grey = corrupted(picture(28, 28, 1), name, 2)
    assert grey.shape == (28, 28, 1) and (grey != picture(28, 28, 1)).any()


def test_severity_seed_and_image_change_what_comes_out() -> None:
    image = picture(32, 32, 3)
    away = [
        np.abs(corrupted(image, "gaussian_noise", s).astype(int) - image).mean()
        for s in (1, 3, 5)
    ]
    assert away[0] < away[1] < away[2]
    for name in ("gaussian_noise", "impulse_noise", "glass_blur"):
        one, other = (corrupted(image, name, 1, seed=seed) for seed in (0, 1))
        assert (one != other).any(), name
    brighter = np.minimum(image, 254) + 1
    noise = [corrupted(i, "gaussian_noise").astype(int) - i for i in (image, brighter)]
    assert (noise[0] != noise[1]).mean() > 0.5


def test_it_is_the_librarys_in_either_order_of_channels() -> None:
    image = picture(32, 32, 3)
    rgb = corrupted(image, "brightness", 2, channel_order="rgb")
    assert (rgb == imagecorruptions.corrupt(image, 2, "brightness")).all()
    bgr = CorruptImage("jpeg_compression", 5)(dict(img=image[..., ::-1].copy()))["img"]
    wanted = imagecorruptions.corrupt(image, 5, "jpeg_compression")
    assert (bgr[..., ::-1] == wanted).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(corruption="rain"), "a corruption among gaussian_noise, .*got 'rain'"),
        (dict(corruption="fog", severity=6), "severity from 1 to 5, got 6"),
        (dict(corruption="fog", severity=True), "severity from 1 to 5, got True"),
        (dict(corruption="fog", channel_order="hsv"), "'bgr' or 'rgb', got 'hsv'"),
    ],
)
def test_what_there_is_not(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CorruptImage(**options)


def test_what_is_no_picture_and_a_library_that_is_not_there(monkeypatch) -> None:
    with pytest.raises(ValueError, match="uint8 image of one or three channels, got f"):
        corrupted(np.zeros((32, 32, 3), np.float32), "fog")
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ImportError, match="pip install imagecorruptions-imaug"):
        CorruptImage("fog")


@pytest.mark.parametrize(
    "name",
    [
        "bridge/minilm_language_random100_6e_fashion-mnist.py",
        "objectives/minilm_language_true+entropy_6e_fashion-mnist.py",
        "finetune/gpt2-medium_language-bridged_true_100e_cifar10.py",
    ],
)
def test_configs_corrupt_their_test_images_and_no_others(name: str, request) -> None:
    root = request.config.rootpath / "configs"
    changed = dict(corruption="fog", severity=2)
    cfg: Config = load_config(root / name, changed)
    init_default_scope("mmpretrain")
    recipe = cfg.test_dataloader.dataset.pipeline[0]
    assert recipe.type == "lbbt_mm.CorruptImage"
    assert (recipe.corruption, recipe.severity) == ("fog", 2)
    assert "CorruptImage" not in str(cfg.train_dataloader)
    assert "CorruptImage" not in str(cfg.val_dataloader)
    probed = probe_dataloaders(cfg)
    assert "CorruptImage" in str(probed["test"])
    assert "CorruptImage" not in str(probed["train"])
