"""Registers: tokens that DETR's and Segmenter's layers may look at, and nobody else."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from tiny_detr import ONE, OURS, UNEQUAL, WIDTH, batch, detr_config
from torch import nn
from torch.testing import assert_close


def detr(kind: str, **options) -> nn.Module:
    init_default_scope("mmdet")
    torch.manual_seed(2)
    model = MODELS.build(detr_config(kind) | options)
    model.init_weights()
    return model.eval()


@pytest.mark.parametrize("sizes", [UNEQUAL, ONE], ids=["padded", "one"])
def test_detr_is_mmdets_with_one_more_token(sizes) -> None:
    fused, stock = detr("lbbt_mm.FusedDETR", registers=2), detr("mmdet.DETR")
    lost = stock.load_state_dict(fused.state_dict(), strict=False)
    assert lost.unexpected_keys == ["registers"] and not lost.missing_keys
    data = fused.data_preprocessor(batch(*sizes), False)
    images, samples = data["inputs"], data["data_samples"]
    with torch.no_grad():
        features = stock.extract_feat(images)
        encoder, decoder = stock.pre_transformer(features, samples)
        front = fused.registers.expand(len(images), -1, -1)
        encoder["feat"] = torch.cat((front, encoder["feat"]), 1)
        nowhere = torch.zeros_like(front)
        encoder["feat_pos"] = torch.cat((nowhere, encoder["feat_pos"]), 1)
        if encoder["feat_mask"] is not None:
            seen = torch.zeros(len(images), 2, dtype=torch.bool)
            encoder["feat_mask"] = torch.cat((seen, encoder["feat_mask"]), 1)
        memory = stock.forward_encoder(**encoder)["memory"]
        decoder = dict(memory_mask=encoder["feat_mask"], memory_pos=encoder["feat_pos"])
        wanted = stock.forward_decoder(**stock.pre_decoder(memory)[0], **decoder)
        found = fused.forward_transformer(features, samples)
    assert_close(found["hidden_states"], wanted["hidden_states"], rtol=1e-4, atol=1e-5)
    without = detr("lbbt_mm.FusedDETR")
    assert without.registers is None
    without.load_state_dict(fused.state_dict(), strict=False)
    other = without.forward_transformer(features, samples)["hidden_states"]
    assert (other - found["hidden_states"]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", OURS)
def test_detrs_registers_train(kind) -> None:
    model = detr(kind, registers=1).train()
    assert model.registers.shape == (1, WIDTH)
    losses = model(**model.data_preprocessor(batch(*UNEQUAL), True), mode="loss")
    sum(v for k, v in losses.items() if "loss" in k).backward()
    assert model.registers.grad.abs().sum() > 0


@pytest.mark.parametrize("registers", [-1, True, "one"])
@pytest.mark.parametrize("kind", [*OURS, "lbbt_mm.SegmenterHead"])
def test_what_is_no_number_is_refused(kind, registers) -> None:
    init_default_scope("mmdet")
    config = segmenter(kind) if "Segmenter" in kind else detr_config(kind)
    with pytest.raises(ValueError, match="registers must be a number of tokens"):
        MODELS.build(config | dict(registers=registers))


def segmenter(kind: str) -> dict:
    return dict(
        type=kind,
        in_channels=16,
        channels=16,
        num_classes=3,
        num_layers=2,
        num_heads=2,
        embed_dims=16,
    )


class _First(nn.Module):
    def __init__(self, registers: torch.Tensor) -> None:
        super().__init__()
        self.registers = registers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.registers.expand(len(x), -1, -1), x), 1)


class _Last(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1:]


@pytest.mark.parametrize("registers", [0, 1])
def test_segmenters_head_is_mmsegs_with_one_more_token(registers) -> None:
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope("mmseg")
    stock = MODELS.build(segmenter("mmseg.SegmenterMaskTransformerHead")).eval()
    ours = MODELS.build(
        segmenter("lbbt_mm.SegmenterHead") | dict(registers=registers)
    ).eval()
    ours.init_weights()
    lost = stock.load_state_dict(ours.state_dict(), strict=False)
    assert lost.unexpected_keys == ["registers"] * registers
    features = [torch.randn(2, 16, 3, 5)]
    plain = stock(features)
    if registers:
        stock.layers = nn.Sequential(_First(ours.registers), *stock.layers, _Last())
    found = ours(features)
    assert_close(found, stock(features))
    assert torch.equal(found, plain) == (not registers)
    if registers:
        found.square().sum().backward()
        assert ours.registers.grad.abs().sum() > 0
