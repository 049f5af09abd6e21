"""ViTDet's neck by itself: strides, channels, norms, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops import RoIAlign
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.testing import assert_close

from lbbt_mm.models import LanguageBackbone, SimpleFeaturePyramid
from lbbt_mm.models.backbone.simple_pyramid import ChannelNorm


@pytest.mark.parametrize(
    ("in_stride", "strides"),
    [
        (16, (4, 8, 16, 32)),
        (16, (4, 8, 16, 32, 64)),
        (16, (8, 16, 32, 64, 128)),
        (8, (4, 8, 16, 32)),
        (14, (7, 14, 28)),
        (16, (32, 64)),
    ],
)
def test_levels_have_their_strides(in_stride, strides):
    neck = SimpleFeaturePyramid(16, 8, in_stride, strides)
    rows, columns = 5, 6
    levels = neck((torch.randn(2, 16, rows, columns),))
    for level, stride in zip(levels, strides, strict=True):
        sides = (-(-side * in_stride // stride) for side in (rows, columns))
        assert level.shape == (2, 8, *sides)
    sum(level.pow(2).sum() for level in levels).backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())


def detectrons(dim: int, out: int) -> nn.ModuleList:
    """detectron2's SimpleFeaturePyramid for ViTDet: scales 4, 2, 1 and a half."""

    class Norm(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))

        def forward(self, x):
            x = x - x.mean(1, keepdim=True)
            x = x / (x.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
            return self.weight[:, None, None] * x + self.bias[:, None, None]

    half, quarter, up = dim // 2, dim // 4, nn.ConvTranspose2d
    scaled = [
        (
            [up(dim, half, 2, 2), Norm(half), nn.GELU(), up(half, quarter, 2, 2)],
            quarter,
        ),
        ([up(dim, half, 2, 2)], half),
        ([], dim),
        ([nn.MaxPool2d(2, 2)], dim),
    ]
    levels = nn.ModuleList()
    for layers, channels in scaled:
        first = nn.Conv2d(channels, out, 1, bias=False)
        second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        levels.append(nn.Sequential(*layers, first, Norm(out), second, Norm(out)))
    return levels


def test_it_computes_what_detectron2s_does():
    neck = SimpleFeaturePyramid(16, 8, strides=(4, 8, 16, 32, 64))
    levels = detectrons(16, 8)
    with torch.no_grad():
        for ours, theirs in zip(neck.parameters(), levels.parameters(), strict=True):
            ours.copy_(theirs.copy_(torch.randn_like(theirs)))
    x = torch.randn(2, 16, 6, 4)
    expected = [level(x) for level in levels]
    expected.append(nn.functional.max_pool2d(expected[-1], 1, 2))
    for got, wanted in zip(neck((x,)), expected, strict=True):
        assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_place_of_a_level_is_where_it_was_in_the_map():
    """Of a map that is zero but for one place, levels change around that place."""
    neck = SimpleFeaturePyramid(16, 8, strides=(4, 8, 16, 32, 64), norm_cfg=None)
    x = torch.zeros(1, 16, 16, 16)
    still = neck((x,))
    x[:, :, 4, 8] = 1
    for stride, before, now in zip(neck.strides, still, neck((x,)), strict=True):
        rows, columns = (before != now)[0].any(0).nonzero().unbind(1)
        for places, at in ((rows, 4 * 16), (columns, 8 * 16)):
            # The patch of 16 pixels, and one place more by the 3x3 convolution.
            assert places.min() * stride >= at - stride
            assert places.max() * stride < at + 16 + stride


@pytest.mark.parametrize("norm_cfg", [dict(type="LN", eps=1e-6), None])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_what_is_cut_out_of_a_level_is_what_stands_there(norm_cfg, order):
    """mmcv's RoIAlign reads memory; other orders than its own gave other regions."""
    neck = SimpleFeaturePyramid(16, 8, strides=(8, 16, 32, 64), norm_cfg=norm_cfg)
    levels = neck((torch.randn(2, 16, 6, 8).to(memory_format=order),))
    for level, stride in zip(levels, neck.strides, strict=True):
        # One place of the second image, row 1, column 0, without interpolation.
        box = torch.tensor([[1.0, 0.0, stride, stride, 2 * stride]])
        found = RoIAlign(1, 1 / stride, sampling_ratio=1)(level, box)
        assert_close(found[0, :, 0, 0], level[1, :, 1, 0])


def test_the_default_norm_is_one_of_channels_and_others_are_mmcvs():
    neck = SimpleFeaturePyramid(16, 8)
    norms = [m for m in neck.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 4 * 2 + 1 and {norm.eps for norm in norms} == {1e-6}
    (level, *_) = neck((torch.randn(1, 16, 3, 3) * 9,))
    assert_close(level.mean(1), torch.zeros(1, 12, 12), atol=1e-5, rtol=0)
    x = torch.randn(2, 8, 3, 4)
    assert_close(ChannelNorm(8)(x)[1, :, 2, 3], nn.LayerNorm(8)(x[1, :, 2, 3]))
    group = SimpleFeaturePyramid(16, 8, norm_cfg=dict(type="GN", num_groups=2))
    assert not any(isinstance(m, nn.LayerNorm) for m in group.modules())
    assert sum(isinstance(m, nn.GroupNorm) for m in group.modules()) == 9
    frozen = SimpleFeaturePyramid(16, 8, norm_cfg=dict(type="LN", requires_grad=False))
    assert sum(not p.requires_grad for p in frozen.parameters()) == 2 * 9
    bare = SimpleFeaturePyramid(16, 8, norm_cfg=None)
    assert all(m.bias is not None for m in bare.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(strides=(4, 16)), "each be twice the one before"),
        (dict(strides=()), "each be twice the one before"),
        (dict(strides=(64, 128)), "the first at most twice in_stride=16"),
        (dict(strides=(5, 10)), "a power of two times it; got"),
        (dict(in_stride=14), "a power of two times it; got"),
        (dict(in_channels=18), "stride 4 halves in_channels=18 2 times"),
        (dict(in_channels="768"), "in_channels must be a positive whole number"),
        (dict(out_channels=0), "out_channels must be a positive whole number"),
        (dict(strides=16), "strides must be a list of whole numbers .* got 16"),
        (dict(strides="48"), "strides must be a list of whole numbers .* got '48'"),
        (dict(strides=(4, True)), "each of strides must be a positive whole number"),
        (dict(strides=(8, 4, 16)), "each be twice the one before"),
        (dict(strides=(4, 4, 8)), "each be twice the one before"),
        (dict(norm_cfg="LN"), "norm_cfg must be a dict with type, .* got 'LN'"),
        (dict(norm_cfg=dict(eps=1e-5)), "norm_cfg must be a dict with type"),
    ],
)
def test_strides_that_cannot_be_made_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SimpleFeaturePyramid(**(dict(in_channels=16) | options))


