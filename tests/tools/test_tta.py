"""``tools/test.py --tta``: the average over several scales, each also mirrored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

SCALES = [(8, 8), (16, 16), (32, 32)]
CONFIG = """
default_scope = 'mmseg'
crop_size = (16, 16)
data_preprocessor = dict(
    type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, size=crop_size)
model = dict(
    type='EncoderDecoder', data_preprocessor=data_preprocessor,
    backbone=dict(
        type='VisionTransformer', img_size=crop_size, patch_size=8, embed_dims=16,
        num_layers=1, num_heads=2, final_norm=True),
    decode_head=dict(
        type='SegmenterMaskTransformerHead', in_channels=16, channels=16,
        num_classes=3, num_layers=1, num_heads=2, embed_dims=16,
        loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=crop_size))
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=crop_size),
    dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='Resize', scale=s) for s in {scales}],
        [dict(type='RandomFlip', prob=p) for p in (0., 1.)],
        [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]])]
tta_model = dict(type='SegTTAModel')
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset', data_root={root!r}, pipeline=test_pipeline,
        data_prefix=dict(img_path='images', seg_map_path='truth'),
        metainfo=dict(classes=('a', 'b', 'c'), palette=[[0, 0, 0]] * 3)))
test_evaluator = dict(type='IoUMetric')
test_cfg = dict()
"""


@pytest.fixture
def segmenter(project) -> Path:
    """A config of mmseg, two pictures with their truth, and a checkpoint."""
    from mmengine.registry import MODELS, init_default_scope

    random = np.random.default_rng(0)
    for folder, shape, suffix in (
        ("images", (20, 20, 3), "jpg"),
        ("truth", (20, 20), "png"),
    ):
        (project.root / folder).mkdir()
        for name in "ab":
            pixels = random.integers(0, 256 if suffix == "jpg" else 3, shape, np.uint8)
            Image.fromarray(pixels).save(project.root / folder / f"{name}.{suffix}")
    path = project.root / "segmenter.py"
    path.write_text(CONFIG.format(root=str(project.root), scales=SCALES))
    init_default_scope("mmseg")
    model = MODELS.build(Config.fromfile(path).model)
    torch.save(dict(state_dict=model.state_dict()), project.root / "model.pth")
    return path


def evaluate(tool, project, config: Path, *options: str) -> dict[str, float]:
    out = project.root / "metrics.json"
    options = ("--out", str(out), "--work-dir", str(project.work_dir), *options)
    tool("test.py", config, "model.pth", *options).main()
    return json.loads(out.read_text())


@pytest.fixture
def seen(monkeypatch) -> list[tuple[int, int]]:
    """Sizes of the images that the model is asked about, and whether mirrored."""
    from mmseg.models import EncoderDecoder

    found = []
    predict = EncoderDecoder.predict

    def watch(self, inputs, data_samples=None):
        for sample in data_samples:
            found.append((tuple(sample.img_shape), bool(sample.metainfo.get("flip"))))
        return predict(self, inputs, data_samples)

    monkeypatch.setattr(EncoderDecoder, "predict", watch)
    return found


def test_each_image_is_seen_at_every_scale_and_mirrored(
    tool, project, segmenter, seen
) -> None:
    single = evaluate(tool, project, segmenter)
    assert seen == [((16, 16), False)] * 2
    seen.clear()
    several = evaluate(tool, project, segmenter, "--tta")
    views = [(scale, flip) for scale in SCALES for flip in (False, True)]
    assert seen == views * 2
    assert several.keys() == single.keys() and "mIoU" in several
    # The weights reached the model that stands inside the one that averages.
    again = evaluate(tool, project, segmenter, "--tta")
    assert again == several != single


def test_views_have_to_be_in_the_config(project, failing) -> None:
    torch.save({"state_dict": {}}, project.root / "model.pth")
    message = failing("test.py", "model.pth", "--tta")
    assert "--tta expects tta_model and tta_pipeline in the config" in message
