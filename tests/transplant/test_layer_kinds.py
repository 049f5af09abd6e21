"""Stock layers of mmdet and mmpretrain: a right copy, or an honest refusal."""

from __future__ import annotations

import pytest
import shapes
import torch
from shapes import BERT, FFN, HEADS, WIDTH
from torch import nn
from torch.testing import assert_close

from lbbt_mm.transplant import TransplantError, make_plan

ATTENTION = dict(embed_dims=WIDTH, num_heads=HEADS, dropout=0.0, batch_first=True)
DEFORMABLE = dict(embed_dims=WIDTH, num_heads=HEADS, batch_first=True)
OPTIONS = dict(
    ffn_cfg=dict(
        embed_dims=WIDTH,
        feedforward_channels=FFN,
        num_fcs=2,
        ffn_drop=0.0,
        act_cfg=dict(type="GELU"),
    ),
    norm_cfg=dict(type="LN", eps=1e-12),
)
# Each part of mmdet's layers as they lie in the class that others inherit from.
PARENT = dict(
    norm_order="post",
    attn_norm="norms.0",
    qkv="self_attn.attn",
    out="self_attn.attn.out_proj",
    ffn_norm="norms.2",
    up="ffn.layers.0.0",
    activation="ffn.layers.0.1",
    down="ffn.layers.1",
)


def decoder_layer(name: str, **options) -> nn.Module:
    from mmdet.models.layers import transformer

    kind = getattr(transformer, name)
    attentions = dict(self_attn_cfg=dict(ATTENTION), cross_attn_cfg=dict(ATTENTION))
    return kind(**{**attentions, **OPTIONS, **options}).eval()


def plan_of(layer: nn.Module, checkpoint, **options):
    return make_plan(nn.Sequential(layer), checkpoint, [dict(module="0", **options)])


def refusal(layer: nn.Module, checkpoint, **options) -> str:
    with pytest.raises(TransplantError) as caught:
        plan_of(layer, checkpoint, **options)
    return str(caught.value)


@pytest.fixture
def bert(tmp_path):
    return shapes.make(BERT, tmp_path)


def test_mask2former_whose_cross_attention_comes_first(bert) -> None:
    original, checkpoint = bert
    block = original.encoder.layer[0]
    layer = decoder_layer("Mask2FormerTransformerDecoderLayer")
    plan_of(layer, checkpoint, blocks=0).apply(nn.Sequential(layer))
    x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 9, WIDTH)
    with torch.no_grad():
        own = block.attention
        crossed = own.output.LayerNorm(
            own.output.dense(shapes._attend(own.self, x, memory)) + x
        )
        expected = block(crossed)[0]
        got = layer(x, key=memory, value=memory)
    assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_and_without_its_cross_attention(bert) -> None:
    original, checkpoint = bert
    layer = decoder_layer("Mask2FormerTransformerDecoderLayer")
    plan = plan_of(layer, checkpoint, blocks=0, cross_attention="skip")
    plan.apply(nn.Sequential(layer))
    # What would be left of another class's table: the norm of the other attention.
    assert torch.equal(layer.norms[0].weight, torch.ones(WIDTH))
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        got = layer.norms[1](layer.self_attn(x, x, x))
        got = layer.norms[2](layer.ffn(got))
        expected = original.encoder.layer[0](x)[0]
    assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_plain_detr_is_as_it_was(bert) -> None:
    original, checkpoint = bert
    layer = decoder_layer("DetrTransformerDecoderLayer")
    plan_of(layer, checkpoint, blocks=0).apply(nn.Sequential(layer))
    x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 9, WIDTH)
    original.encoder.layer = original.encoder.layer[:1]
    with torch.no_grad():
        expected = shapes._crossing_bert(original, x, memory)
        got = layer(x, key=memory, value=memory)
    assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["ConditionalDetrTransformerDecoderLayer", "DABDetrTransformerDecoderLayer"]
)
def test_other_functions_are_refused_and_so_is_a_flag(name, bert) -> None:
    options = dict(
        self_attn_cfg=dict(embed_dims=WIDTH, num_heads=HEADS, attn_drop=0.0),
        cross_attn_cfg=dict(embed_dims=WIDTH, num_heads=HEADS, attn_drop=0.0),
    )
    if name.startswith("Conditional"):
        options["self_attn_cfg"]["cross_attn"] = False
        options["cross_attn_cfg"]["cross_attn"] = True
    layer = decoder_layer(name, **options)
    said = refusal(layer, bert[1])
    assert "computes something else than" in said and "norm_first" not in said
    assert "which norm belongs to which stands in its forward()" in said
    # Nor does the flag of another class's advice let it through.
    layer.norm_first = False
    assert "computes something else than" in refusal(layer, bert[1])
    # To describe it is honest about what a block has not.
    own = {
        key: place.replace("self_attn.attn.out_proj", "self_attn.out_proj")
        for key, place in PARENT.items()
    }
    own["qkv"] = [
        f"self_attn.{n}" for n in ("qcontent_proj", "kcontent_proj", "v_proj")
    ]
    assert "qpos_proj" in refusal(layer, bert[1], mapping=own)


