"""mmdet's own DETR with fused attention: the same model in every other respect."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from tiny_detr import (
    ONE,
    OURS,
    UNEQUAL,
    WIDTH,
    batch,
    build_detr,
    detr_config,
    head_outputs,
)
from torch import nn
from torch.testing import assert_close


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("sizes", [UNEQUAL, ONE], ids=["padded", "one"])
def test_fused_detr_is_mmdets_detr(sizes: tuple, training: bool) -> None:
    stock, fused = (build_detr(k) for k in ("mmdet.DETR", "lbbt_mm.FusedDETR"))
    # The same parameters under the same names, drawn the same from the same seed.
    assert list(fused.state_dict()) == list(stock.state_dict())
    assert_close(fused.state_dict(), stock.state_dict(), rtol=0, atol=0)
    for model in (stock, fused):
        model.train(training)
    found, expected = (head_outputs(m, batch(*sizes)) for m in (fused, stock))
    assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for model in (stock, fused):
        data = model.data_preprocessor(batch(*sizes), training)
        losses = model(**data, mode="loss")
        sum(v for k, v in losses.items() if "loss" in k).backward()
    gradients = [
        {name: p.grad for name, p in m.named_parameters()} for m in (fused, stock)
    ]
    assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_fused_detr_drops_as_much_as_mmdets() -> None:
    stock, fused = (
        build_detr(k, dropout=0.1) for k in ("mmdet.DETR", "lbbt_mm.FusedDETR")
    )
    rates = [
        [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
        + [m.dropout for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
        for model in (stock, fused)
    ]
    assert rates[0] == rates[1]
    # Not dead letters: training draws, evaluation does not.
    first, second = (head_outputs(fused.train(), batch(*ONE))[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert_close(
        head_outputs(fused.eval(), batch(*ONE)), head_outputs(stock.eval(), batch(*ONE))
    )


@pytest.mark.parametrize("kind", OURS)
def test_recomputed_layers_give_the_same_gradients(kind: str) -> None:
    gradients, runs = [], []
    for recomputed in (-1, 1):
        encoder = build_detr(kind).encoder
        encoder.num_cp = recomputed
        for index, layer in enumerate(encoder.layers):
            layer.register_forward_pre_hook(lambda *_, index=index: runs.append(index))
        x = torch.randn(2, 6, WIDTH, generator=torch.Generator().manual_seed(3))
        encoder(x, torch.ones_like(x), None).sin().sum().backward()
        gradients.append({n: p.grad for n, p in encoder.named_parameters()})
    assert_close(*gradients)
    # The second time, the first layer runs again in the backward pass.
    assert runs == [0, 1] + [0, 1, 0]


def test_a_positional_encoding_of_another_width_is_refused() -> None:
    config = detr_config("lbbt_mm.PreNormDETR")
    config.positional_encoding.num_feats = 10
    init_default_scope("mmdet")
    with pytest.raises(ValueError, match="expected 16 for width 32, got 10"):
        MODELS.build(config)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", OURS)
def test_a_cast_detector_is_near_float32(kind: str, dtype: torch.dtype) -> None:
    """mmdet's own stops at its positions, which are float32."""
    exact, cast = build_detr(kind).eval(), build_detr(kind).eval().to(dtype)
    for found, expected in zip(
        head_outputs(cast, batch(*UNEQUAL)),
        head_outputs(exact, batch(*UNEQUAL)),
        strict=True,
    ):
        assert found.dtype == dtype
        assert (found.float() - expected).norm() / expected.norm() < 0.05
    data = cast.train().data_preprocessor(batch(*UNEQUAL), True)
    losses = cast(**data, mode="loss")
    sum(v for k, v in losses.items() if "loss" in k).backward()
    assert all(p.grad.isfinite().all() for p in cast.encoder.parameters())


@pytest.mark.parametrize("kind", OURS)
def test_what_stands_in_the_place_of_the_query_embedding_is_called(kind: str) -> None:
    detector = build_detr(kind).eval()
    before = head_outputs(detector, batch(*ONE))[0]
    detector.query_embedding.register_forward_hook(lambda m, inputs, out: 2 * out)
    assert (head_outputs(detector, batch(*ONE))[0] - before).abs().max() > 1e-4
