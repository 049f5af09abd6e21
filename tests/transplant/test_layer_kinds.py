"""Stock layers of mmdet and mmpretrain: a right copy, or an honest refusal."""

from __future__ import annotations

import importlib

import pytest
import shapes
import torch
from shapes import BERT, FFN, GPT2, HEADS, WIDTH
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


def conditional_layer(name: str, **options) -> nn.Module:
    attention = dict(embed_dims=WIDTH, num_heads=HEADS, attn_drop=0.0)
    options |= dict(
        self_attn_cfg=dict(attention, cross_attn=False),
        cross_attn_cfg=dict(attention, cross_attn=True),
    )
    return decoder_layer(name, **options)


@pytest.mark.parametrize(
    "name", ["ConditionalDetrTransformerDecoderLayer", "DABDetrTransformerDecoderLayer"]
)
def test_conditional_attention(name, bert) -> None:
    """Its self-attention without positions is a block's; its cross-attention is not."""
    original, checkpoint = bert
    layer = conditional_layer(name)
    said = refusal(layer, checkpoint)
    assert "content and position side by side" in said
    assert "set cross_attention='skip'" in said and "norm_first" not in said
    # The flag of another class's advice does not let it through.
    layer.norm_first = False
    assert "content and position side by side" in refusal(layer, checkpoint)
    said = refusal(layer, checkpoint, cross_attention="skip")
    assert "qpos_proj" in said and "cross_attn." not in said
    fields = dict(module="0", blocks=0, cross_attention="skip")
    model = nn.Sequential(layer)
    before = {k: v.clone() for k, v in layer.cross_attn.state_dict().items()}
    plan = make_plan(model, checkpoint, [fields], ["extra_parameters"])
    plan.apply(model)
    assert_close(dict(layer.cross_attn.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(layer.norms[1].weight, torch.ones(WIDTH))
    for projection in (layer.self_attn.qpos_proj, layer.self_attn.kpos_proj):
        nn.init.zeros_(projection.weight), nn.init.zeros_(projection.bias)
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        got = layer.norms[0](layer.self_attn(x, x, query_pos=x, key_pos=x))
        got = layer.norms[2](layer.ffn(got))
        expected = original.encoder.layer[0](x)[0]
    assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_deformable_layers_take_what_is_not_deformable(bert) -> None:
    original, checkpoint = bert
    block = original.encoder.layer[0]
    from mmdet.models.layers.transformer import DeformableDetrTransformerEncoderLayer

    encoder = DeformableDetrTransformerEncoderLayer(
        self_attn_cfg=dict(DEFORMABLE), **OPTIONS
    )
    said = refusal(encoder, checkpoint)
    assert "deformable and other attention" in said
    assert said.endswith("set parts=['ffn', 'norms'].")
    plan = plan_of(encoder, checkpoint, blocks=0, parts=["ffn", "norms"])
    plan.apply(nn.Sequential(encoder))
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        got = encoder.norms[1](encoder.ffn(encoder.norms[0](x)))
        normed = block.attention.output.LayerNorm(x)
        expected = block.output(block.intermediate(normed), normed)
    assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert all(".self_attn." in name for name in plan.left) and not plan.inexact

    mapping = dict(PARENT, ffn_norm="norms.1", out="self_attn.output_proj")
    mapping["qkv"] = [
        f"self_attn.{n}"
        for n in ("sampling_offsets", "attention_weights", "value_proj")
    ]
    assert "should keep qkv in parts of one shape" in refusal(
        encoder, checkpoint, mapping=mapping
    )
    decoder = decoder_layer(
        "DeformableDetrTransformerDecoderLayer", cross_attn_cfg=dict(DEFORMABLE)
    )
    said = refusal(decoder, checkpoint)
    assert "has no place for a block; set cross_attention='skip'" in said
    plan = plan_of(decoder, checkpoint, blocks=0, cross_attention="skip")
    plan.apply(nn.Sequential(decoder))
    assert not plan.inexact
    assert all(".cross_attn." in n or ".norms.1." in n for n in plan.left)
    with torch.no_grad():
        got = decoder.norms[0](decoder.self_attn(x, x, x))
        got = decoder.norms[2](decoder.ffn(got))
        assert_close(got, block(x)[0], rtol=1e-4, atol=1e-5)


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


# ---------------------------------------------------- pre-norm, with something beside


@pytest.fixture
def gpt2(tmp_path):
    return shapes.make(GPT2, tmp_path)


def same_as_the_block(layer: nn.Module, gpt2, x: torch.Tensor, *args, **options):
    """Fill the layer, let what stands beside be without effect, and compare."""
    original, checkpoint = gpt2
    model = nn.Sequential(layer.eval())
    fields = dict(module="0", blocks=0)
    with pytest.raises(TransplantError, match="add 'extra_parameters'"):
        make_plan(model, checkpoint, [fields], ["activation"])
    plan = make_plan(model, checkpoint, [fields], ["activation", "extra_parameters"])
    plan.apply(model)
    layer.ffn.activate = nn.GELU(approximate="tanh")
    if isinstance(layer.ffn.layers[0], nn.Sequential):
        layer.ffn.layers[0][1] = layer.ffn.activate
    else:
        layer.ffn.layers[2] = layer.ffn.activate
    original.h = original.h[:1]
    with torch.no_grad():
        expected = shapes.run_blocks(original, x)
        assert_close(layer(x, *args, **options), expected, rtol=1e-4, atol=1e-5)
    return plan


@pytest.mark.parametrize("library", ["mmpretrain", "mmdet", "mmseg"])
def test_swin(library, gpt2) -> None:
    """One window of it, without its relative positions."""
    if library == "mmpretrain":
        from mmpretrain.models.backbones.swin_transformer import SwinBlock

        layer = SwinBlock(WIDTH, HEADS, window_size=3)
    else:
        swin = importlib.import_module(f"{library}.models.backbones.swin")
        layer = swin.SwinBlock(WIDTH, HEADS, FFN, window_size=3)
    nn.init.zeros_(layer.attn.w_msa.relative_position_bias_table)
    plan = same_as_the_block(layer, gpt2, torch.randn(2, 9, WIDTH), (3, 3))
    assert plan.left == ["0.attn.w_msa.relative_position_bias_table"]


def test_beit_whose_keys_have_no_bias(gpt2) -> None:
    from mmpretrain.models.backbones.beit import BEiTTransformerEncoderLayer as BEiT

    sizes = (WIDTH, HEADS, FFN)
    options = dict(window_size=(3, 3), use_rel_pos_bias=True)
    layer = BEiT(*sizes, layer_scale_init_value=1.0, **options)
    x = torch.randn(2, 10, WIDTH)
    plan = same_as_the_block(layer, gpt2, x, rel_pos_bias=None)
    assert {name.rpartition(".")[2] for name in plan.left} == {
        "gamma_1", "gamma_2", "relative_position_bias_table",
    }  # fmt: skip
    assert any("no bias of keys" in note for note in plan.notes)
    bias = gpt2[1].block(0)["qkv.bias"]
    assert bias[WIDTH : 2 * WIDTH].abs().max() > 0.01  # it is not zero by itself
    assert_close(layer.attn.v_bias.data, bias[2 * WIDTH :])
    # With one bias for all it is taken whole.
    whole = BEiT(*sizes, layer_scale_init_value=0.0, bias=True, **options)
    make_plan(
        nn.Sequential(whole), gpt2[1], [dict(module="0", blocks=0)],
        ["activation", "extra_parameters"],
    ).apply(nn.Sequential(whole))  # fmt: skip
    assert_close(whole.attn.qkv.bias.data, bias)


def test_beit_of_mmseg(gpt2) -> None:
    from mmseg.models.backbones.beit import BEiTTransformerEncoderLayer as BEiT

    layer = BEiT(WIDTH, HEADS, FFN, window_size=(3, 3), init_values=1.0)
    nn.init.zeros_(layer.attn.relative_position_bias_table)
    same_as_the_block(layer, gpt2, torch.randn(2, 10, WIDTH))


def test_segformer_without_its_convolution(gpt2) -> None:
    from mmseg.models.backbones.mit import TransformerEncoderLayer

    layer = TransformerEncoderLayer(WIDTH, HEADS, FFN)
    middle = layer.ffn.layers[1]
    nn.init.dirac_(middle.weight, groups=FFN), nn.init.zeros_(middle.bias)
    plan = same_as_the_block(layer, gpt2, torch.randn(2, 9, WIDTH), (3, 3))
    assert plan.left == ["0.ffn.layers.1.weight", "0.ffn.layers.1.bias"]
    reduced = TransformerEncoderLayer(WIDTH, HEADS, FFN, sr_ratio=2)
    said = refusal(reduced, gpt2[1], blocks=0, parts=["self_attn"])
    assert "attn.sr.weight" in said and "ffn" not in said


# ------------------------------------------------------------------------------ parts


def test_parts_choose_what_is_filled_and_asked_for(bert) -> None:
    checkpoint = bert[1]
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, FFN, layer_norm_eps=1e-12)
    wanted = {
        "self_attn": {"self_attn"},
        "cross_attn": {"multihead_attn"},
        "ffn": {"linear1", "linear2"},
        "norms": {"norm1", "norm3"},
    }
    for word, modules in wanted.items():
        accept = ["activation"]
        fields = dict(module="0", blocks=0, parts=[word])
        plan = make_plan(nn.Sequential(layer), checkpoint, [fields], accept)
        assert {row.parameter.split(".")[1] for row in plan.rows} == modules
        left = {name.split(".")[1] for name in plan.left}
        assert not left & modules and len(plan.rows) + len(plan.left) == 18
        assert bool(plan.inexact) == (word == "ffn")  # relu, only where it counts
    fields = dict(module="0", blocks=0, parts=["cross_attn", "norms"])
    plan = make_plan(nn.Sequential(layer), checkpoint, [fields])
    assert "0.norm2.weight" in {row.parameter for row in plan.rows}


def test_parts_need_no_attribute_of_other_parts(bert) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv1d(WIDTH, WIDTH, 3)  # instead of attention
            self.up, self.down = nn.Linear(WIDTH, FFN), nn.Linear(FFN, WIDTH)
            self.act = nn.GELU()

    model = nn.Sequential(Half())
    mapping = dict(up="up", activation="act", down="down")
    fields = dict(module="0", blocks=0, parts=["ffn"], mapping=mapping)
    with pytest.raises(TransplantError, match="add 'extra_parameters'"):
        make_plan(model, bert[1], [fields])
    plan = make_plan(model, bert[1], [fields], ["extra_parameters"])
    plan.apply(model)
    assert_close(model[0].down.weight.data, bert[1].block(0)["down.weight"])
    said = refusal(model[0], bert[1], mapping=mapping)
    assert "missing: attn_norm, ffn_norm, norm_order, out, qkv" in said


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(parts=["norm"]), "list of some of self_attn, cross_attn, ffn, norms"),
        (dict(parts="ffn"), "list of some of .* got 'ffn'"),
        (dict(parts=[]), "list of some of"),
        (dict(parts=[["ffn"]]), "list of some of"),
        (dict(parts=["cross_attn"], cross_attention="skip"), "let them agree"),
        (dict(parts=["cross_attn"]), "none of cross_attn to be filled"),
        (dict(parts=["cross_attn", "ffn"]), "names cross_attn, the layer has none"),
    ],
)
def test_parts_that_are_none(fields, words, bert) -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, FFN)
    with pytest.raises(TransplantError, match=words):
        plan_of(layer, bert[1], blocks=0, **fields)


def test_one_message_for_a_list_of_layers(bert) -> None:
    class Other(nn.TransformerEncoderLayer):
        def forward(self, x):
            return x

    model = nn.Module()
    model.layers = nn.ModuleList(Other(WIDTH, HEADS, FFN) for _ in range(6))
    with pytest.raises(TransplantError) as caught:
        make_plan(model, bert[1], [dict(module="layers", cycle=True)])
    said = str(caught.value)
    assert said.count("computes something else than") == 1
    assert "layers.0 to layers.5: Other computes something else" in said
