"""Feature maps of a language model under mmseg's own heads."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData


@pytest.mark.parametrize(
    "head",
    [
        dict(
            type="FCNHead",
            in_channels=768,
            channels=16,
            num_convs=1,
            norm_cfg=dict(type="BN"),
        ),
        dict(
            type="SegmenterMaskTransformerHead",
            in_channels=768,
            channels=32,
            embed_dims=32,
            num_heads=2,
            num_layers=1,
        ),
        dict(
            type="UPerHead",
            in_channels=[768] * 4,
            in_index=[0, 1, 2, 3],
            channels=16,
            pool_scales=(1, 2),
            norm_cfg=dict(type="BN"),
        ),
    ],
    ids=lambda head: head["type"],
)
def test_trains_under_a_head_of_mmseg(head: dict) -> None:
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope("mmseg")
    several = head["type"] == "UPerHead"
    model = MODELS.build(
        dict(
            type="EncoderDecoder",
            backbone=dict(
                type="lbbt_mm.LanguageBackbone",
                language_model="distilgpt2",
                pretrained=False,
                num_layers=4,
                img_size=64,
                out_type="featmap",
                out_indices=[0, 1, 2, 3] if several else -1,
                trainable_layers="first:1",
            ),
            decode_head=dict(num_classes=5, **head),
            test_cfg=dict(mode="whole"),
        )
    )
    model.init_weights()
    sample = SegDataSample(metainfo=dict(img_shape=(64, 80), ori_shape=(64, 80)))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, 64, 80)))
    images = torch.randn(2, 3, 64, 80)
    losses = model(images, [sample, sample.clone()], mode="loss")
    sum(v.sum() for k, v in losses.items() if "loss" in k).backward()
    assert model.backbone.language.blocks[0].qkv.weight.grad is not None
    model.eval()
    logits = model(images, mode="tensor")
    assert logits.shape[:2] == (2, 5)
