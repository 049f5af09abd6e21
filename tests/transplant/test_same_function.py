"""Every row of the map: a filled layer computes what the original block computes."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import shapes
import torch
import torch.nn.functional as F
from shapes import BERT, FFN, GPT2, HEADS, WIDTH
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language import CheckpointError
from lbbt_mm.language.families import FAMILIES
from lbbt_mm.transplant import TransplantError, make_plan

TANH = dict(type="GELU", approximate="tanh")
LN = dict(type="LN", eps=1e-5)
SIZES = dict(embed_dims=WIDTH, num_heads=HEADS, feedforward_channels=FFN)


def mmseg_layers(**options) -> nn.ModuleList:
    from mmseg.models.backbones.vit import TransformerEncoderLayer

    options = dict(SIZES, act_cfg=TANH, norm_cfg=LN, **options)
    return nn.ModuleList(TransformerEncoderLayer(**options) for _ in range(3))


def mmpretrain_layers(**options) -> nn.ModuleList:
    from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer

    options = dict(SIZES, act_cfg=TANH, norm_cfg=LN, **options)
    return nn.ModuleList(TransformerEncoderLayer(**options) for _ in range(3))


def torch_layers(kind=nn.TransformerEncoderLayer, pre=True, **options) -> nn.ModuleList:
    exact = dict(
        # A module would be replaced by the plain GELU in torch's inference kernel.
        activation=partial(F.gelu, approximate="tanh") if pre else F.gelu,
        layer_norm_eps=1e-5 if pre else 1e-12,
    )
    options = {**exact, "norm_first": pre, "batch_first": True, **options}
    return nn.ModuleList(kind(WIDTH, HEADS, FFN, **options) for _ in range(3))


def run(layers: nn.ModuleList, x: torch.Tensor, *memory: torch.Tensor) -> torch.Tensor:
    layers.eval()
    with torch.no_grad():
        for layer in layers:
            x = layer(x, *memory)
    return x


class Stack(nn.Module):
    """A model with layers under a name, and a norm after them."""

    def __init__(self, layers: nn.ModuleList, eps: float = 1e-5) -> None:
        super().__init__()
        self.layers = layers
        self.norm = nn.LayerNorm(WIDTH, eps=eps)


@pytest.mark.parametrize("layers", [mmseg_layers, mmpretrain_layers, torch_layers])
def test_gpt2_blocks_in_pre_norm_layers(layers, tmp_path) -> None:
    original, checkpoint = shapes.make(GPT2, tmp_path)
    stack = Stack(layers())
    plan = make_plan(stack, checkpoint, [dict(module="layers", final_norm="norm")])
    assert not plan.inexact and not plan.left
    plan.apply(stack)
    x = torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        expected = shapes.run_blocks(original, x)
        assert_close(run(stack.layers, x), expected, rtol=1e-4, atol=1e-5)
        whole = shapes.run_blocks(original, x, final_norm=True)
        assert_close(stack.norm(run(stack.layers, x)), whole, rtol=1e-4, atol=1e-5)


def test_bert_blocks_in_post_norm_layers(tmp_path) -> None:
    original, checkpoint = shapes.make(BERT, tmp_path)
    stack = Stack(torch_layers(pre=False))
    make_plan(stack, checkpoint, [dict(module="layers")]).apply(stack)
    x = torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        expected = shapes.run_blocks(original, x)
    assert_close(run(stack.layers, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [GPT2, BERT], ids=["gpt2", "bert"])
def test_blocks_in_decoder_layers(config, tmp_path) -> None:
    original, checkpoint = shapes.make(config, tmp_path)
    stack = Stack(torch_layers(nn.TransformerDecoderLayer, pre=config is GPT2))
    plan = make_plan(stack, checkpoint, [dict(module="layers")])
    plan.apply(stack)
    assert any("cross-attention starts from" in note for note in plan.notes)
    x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 9, WIDTH)
    with torch.no_grad():
        expected = shapes.run_crossing_blocks(original, x, memory)
    assert_close(run(stack.layers, x, memory), expected, rtol=1e-4, atol=1e-5)


# ------------------------------------------------- what such a comparison must notice


@pytest.mark.parametrize("part", ["qkv", "out", "up", "down"])
def test_a_missing_transpose_is_noticed(part, tmp_path, monkeypatch) -> None:
    original, checkpoint = shapes.make(GPT2, tmp_path)
    table = FAMILIES["gpt2"].hf
    checkpoint.table = dataclasses.replace(table, transposed=table.transposed - {part})
    stack = Stack(mmseg_layers())
    if part != "out":  # not square: the shapes tell
        with pytest.raises(CheckpointError, match=f"{part}.weight: expected"):
            make_plan(stack, checkpoint, [dict(module="layers")]).apply(stack)
        return
    make_plan(stack, checkpoint, [dict(module="layers")]).apply(stack)
    x = torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        expected = shapes.run_blocks(original, x)
    assert not torch.allclose(run(stack.layers, x), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("activation", dict(act_cfg=dict(type="GELU")), "gelu_tanh in the block, gelu"),
        ("activation", dict(act_cfg=dict(type="ReLU")), "gelu_tanh in the block, relu"),
        ("norm_eps", dict(norm_cfg=dict(type="LN", eps=1e-2)), "1e-05 in the block"),
    ],
)
def test_an_inexact_copy_is_refused_accepted_and_another_function(
    name, options, words, tmp_path
) -> None:
    original, checkpoint = shapes.make(GPT2, tmp_path)
    from mmseg.models.backbones.vit import TransformerEncoderLayer

    options = dict(dict(SIZES, act_cfg=TANH, norm_cfg=LN), **options)
    layers = nn.ModuleList(TransformerEncoderLayer(**options) for _ in range(3))
    stack = Stack(layers)
    copies = [dict(module="layers")]
    with pytest.raises(TransplantError, match=f"{words}.*add '{name}' to accept"):
        make_plan(stack, checkpoint, copies)
    report = make_plan(stack, checkpoint, copies, accept=[name]).apply(stack)
    assert list(report.inexact) == [name]
    assert report.label.endswith(f"(inexact: {name})")
    x = torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        expected = shapes.run_blocks(original, x)
    assert not torch.allclose(run(layers, x), expected, rtol=1e-4, atol=1e-5)


def test_norm_order(tmp_path) -> None:
    _, checkpoint = shapes.make(GPT2, tmp_path)
    model = nn.Sequential(torch_layers(norm_first=False)[0])
    words = "pre-norm block, post-norm layer.*add 'norm_order' to accept"
    with pytest.raises(TransplantError, match=words):
        make_plan(model, checkpoint, [dict(module="0")])
    plan = make_plan(model, checkpoint, [dict(module="0")], accept="norm_order")
    assert list(plan.inexact) == ["norm_order"]


def test_torchs_inference_kernel_knows_no_tanh(tmp_path) -> None:
    _, checkpoint = shapes.make(GPT2, tmp_path)
    stack = Stack(torch_layers(activation=nn.GELU(approximate="tanh")))
    with pytest.raises(TransplantError, match="gelu in torch's inference kernel"):
        make_plan(stack, checkpoint, [dict(module="layers")])


def test_a_wrong_head_count_is_never_accepted(tmp_path) -> None:
    _, checkpoint = shapes.make(GPT2, tmp_path)
    stack = Stack(mmseg_layers())
    for layer in stack.layers:
        layer.attn.attn.num_heads = layer.attn.num_heads = 8
    with pytest.raises(TransplantError, match="num_heads: expected 4.*got 8"):
        make_plan(
            stack,
            checkpoint,
            [dict(module="layers")],
            accept=["norm_order", "activation", "norm_eps", "extra_parameters"],
        )


def test_heads_that_are_cut_anew_are_noticed(tmp_path) -> None:
    original, checkpoint = shapes.make(GPT2, tmp_path)
    stack = Stack(mmseg_layers())
    make_plan(stack, checkpoint, [dict(module="layers")]).apply(stack)
    for layer in stack.layers:  # as if the plan did not look at them
        layer.attn.attn.num_heads, layer.attn.attn.head_dim = 8, WIDTH // 8
    x = torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        expected = shapes.run_blocks(original, x)
    assert not torch.allclose(run(stack.layers, x), expected, atol=1e-2)


def test_a_layer_scale_is_an_extra_parameter(tmp_path) -> None:
    _, checkpoint = shapes.make(GPT2, tmp_path)
    stack = Stack(mmpretrain_layers(layer_scale_init_value=0.1))
    with pytest.raises(TransplantError, match="add 'extra_parameters' to accept"):
        make_plan(stack, checkpoint, [dict(module="layers")])
    plan = make_plan(
        stack, checkpoint, [dict(module="layers")], accept=["extra_parameters"]
    )
    assert len(plan.left) == 6 and "layers.0" in plan.left[0]