def test_another_map_than_it_was_built_for_is_refused():
    neck = SimpleFeaturePyramid(768)
    backbone = LanguageBackbone(
        "gpt2",
        pretrained=False,
        num_layers=2,
        img_size=32,
        patch_size=8,
        out_type="featmap",
        out_indices=(0, 1),
    )
    maps = backbone(torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"takes one map .* out_indices=-1"):
        neck(maps)
    with pytest.raises(ValueError, match="in_stride=16, got a map of stride 8"):
        neck(maps[1:])
    assert len(SimpleFeaturePyramid(768, 8, in_stride=8)(maps[1:])) == 4
    with pytest.raises(ValueError, match="in_channels=16, got a map of 768 channels"):
        SimpleFeaturePyramid(16)(maps[1:])
    with pytest.raises(
        ValueError, match=r"got \(1, 768\); set the backbone's out_type"
    ):
        neck((torch.zeros(1, 768),))


def test_a_classifier_of_mmpretrain_takes_it_too():
    from mmpretrain.structures import DataSample
    from mmpretrain.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope("mmpretrain")
    backbone = dict(type="lbbt_mm.LanguageBackbone", language_model="distilgpt2")
    backbone |= dict(pretrained=False, num_layers=1, img_size=32, out_type="featmap")
    neck = dict(type="lbbt_mm.SimpleFeaturePyramid", in_channels=768, out_channels=8)
    head = dict(type="CSRAClsHead", num_classes=3, in_channels=8, num_heads=1, lam=0.1)
    head["loss"] = dict(type="CrossEntropyLoss", use_sigmoid=True)
    model = MODELS.build(
        dict(type="ImageClassifier", backbone=backbone, neck=neck, head=head)
    )
    model.init_weights()
    sample = DataSample().set_gt_score(torch.tensor([1.0, 0.0, 1.0]))
    images = torch.randn(1, 3, 64, 64)
    model(images, [sample], mode="loss")["loss"].backward()
    assert model.backbone.patch_embed.projection.weight.grad.abs().max() > 0
    (found,) = model.eval()(images, mode="predict")
    assert found.pred_score.shape == (3,)
