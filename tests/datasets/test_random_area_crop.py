"""RandomAreaCrop with EnlargeOnDevice: a RandomResizedCrop, on the terms named here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.datasets import PackInputs, RandomResizedCrop
from mmpretrain.registry import TRANSFORMS

SIZE, RANGE = 224, (0.2, 1.0)


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmpretrain")


def photo(seed: int) -> np.ndarray:
    """A picture (32, 32, 3) of waves some pixels long."""
    waves = np.random.RandomState(seed).uniform(0.5, 1.5, (3, 2))
    y, x = np.mgrid[:32, :32]
    rows = [np.sin(a * x) + np.cos(b * y) for a, b in waves]
    return (128 + 50 * np.stack(rows, -1)).astype(np.uint8)


def enlarger(**options):
    normalise = dict(type="mmpretrain.ClsDataPreprocessor", num_classes=10)
    return MODELS.build(
        dict(type="lbbt_mm.EnlargeOnDevice", size=SIZE, mode="pillow-bicubic")
        | dict(preprocessor=normalise | options)
    )


def crops(cut) -> list[dict]:
    np.random.seed(0)
    pack = PackInputs()
    return [pack(cut(dict(img=photo(seed), gt_label=seed))) for seed in range(8)]


def test_one_interpolation_of_the_same_crop() -> None:
    """Off by the rounding to grey levels that Pillow makes twice; labels stay."""
    cut = TRANSFORMS.build(dict(type="lbbt_mm.RandomAreaCrop", crop_ratio_range=RANGE))
    ours = enlarger()(pseudo_collate(crops(cut)), training=True)
    pillow = dict(backend="pillow", interpolation="bicubic")
    theirs = crops(RandomResizedCrop(SIZE, RANGE, **pillow))
    expected = torch.stack([one["inputs"] for one in theirs]).float()
    away = (ours["inputs"].clamp(0, 255) - expected).abs()
    assert ours["inputs"].shape == (8, 3, SIZE, SIZE)
    assert away.max() <= 2 and away.mean() < 0.5
    assert [int(s.gt_label) for s in ours["data_samples"]] == list(range(8))
    assert ours["data_samples"][0].img_shape == (SIZE, SIZE)


def test_resized_to_its_own_size_first_it_is_another_picture() -> None:
    pillow = dict(backend="pillow", interpolation="bicubic")
    small = crops(RandomResizedCrop(32, RANGE, **pillow))
    twice = enlarger()(pseudo_collate(small))["inputs"]
    once = crops(RandomResizedCrop(SIZE, RANGE, **pillow))
    expected = torch.stack([one["inputs"] for one in once]).float()
    assert (twice.clamp(0, 255) - expected).abs().mean() > 1


def test_crops_of_several_sizes_are_not_mixed() -> None:
    cut = TRANSFORMS.build(dict(type="lbbt_mm.RandomAreaCrop", crop_ratio_range=RANGE))
    mixing = enlarger(batch_augments=dict(augments=dict(type="Mixup", alpha=0.8)))
    mixing.preprocessor.to_onehot = True
    with pytest.raises(ValueError, match="expected images of one size to mix"):
        mixing(pseudo_collate(crops(cut)), training=True)


def test_the_policy_is_torchvisions() -> None:
    """Names and probabilities of ImageNet's 25 pairs."""
    from mmpretrain.datasets.transforms.auto_augment import AUTOAUG_POLICIES
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    names = {"ShearX": "Shear", "Color": "ColorTransform"}
    theirs = AutoAugment(AutoAugmentPolicy.IMAGENET).policies
    expected = [[(names.get(n, n), p) for n, p, _ in pair] for pair in theirs]
    found = [
        [(one["type"], one["prob"]) for one in pair]
        for pair in AUTOAUG_POLICIES["imagenet"]
    ]
    assert found == expected
