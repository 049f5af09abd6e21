"""Enlarging on the device gives what enlarging in the pipeline gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from lbbt_mm.registry import MODELS

MEAN, STD = [125.3, 123.0, 113.9], [51.6, 50.8, 51.3]
INNER = dict(type="mmpretrain.ClsDataPreprocessor", mean=MEAN, std=STD, num_classes=3)


def build(size=224, preprocessor=INNER, **options) -> BaseDataPreprocessor:
    return MODELS.build(
        dict(
            type="lbbt_mm.EnlargeOnDevice",
            size=size,
            preprocessor=preprocessor,
            **options,
        )
    )


def images(count: int = 2, height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)


def enlarged_by_opencv(image: torch.Tensor, size, interpolation: int, dtype):
    """(C, H, W) -> (C, *size), as mmcv's Resize does it in a pipeline."""
    pixels = image.permute(1, 2, 0).numpy().astype(dtype)
    large = cv2.resize(pixels, size[::-1], interpolation=interpolation)
    return torch.from_numpy(large.astype(np.float32)).permute(2, 0, 1)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return (pixels - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize(
    ("mode", "interpolation"),
    [("bicubic", cv2.INTER_CUBIC), ("bilinear", cv2.INTER_LINEAR)],
)
@pytest.mark.parametrize("size", [(224, 224), (48, 80)])
def test_order_does_not_matter(mode: str, interpolation: int, size) -> None:
    batch = images()
    found = build(size, mode=mode)(dict(inputs=batch))["inputs"]
    assert found.shape == (2, 3, *size)
    for image, large in zip(batch, found, strict=True):
        expected = enlarged_by_opencv(image, size, interpolation, np.float32)
        assert_close(large, normalised(expected), rtol=0, atol=1e-4)


def test_a_pipeline_on_bytes_differs_by_rounding_and_clipping_only() -> None:
    batch = images()
    found = build(224)(dict(inputs=batch))["inputs"]
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    pixels = found * std[:, None, None] + mean[:, None, None]
    for image, large in zip(batch, pixels, strict=True):
        expected = enlarged_by_opencv(image, (224, 224), cv2.INTER_CUBIC, np.uint8)
        assert (large.clamp(0, 255) - expected).abs().max() <= 1.0


def test_list_of_images_and_their_remarks() -> None:
    samples = [
        DataSample(metainfo=dict(img_shape=(16, 32), scale_factor=(2.0, 1.0))),
        DataSample(metainfo=dict(img_path="a.png")),
    ]
    batch = [images(1, 16, 32)[0], images(1, 16, 32)[0]]
    out = build(64)(dict(inputs=batch, data_samples=samples))
    assert out["inputs"].shape == (2, 3, 64, 64)  # this preprocessor stacks lists
    first, second = out["data_samples"]
    assert first.img_shape == (64, 64) and first.scale_factor == (4.0, 4.0)
    assert "img_shape" not in second and second.img_path == "a.png"

    mixed = [images(1, 16, 32)[0], images(1, 20, 20)[0]]
    plain = build(64, dict(type="mmengine.BaseDataPreprocessor"))
    large = plain(dict(inputs=mixed))["inputs"]
    assert [image.shape for image in large] == [(3, 64, 64)] * 2


def test_batch_augmentations_of_a_classifier_reach_the_inner_one() -> None:
    mixup = dict(augments=dict(type="Mixup", alpha=1.0), probs=1.0)
    sample = [DataSample().set_gt_label(i) for i in range(2)]
    both = dict(inputs=images(), data_samples=sample)
    out = build(64, batch_augments=mixup)(both, training=True)
    assert all(len(s.gt_score) == 3 for s in out["data_samples"])


def test_a_model_moves_both() -> None:
    from mmengine.registry import init_default_scope
    from mmpretrain.models import ImageClassifier

    init_default_scope("mmpretrain")
    model = ImageClassifier(
        backbone=dict(type="LeNet5", num_classes=-1),
        data_preprocessor=dict(
            type="lbbt_mm.EnlargeOnDevice", size=64, preprocessor=dict(INNER)
        ),
    )
    outer = model.to("meta").data_preprocessor
    assert outer.device == outer.preprocessor.device == torch.device("meta")
    alone = build().to("meta")
    assert alone.device == alone.preprocessor.device == torch.device("meta")
    assert not list(outer.state_dict()), "a checkpoint must not carry it"


@pytest.fixture
def classifier():
    """One block of GPT-2 behind an EnlargeOnDevice that makes 32 pixels of 16."""
    from mmengine.registry import init_default_scope
    from mmpretrain.models import ImageClassifier

    init_default_scope("mmpretrain")
    model = ImageClassifier(
        backbone=dict(
            type="lbbt_mm.LanguageBackbone",
            language_model="distilgpt2",
            pretrained=False,
            num_layers=1,
            img_size=32,
            drop_rate=0.0,
        ),
        head=dict(type="LinearClsHead", num_classes=3, in_channels=768),
        data_preprocessor=dict(
            type="lbbt_mm.EnlargeOnDevice", size=32, preprocessor=dict(INNER)
        ),
    )
    model.init_weights()
    return model


def batch_of(count: int = 2) -> dict:
    samples = [DataSample().set_gt_label(i % 3) for i in range(count)]
    return dict(inputs=images(count, 16, 16), data_samples=samples)


class Loader(list):
    """Batches, and the dataset that they are of."""

    dataset = range(4)


def test_in_a_probe(classifier) -> None:
    from lbbt_mm.probe.features import extract_features

    batches = Loader([batch_of(), batch_of()])
    found = extract_features(classifier, batches)
    large = torch.cat([build(32)(batch)["inputs"] for batch in batches])
    with torch.no_grad():
        (expected,) = classifier.extract_feat(large, stage="backbone")
    assert_close(found.features, expected)
    assert found.labels.tolist() == [0, 1, 0, 1]


def test_in_training_and_test_under_ddp(classifier, tmp_path) -> None:
    import torch.distributed as dist
    from mmengine.model import MMDistributedDataParallel
    from mmengine.optim import OptimWrapper

    expected = classifier.eval().test_step(batch_of())
    dist.init_process_group("gloo", f"file://{tmp_path}/meet", world_size=1, rank=0)
    try:
        model = MMDistributedDataParallel(classifier, device_ids=None)
        found = model.eval().test_step(batch_of())
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        log = model.train().train_step(batch_of(), wrapper)
    finally:
        dist.destroy_process_group()
    assert len(found) == len(expected) == 2
    assert torch.isfinite(log["loss"])


def test_autocast_leaves_the_pixels_in_float32() -> None:
    batch = dict(inputs=images())
    expected = build()(batch)["inputs"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = build()(batch)["inputs"]
    assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(size=0), "size must be positive, got 0"),
        (dict(mode="area"), "bilinear, bicubic, pillow-bicubic; got 'area'"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_images_are_not_shrunk() -> None:
    with pytest.raises(ValueError, match="at most 24 x 24 pixels, got 32 x 32; shrink"):
        build(24)(dict(inputs=images()))
