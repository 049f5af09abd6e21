"""Rows of one DETR encoder layer at a language model's size: 768 channels, 2 images.

Baseline: mmdet's layer with mmcv's attention, the same weights and the same batch,
whose last image is padded as DETR's batches are. In eval mode both outputs agree.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bridge_step import picked
from measure import Case, agree

WIDTH, HEADS, BATCH = 768, 12, 2


def cases() -> list[Case]:
    """Inference without gradients, training with DETR's dropout and without."""
    found = [
        _case(
            "bfloat16, inference without gradients, 256 tokens",
            "our layer with gradients switched on",
            ">= 1",
            (256, 0.0, "bfloat16", False, "gradients"),
        )
    ]
    for dtype in ("float32", "bfloat16"):
        for words, dropout, train in (
            ("training, dropout 0.1", 0.1, True),
            ("training, no dropout", 0.0, True),
            ("inference", 0.0, False),
        ):
            found += [
                _case(
                    f"{dtype}, {words}, {tokens} tokens",
                    "mmdet's layer with mmcv's attention",
                    ">= 1.3",
                    (tokens, dropout, dtype, train, "mmcv"),
                )
                for tokens in (256, 950)
            ]
    return found


def _case(
    name: str, baseline: str, goal: str, setting: tuple[int, float, str, bool, str]
) -> Case:
    tokens, _, dtype, train, _ = setting
    build = functools.cache(functools.partial(_pair, *setting))
    products = 2 * BATCH * tokens * (12 * WIDTH**2 + 2 * tokens * WIDTH)
    return Case(
        name=name,
        baseline=baseline,
        goal=goal,
        arms={arm: picked(build, arm) for arm in ("baseline", "ours")},
        products=products * (3 if train else 1),
        matrix=(BATCH * tokens, WIDTH, dtype),
    )


def _pair(
    tokens: int, dropout: float, dtype: str, train: bool, against: str
) -> dict[str, Callable[[], float]]:
    import torch
    from mmdet.models.layers import DetrTransformerEncoder
    from mmengine.registry import init_default_scope

    from lbbt_mm.models.detection.fused_detr import FusedEncoder

    init_default_scope("mmdet")
    torch.manual_seed(0)
    attention = dict(embed_dims=WIDTH, num_heads=HEADS, dropout=dropout)
    ffn = dict(
        embed_dims=WIDTH,
        feedforward_channels=4 * WIDTH,
        ffn_drop=dropout,
        act_cfg=dict(type="GELU", approximate="tanh"),
    )
    layer = dict(self_attn_cfg=dict(attention, batch_first=True), ffn_cfg=ffn)
    ours = FusedEncoder(num_layers=1, layer_cfg=layer)
    theirs = DetrTransformerEncoder(num_layers=1, layer_cfg=layer)
    theirs.load_state_dict(ours.state_dict())
    query, positions = torch.randn(2, BATCH, tokens, WIDTH)
    padding = torch.zeros(BATCH, tokens, dtype=torch.bool)
    padding[-1, tokens * 4 // 5 :] = True

    def step(encoder: Any, backward: bool, gradients: bool) -> float:
        with torch.set_grad_enabled(gradients):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                out = encoder(query, positions, padding)[~padding]
            loss = out.float().square().mean()
        if backward:
            loss.backward()
            encoder.zero_grad()
        return loss.item()

    ours.eval(), theirs.eval()
    values = [step(encoder, False, False) for encoder in (ours, theirs)]
    agree("DETR", *values, 1e-2 if dtype == "bfloat16" else 1e-4)
    ours.train(train), theirs.train(train)
    baseline, gradients = (theirs, train) if against == "mmcv" else (ours, True)
    return dict(
        baseline=lambda: step(baseline, train, gradients),
        ours=lambda: step(ours, train, train),
    )
