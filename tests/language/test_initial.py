"""Closed-form initialisation: products of weights as arXiv 2305.09828 sets them."""

from __future__ import annotations

import pytest
import torch

from lbbt_mm.language.layers import TransformerBlock
from lbbt_mm.language.model import LanguageModel
from lbbt_mm.language.presets import preset_config
from lbbt_mm.models import LanguageBackbone


def products(block: TransformerBlock) -> tuple[torch.Tensor, torch.Tensor]:
    """Return W_q' W_k of each head ``(H, C, C)`` and W_out W_v ``(C, C)``."""
    config = block.config
    shared = config.num_heads // config.num_kv_heads
    q, k, v = (
        part.unflatten(0, (-1, config.head_dim))
        for part in block.qkv.weight.split(config.qkv_rows)
    )
    k, v = (part.repeat_interleave(shared, 0) for part in (k, v))
    return q.mT @ k, block.out.weight @ v.flatten(0, 1)


@pytest.mark.parametrize("name", ["gpt2", "HuggingFaceTB/SmolLM2-135M"])
def test_products_lie_near_the_identity(name: str) -> None:
    torch.manual_seed(0)
    config = preset_config(name).with_layers(1)
    block = LanguageModel(config, distribution="mimetic").blocks[0]
    with torch.no_grad():
        looks, mixes = products(block)
    kept = config.head_dim / config.width  # directions of one head
    diagonals = looks.diagonal(dim1=1, dim2=2).mean(1) / kept
    noise = looks.square().sum((1, 2)).sqrt() / config.head_dim**0.5
    if config.num_heads == config.num_kv_heads:
        # Of the strongest directions of noise and identity together.
        assert (diagonals > 0.5).all() and (noise < 2).all()
        assert abs(mixes.diagonal().mean() + 0.4) < 0.02
        off = mixes - mixes.diagonal().diag()
        assert abs(off.square().sum(1).mean().sqrt() - 0.4) < 0.02
    else:
        share = config.num_kv_heads / config.num_heads
        assert (diagonals > 0.5).all() and (noise < 2).all()
        # Of the strongest directions, which are longer.
        assert -0.8 < mixes.diagonal().mean() / share < -0.4
    if block.qkv.bias is not None:
        assert block.qkv.bias.abs().max() == 0


def test_gpt2s_distribution_is_for_every_family() -> None:
    torch.manual_seed(0)
    config = preset_config("amazon/chronos-t5-mini").with_layers(2)
    block = LanguageModel(config, distribution="gpt2").blocks[1]
    assert abs(block.qkv.weight.std() - 0.02) < 1e-3
    assert abs(block.down.weight.std() - 0.01) < 1e-3
    assert block.attn_norm.weight.unique() == 1


def test_the_backbone_says_what_it_started_from() -> None:
    backbone = LanguageBackbone(
        "gpt2",
        pretrained=False,
        num_layers=1,
        img_size=32,
        initial_distribution="mimetic",
    )
    backbone.init_weights()
    assert backbone.language.origin == dict(source=None, distribution="mimetic")
    assert backbone(torch.rand(1, 3, 32, 32))[0].isfinite().all()
    with pytest.raises(ValueError, match="no effect on language weights"):
        LanguageBackbone("gpt2", initial_distribution="mimetic")
    with pytest.raises(ValueError, match="mimetic"):
        LanguageBackbone("gpt2", pretrained=False, initial_distribution="mimic")
