"""What the three libraries test of their DETR, Segmenter and ViT, asked of ours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch.testing import assert_close

from lbbt_mm.models import LanguageBackbone

sys.path.append(str(Path(__file__).parent / "detection"))
import tiny_detr

KINDS = ["DETR", *tiny_detr.OURS]


# mmdet: a detector's losses with and without boxes, every mode ------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_boxes_has_a_class_loss_only(kind: str) -> None:
    model = tiny_detr.build_detr(kind)
    data = tiny_detr.batch((64, 96))
    boxes = torch.empty(0, 4), torch.empty(0, dtype=torch.long)
    data["data_samples"][0].gt_instances = InstanceData(
        bboxes=boxes[0], labels=boxes[1]
    )
    losses = model(**model.data_preprocessor(data, True), mode="loss")
    assert len(losses) == 3 * 2  # of both decoder layers
    for name, loss in losses.items():
        assert (loss > 0) if "cls" in name else (loss == 0), name
    sum(losses.values()).backward()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_with_a_box_has_all_losses(kind: str) -> None:
    model = tiny_detr.build_detr(kind)
    data = model.data_preprocessor(tiny_detr.batch((64, 96), (96, 64)), True)
    assert all(loss > 0 for loss in model(**data, mode="loss").values())


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_and_raw_outputs(kind: str) -> None:
    model = tiny_detr.build_detr(kind).eval()
    data = model.data_preprocessor(tiny_detr.batch((64, 96), (96, 64)), False)
    with torch.no_grad():
        found = model(**data, mode="predict")
        scores, boxes = model(**data, mode="tensor")
    assert [len(one.pred_instances) for one in found] == [6, 6]
    for one in found:
        height, width = one.img_shape
        inside = one.pred_instances.bboxes
        assert (inside >= 0).all() and (inside[:, ::2] <= width).all()
        assert (inside[:, 1::2] <= height).all()
    assert scores.shape == (2, 2, 6, tiny_detr.CLASSES + 1)
    assert boxes.shape == (2, 2, 6, 4)


# mmseg: the mask transformer's head ---------------------------------------------------


@pytest.mark.parametrize("options", [{}, dict(registers=1)])
def test_segmenters_head(options: dict) -> None:
    init_default_scope("mmseg")
    head = MODELS.build(
        dict(
            type="lbbt_mm.SegmenterHead" if options else "SegmenterMaskTransformerHead",
            in_channels=2,
            channels=2,
            num_classes=150,
            num_layers=2,
            num_heads=3,
            embed_dims=192,
            dropout_ratio=0.0,
            **options,
        )
    )
    head.init_weights()
    assert head([torch.randn(1, 2, 32, 32)]).shape == (1, 150, 32, 32)
    assert head([torch.randn(2, 2, 3, 5)]).shape == (2, 150, 3, 5)


# mmpretrain: a vision transformer's structure, weights, outputs -----------------------


def vit(**options) -> LanguageBackbone:
    options = dict(pretrained=False, num_layers=3, img_size=64) | options
    backbone = LanguageBackbone("gpt2", position="learned", drop_rate=0.0, **options)
    backbone.init_weights()
    return backbone


def test_weights_of_another_image_size(tmp_path) -> None:
    """As ViT: the positions of 14 x 14 patches in a model of 24 x 24, and back."""
    small = vit(img_size=224, num_layers=1)
    torch.save(small.state_dict(), tmp_path / "small.pth")
    large = vit(
        img_size=384,
        num_layers=1,
        init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "small.pth")),
    )
    assert large.patch_embed.positions.shape == (24, 24, 768)
    with torch.no_grad():
        large.patch_embed.positions.normal_()
    large.load_state_dict(small.state_dict())
    images = torch.randn(1, 3, 384, 384)
    assert_close(large(images)[0], small(images)[0])


@pytest.mark.parametrize(
    ("out_type", "shape"),
    [
        ("raw", (2, 20, 768)),
        ("avg", (2, 768)),
        ("last", (2, 768)),
        ("featmap", (2, 768, 4, 5)),
    ],
)
def test_every_kind_of_output_of_several_blocks(out_type: str, shape: tuple) -> None:
    backbone = vit(out_type=out_type, out_indices=[0, 1, -1]).eval()
    outs = backbone(torch.randn(2, 3, 60, 75))  # sides that no patch divides
    assert isinstance(outs, tuple) and [out.shape for out in outs] == [shape] * 3
    assert not torch.equal(outs[0], outs[1])


def test_layer_depths_of_a_whole_model() -> None:
    backbone = vit()
    depths = {}
    for name, _ in backbone.named_parameters():
        depths[name], count = backbone.get_layer_depth(f"backbone.{name}", "backbone.")
        assert count == 3 + 2
    assert depths["patch_embed.positions"] == 0 == depths["patch_embed.projection.bias"]
    for block in range(3):
        inside = {
            d for n, d in depths.items() if n.startswith(f"language.blocks.{block}.")
        }
        assert inside == {block + 1}
    assert depths["language.final_norm.weight"] == 4
    assert backbone.get_layer_depth("head.fc.weight", "backbone.") == (4, 5)
