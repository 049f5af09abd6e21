"""Blocks of every family by table in layers of vision models: exact, or refused."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_same_function import Stack, run, torch_layers
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language import LanguageModel, open_checkpoint
from lbbt_mm.transplant import TransplantError, make_plan

sys.path.append(str(Path(__file__).parents[1] / "language"))
import tiny  # noqa: E402

SIZES = dict(embed_dims=32, num_heads=4)


def torch_like(pre: bool, act: object, eps: float = 1e-5) -> nn.ModuleList:
    layers = torch_layers(pre=pre, activation=act, layer_norm_eps=eps)
    for layer in layers:  # 48 and not 128 as there
        layer.linear1, layer.linear2 = nn.Linear(32, 48), nn.Linear(48, 32)
    return layers


def detr_encoder() -> nn.ModuleList:
    """Stock: post-norm, ReLU."""
    from mmdet.models.layers import DetrTransformerEncoderLayer

    config = dict(
        self_attn_cfg=dict(**SIZES, batch_first=True),
        ffn_cfg=dict(embed_dims=32, feedforward_channels=48),
    )
    return nn.ModuleList(DetrTransformerEncoderLayer(**config) for _ in range(3))


def vit() -> nn.ModuleList:
    from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer

    tanh = dict(type="GELU", approximate="tanh")
    config = dict(**SIZES, feedforward_channels=48, act_cfg=tanh)
    config["norm_cfg"] = dict(type="LN", eps=1e-5)
    return nn.ModuleList(TransformerEncoderLayer(**config) for _ in range(3))


def through(layers: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    if "mmdet" not in type(layers[0]).__module__:
        return run(layers, x)
    with torch.no_grad():
        for layer in layers.eval():
            x = layer(x, None, None)
    return x


TANH = partial(F.gelu, approximate="tanh")
FITTING = {
    "roberta": partial(torch_like, False, F.gelu, 1e-12),
    "xlm-roberta": partial(torch_like, False, F.gelu, 1e-12),
    "distilbert": partial(torch_like, False, F.gelu, 1e-12),
    "electra": partial(torch_like, False, F.gelu, 1e-12),
    "opt": partial(torch_like, True, F.relu),
    "opt-post-norm": detr_encoder,
    "gpt_bigcode": vit,
}


@pytest.mark.parametrize("name", FITTING)
def test_filled_layers_compute_what_the_blocks_do(name: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.save(tiny.build(name), tmp_path, "folder"))
    stack = Stack(FITTING[name](), eps=1e-5)
    plan = make_plan(stack, checkpoint, [dict(module="layers")])
    assert not plan.inexact and not plan.left
    report = plan.apply(stack)
    repeated = [note for note in report.notes if "copied 4 times" in note]
    assert bool(repeated) == (name == "gpt_bigcode")
    x = torch.randn(2, 7, 32)
    model = LanguageModel(checkpoint.config).eval()
    model.load(checkpoint)
    with torch.no_grad():
        expected = x
        for block in model.blocks:
            expected = block(expected, causal=False)
    assert_close(through(stack.layers, x), expected, rtol=1e-4, atol=1e-5)


def test_of_starcoder2_only_attention_stays(tmp_path: Path) -> None:
    source = tiny.save(tiny.build("starcoder2"), tmp_path, "folder")
    checkpoint, stack = open_checkpoint(source), Stack(vit())
    with pytest.raises(TransplantError, match="rotary.*parts=.*ffn.*norms"):
        make_plan(stack, checkpoint, [dict(module="layers")])
    copies = [dict(module="layers", parts=["ffn", "norms"], final_norm="norm")]
    plan = make_plan(stack, checkpoint, copies)
    plan.apply(stack)
    x = torch.randn(2, 7, 32)
    model = LanguageModel(checkpoint.config).eval()
    model.load(checkpoint)
    with torch.no_grad():
        for block, layer in zip(model.blocks, stack.layers, strict=True):
            expected = x + block.ffn(block.ffn_norm(x))
            assert_close(layer.ffn(layer.ln2(x), identity=x), expected)
    assert not any("copied" in note and "times" in note for note in plan.notes)


@pytest.mark.parametrize("name", ["phi3", "mt5"])
def test_what_no_layer_computes_is_refused_in_one_sentence(name, tmp_path) -> None:
    checkpoint = open_checkpoint(tiny.save(tiny.build(name), tmp_path, "folder"))
    with pytest.raises(TransplantError, match=r"positions inside .* gated .* RMSNorm"):
        make_plan(Stack(vit()), checkpoint, [dict(module="layers")])


def test_narrow_positions_have_no_place(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.save(tiny.build("electra"), tmp_path, "folder"))
    stack = Stack(FITTING["electra"]())
    stack.table = nn.Parameter(torch.zeros(64, 32))
    copies = [dict(module="layers", positions="table")]
    with pytest.raises(TransplantError, match="have 16 channels of 32"):
        make_plan(stack, checkpoint, copies)
