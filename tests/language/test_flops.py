"""Counted operations are those of the formula, attention included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmengine.analysis import get_model_complexity_info
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lbbt_mm.language.flops import kernel_formulas
from lbbt_mm.models import LanguageBackbone

B, T, C, FFN, BLOCKS, PATCH = 2, 16, 768, 3072, 2, 8
PATCHES = B * T * (3 * PATCH**2) * C
BLOCK = B * T * (4 * C**2 + 2 * C * FFN)  # without the attention itself
ATTENTION = B * T * T * C * 2


def make(**options) -> LanguageBackbone:
    return LanguageBackbone(
        "gpt2",
        num_layers=BLOCKS,
        img_size=32,
        patch_size=PATCH,
        **dict(pretrained=False, out_type="raw", drop_rate=0.0) | options,
    )


def counted(model: nn.Module, images: torch.Tensor, backward: bool = False) -> int:
    with FlopCounterMode(display=False) as counter:
        out = model(images)[0]
        if backward:
            out.sum().backward()
    return counter.get_total_flops()


def test_torch_counts_the_formula() -> None:
    images = torch.zeros(B, 3, 32, 32)
    exact = 2 * (PATCHES + BLOCKS * (BLOCK + ATTENTION))
    with torch.no_grad():
        assert counted(make(), images) == exact
    # Twice as many backward, but for the images' gradient; a fused kernel computes the
    # attention's weights once more.
    backward = 2 * (PATCHES + BLOCKS * (2 * BLOCK + 2.5 * ATTENTION))
    assert counted(make(), images, backward=True) == exact + backward


@pytest.mark.parametrize("position", ["sincos2d", "language"])
def test_mmengine_counts_the_formula(position) -> None:
    found = get_model_complexity_info(
        make(position=position).eval(),
        inputs=(torch.zeros(B, 3, 32, 32),),
        show_table=False,
        show_arch=False,
    )
    by_norms = B * T * C * 5 * (2 * BLOCKS + 1)  # mmengine counts five a number
    exact = PATCHES + BLOCKS * (BLOCK + ATTENTION)
    assert found["flops"] - exact == by_norms


def test_the_last_token_alone_costs_less() -> None:
    images = torch.zeros(B, 3, 32, 32)
    row = B * (C**2 + 2 * C * FFN)  # one token after its attention
    exact = PATCHES + BLOCK + ATTENTION + B * T * 3 * C**2 + ATTENTION // T + row
    with torch.no_grad():
        assert counted(make(out_type="last"), images) == 2 * exact


def test_counting_needs_no_weights_computing_does() -> None:
    from lbbt_mm.language import CheckpointError

    backbone = make(pretrained=True).eval()
    images = torch.zeros(B, 3, 32, 32)
    with torch.no_grad():
        assert counted(backbone, images) == counted(make().eval(), images)
    found = get_model_complexity_info(
        backbone, inputs=(images,), show_table=False, show_arch=False
    )
    assert found["flops"] > BLOCKS * BLOCK
    with pytest.raises(CheckpointError, match="not loaded yet"):
        backbone(images)
    traced = torch.jit.trace(backbone, images, strict=False, check_trace=False)
    assert traced(images)[0].isnan().all()
    with torch.device("meta"):
        meta = make(pretrained=True)
    assert meta(images.to("meta"))[0].shape == (B, T, C)


def test_the_hooks_counter_does_not_depend_on_the_registration() -> None:
    q = torch.zeros(1, 2, 8, 4)
    with FlopCounterMode(display=False, custom_mapping=kernel_formulas()) as counter:
        F.scaled_dot_product_attention(q, q, q)
    assert counter.get_total_flops() == 2 * 2 * (2 * 8 * 8 * 4)