def test_deformable_layers_have_no_place_for_a_block(bert) -> None:
    from mmdet.models.layers.transformer import DeformableDetrTransformerEncoderLayer

    encoder = DeformableDetrTransformerEncoderLayer(
        self_attn_cfg=dict(DEFORMABLE), **OPTIONS
    )
    said = refusal(encoder, bert[1])
    assert "deformable and other attention has no place for a block" in said
    mapping = dict(PARENT, ffn_norm="norms.1", out="self_attn.output_proj")
    mapping["qkv"] = [
        f"self_attn.{n}"
        for n in ("sampling_offsets", "attention_weights", "value_proj")
    ]
    assert "should keep qkv in parts of one shape" in refusal(
        encoder, bert[1], mapping=mapping
    )
    decoder = decoder_layer(
        "DeformableDetrTransformerDecoderLayer", cross_attn_cfg=dict(DEFORMABLE)
    )
    assert "no place for a block" in refusal(decoder, bert[1])


def test_a_subclass_of_torchs_layers_with_another_order(bert) -> None:
    class CrossFirst(nn.TransformerDecoderLayer):
        def forward(self, x, memory):
            x = self.norm2(x + self._mha_block(x, memory, None, None))
            x = self.norm1(x + self._sa_block(x, None, None))
            return self.norm3(x + self._ff_block(x))

    class OtherBlock(nn.TransformerEncoderLayer):
        def _ff_block(self, x):
            return 2 * super()._ff_block(x)

    # torch's classes have norm_first, whatever a subclass computes.
    options = dict(activation="gelu", layer_norm_eps=1e-12, batch_first=True)
    for kind, own in ((CrossFirst, "forward"), (OtherBlock, "_ff_block")):
        said = refusal(kind(WIDTH, HEADS, FFN, **options), bert[1])
        assert f"(its own {own})" in said


def test_a_mapping_does_not_contradict_its_layer(bert) -> None:
    layer = decoder_layer("DetrTransformerDecoderLayer")
    said = refusal(layer, bert[1], mapping=dict(PARENT, num_heads=2))
    assert "says num_heads=2, but self_attn.attn has 4" in said
    layer.norm_first = True
    assert "has norm_first=True: let them agree" in refusal(
        layer, bert[1], mapping=PARENT
    )


def test_beit_and_swin_of_mmpretrain(bert) -> None:
    from mmpretrain.models.backbones.beit import BEiTTransformerEncoderLayer
    from mmpretrain.models.backbones.swin_transformer import SwinBlock

    beit = BEiTTransformerEncoderLayer(
        WIDTH,
        HEADS,
        FFN,
        layer_scale_init_value=0.0,
        window_size=(3, 3),
        use_rel_pos_bias=True,
    )
    assert "computes something else than" in refusal(beit, bert[1])
    assert "no table describes" in refusal(SwinBlock(WIDTH, HEADS), bert[1])
    mapping = dict(
        norm_order="pre",
        attn_norm="norm1",
        qkv="attn.w_msa.qkv",
        out="attn.w_msa.proj",
        ffn_norm="norm2",
        up="ffn.layers.0.0",
        activation="ffn.layers.0.1",
        down="ffn.layers.1",
    )
    said = refusal(SwinBlock(WIDTH, HEADS), bert[1], mapping=mapping)
    assert "relative_position_bias_table" in said
