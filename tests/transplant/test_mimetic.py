"""Attention in closed form inside the layers of other libraries."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.testing import assert_close

from lbbt_mm.hooks import LanguageInitHook
from lbbt_mm.language.initial import mimetic_attention
from lbbt_mm.transplant import TransplantError

WIDTH, HEADS = 64, 4


def torch_model() -> nn.Module:
    torch.manual_seed(0)
    options = dict(d_model=WIDTH, nhead=HEADS, dim_feedforward=96, batch_first=True)
    model = nn.Module()
    model.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**options), 2)
    model.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**options), 2)
    return model


def fill(model: nn.Module, *copies: dict, seed: int = 5) -> list[str]:
    """Fill a model as the hook does; return what changed."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(seed)
    LanguageInitHook("mimetic", copies).copy_into(model)
    return [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]


def near_identity(product: Tensor, factor: float) -> None:
    """Check ``factor * identity`` plus noise of variance ``factor**2 / C``."""
    assert float(product.diagonal().mean()) == pytest.approx(factor, abs=0.08)
    others = product[~torch.eye(len(product), dtype=torch.bool)]
    assert float(others.std()) == pytest.approx(abs(factor) / math.sqrt(WIDTH), rel=0.1)


def test_products_are_the_papers() -> None:
    torch.manual_seed(0)
    qkv, out = mimetic_attention(WIDTH, 1, 1, WIDTH)
    queries, keys, values = qkv.chunk(3)
    near_identity(queries.t() @ keys, 0.7)
    near_identity(out @ values, -0.4)


def test_torchs_layers_start_mimetic_and_each_differs() -> None:
    model = torch_model()
    changed = fill(model, dict(module="encoder.layers"), dict(module="decoder.layers"))
    attention = ("self_attn.", "multihead_attn.")
    wanted = [
        name
        for name, _ in model.named_parameters()
        if any(word in name for word in attention) and name.endswith("weight")
    ]
    assert changed == wanted  # biases were zero before
    products = []
    for layer in (*model.encoder.layers, *model.decoder.layers):
        for name in ("self_attn", "multihead_attn"):
            module = getattr(layer, name, None)
            if module is not None:
                values = module.in_proj_weight.chunk(3)[2]
                near_identity((module.out_proj.weight @ values).detach(), -0.4)
                products.append(module.out_proj.weight)
    assert len(products) == 6
    assert not any(torch.equal(products[0], other) for other in products[1:])


def test_the_same_seed_draws_the_same_and_parts_choose() -> None:
    first, second = torch_model(), torch_model()
    copies = [dict(module="decoder.layers", cross_attention="skip")]
    changed = fill(first, *copies)
    assert changed and all("self_attn" in name for name in changed)
    fill(second, *copies)
    assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    cross = fill(second, dict(module="decoder.layers", parts=["cross_attn"]))
    assert cross and all("multihead_attn" in name for name in cross)


def test_a_vits_biases_are_zero_and_the_report_says_it() -> None:
    init_default_scope("mmpretrain")
    arch = dict(
        embed_dims=WIDTH, num_layers=2, num_heads=HEADS, feedforward_channels=96
    )
    model = MODELS.build(
        dict(type="mmpretrain.VisionTransformer", arch=arch, img_size=16, patch_size=8)
    )
    nn.init.ones_(model.layers[0].attn.qkv.bias)
    copies = [dict(module="layers", blocks="0:2", final_norm="ln1")]
    hook = LanguageInitHook("mimetic", copies)
    report = hook.copy_into(model)
    assert model.layers[0].attn.qkv.bias.abs().sum() == 0
    assert report.label == "mimetic" and report.sha256
    assert "closed form" in report.to_text()
    assert "no meaning here have blocks, final_norm" in report.to_text()


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        ([], "copies is empty"),
        ([dict(module="encoder.layers", parts=["ffn"])], "draws attention alone"),
        ([dict(module="encoder.norm")], "norm"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(copies, message) -> None:
    with pytest.raises(TransplantError, match=message):
        fill(torch_model(), *copies)
