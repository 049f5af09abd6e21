"""mmcv's attention, fused: same outputs, and dropout that stays where it was asked."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from tiny_detr import build_detr, scramble
from torch import Tensor, nn
from torch.testing import assert_close

from lbbt_mm.language.kernels import Dropout
from lbbt_mm.models import FusedAttention

WIDTH, HEADS = 16, 4
CURE = "lbbt_mm.models.detection.dropout_leak"


@pytest.fixture
def shared_default(monkeypatch):
    """mmcv's class and its default as they are in a fresh process, and afterwards."""
    original = inspect.unwrap(MultiheadAttention.__init__)
    monkeypatch.setattr(MultiheadAttention, "__init__", original)
    default = inspect.signature(original).parameters["dropout_layer"].default
    default["drop_prob"] = 0.0
    sys.modules.pop(CURE, None)
    yield default
    default["drop_prob"] = 0.0
    sys.modules.pop(CURE, None)  # the next import cures again


@pytest.fixture
def fused_calls(monkeypatch) -> list[Tensor]:
    """The outputs of torch's fused attention, collected as they are computed."""
    calls, original = [], F.scaled_dot_product_attention

    def spy(*args, **kwargs) -> Tensor:
        calls.append(original(*args, **kwargs))
        return calls[-1]

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    return calls


def pair(**options) -> tuple[MultiheadAttention, FusedAttention]:
    stock = MultiheadAttention(
        WIDTH, HEADS, dropout_layer=dict(type="Dropout", drop_prob=0.0), **options
    )
    scramble(stock)
    fused = FusedAttention(WIDTH, HEADS, **options)
    fused.load_state_dict(stock.state_dict())
    return stock, fused


def padding(*kept: int, tokens: int) -> Tensor:
    """``(B, T)``, true where an image has no token."""
    return torch.arange(tokens) >= torch.tensor(kept)[:, None]


MASKS = {
    "none": dict(),
    "padding": dict(key_padding_mask=padding(7, 4, 1, tokens=7)),
    "queries": dict(attn_mask=torch.ones(5, 7).triu(3).bool()),
    "added": dict(attn_mask=torch.linspace(-3, 3, 35).reshape(5, 7)),
    "both": dict(
        key_padding_mask=padding(7, 4, 3, tokens=7),
        attn_mask=torch.ones(5, 7).triu(2).bool(),
    ),
}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
def test_outputs_and_gradients_are_mmcvs(
    masks: dict[str, Tensor], batch_first: bool, training: bool, fused_calls
) -> None:
    stock, fused = pair(batch_first=batch_first)
    inputs = {
        name: torch.randn(3, tokens, WIDTH)
        for name, tokens in dict(
            query=5, query_pos=5, identity=5, key=7, key_pos=7, value=7
        ).items()
    }
    if not batch_first:
        inputs = {name: tensor.transpose(0, 1) for name, tensor in inputs.items()}
    results = []
    for module in (stock, fused):
        given = {k: v.clone().requires_grad_() for k, v in inputs.items()}
        out = module.train(training)(**given, **masks)
        out.sin().sum().backward()
        gradients = {name: tensor.grad for name, tensor in given.items()}
        gradients |= {name: p.grad for name, p in module.named_parameters()}
        results.append((out, gradients))
        assert len(fused_calls) == (module is fused)
    assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


def test_a_row_without_a_key_is_no_worse_than_in_mmcv() -> None:
    stock, fused = pair(batch_first=True)
    x, mask = torch.randn(2, 3, WIDTH), padding(3, 0, tokens=3)
    with torch.no_grad():
        expected, found = (m(x, key_padding_mask=mask) for m in (stock, fused))
    # mmcv answers NaN for the image without a token, and only for that one.
    known = expected.isfinite()
    assert known[0].all()
    assert_close(found[known], expected[known])


def test_positions_of_keys_default_to_those_of_queries() -> None:
    stock, fused = pair(batch_first=True)
    x, positions = torch.randn(2, 3, WIDTH), torch.randn(2, 3, WIDTH)
    assert_close(fused(x, query_pos=positions), stock(x, query_pos=positions))


@pytest.mark.parametrize("name", MASKS)
def test_few_tokens_train_in_bfloat16_by_plain_products(name: str, fused_calls) -> None:
    """On a CPU; whatever the kernel, outputs and gradients are the same."""
    stock, fused = pair(batch_first=True)
    found = []
    for module in (stock, fused):
        torch.manual_seed(0)
        x = torch.randn(3, 5, WIDTH, requires_grad=True)
        y = torch.randn(3, 7, WIDTH, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            out = module(x, y, **MASKS[name])
        out.sin().sum().backward()
        found.append([out.detach(), x.grad, y.grad, module.attn.in_proj_weight.grad])
    assert not fused_calls
    assert_close(found[1], found[0], rtol=0.02, atol=0.05)


def test_inference_keeps_each_token_in_place(monkeypatch) -> None:
    """torch copies a weight once a token where tokens are transposed, on a CPU."""
    _, fused = pair(batch_first=True)
    linear, seen = F.linear, []
    monkeypatch.setattr(
        F, "linear", lambda x, *rest: seen.append(x.is_contiguous()) or linear(x, *rest)
    )
    with torch.no_grad():
        fused(torch.randn(2, 5, WIDTH))
    assert seen == [True] * 4


def test_a_copy_is_fused_too(fused_calls) -> None:
    fused = copy.deepcopy(FusedAttention(WIDTH, HEADS, batch_first=True))
    fused(torch.randn(1, 2, WIDTH))
    assert len(fused_calls) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(), (0.0, 0.0)),
        (dict(dropout=0.2), (0.2, 0.2)),
        (dict(attn_drop=0.3), (0.3, 0.0)),
        (
            dict(dropout=0.2, dropout_layer=dict(type="DropPath", drop_prob=0.4)),
            (0.2, 0.2),
        ),
        (
            dict(attn_drop=0.3, dropout_layer=dict(type="DropPath", drop_prob=0.4)),
            (0.3, 0.4),
        ),
    ],
    ids=str,
)
def test_dropout_is_mmcvs(options: dict, expected: tuple, shared_default) -> None:
    given = copy.deepcopy(options)
    fused = FusedAttention(WIDTH, HEADS, **options)
    assert options == given, "a config belongs to its writer"
    stock = MultiheadAttention(WIDTH, HEADS, **options)
    for module in (fused, stock):
        assert module.attn.dropout == expected[0]
        assert residual_dropout(module) == expected[1]
    last = options.get("dropout_layer", dict(type="Dropout"))["type"]
    assert type(stock.dropout_layer).__name__ == last
    assert type(fused.dropout_layer) in (type(stock.dropout_layer), nn.Identity)


def residual_dropout(attention: MultiheadAttention) -> float:
    layer = attention.dropout_layer
    return getattr(layer, "drop_prob", getattr(layer, "p", 0.0))


def segmenter_dropouts() -> set[float]:
    """Build mmseg's Segmenter; the residual dropout of all its attentions."""
    init_default_scope("mmseg")
    model = MODELS.build(
        dict(
            type="mmseg.EncoderDecoder",
            backbone=dict(
                type="VisionTransformer",
                img_size=32,
                embed_dims=16,
                num_layers=2,
                num_heads=2,
            ),
            decode_head=dict(
                type="SegmenterMaskTransformerHead",
                in_channels=16,
                channels=16,
                embed_dims=16,
                num_layers=2,
                num_heads=2,
                num_classes=3,
            ),
            test_cfg=dict(mode="whole"),
        )
    )
    found = [m for m in model.modules() if isinstance(m, MultiheadAttention)]
    assert len(found) == 4
    return {residual_dropout(attention) for attention in found}


@pytest.mark.parametrize("kind", ["lbbt_mm.FusedDETR", "lbbt_mm.PreNormDETR"])
def test_our_detr_drops_nothing_in_a_later_segmenter(kind: str, shared_default) -> None:
    detr = build_detr(kind, dropout=0.1)
    attentions = [m for m in detr.modules() if isinstance(m, MultiheadAttention)]
    assert len(attentions) == 6  # 2 encoder layers, 2 decoder layers with two each
    assert all(isinstance(m, FusedAttention) for m in attentions)
    assert {(m.attn.dropout, residual_dropout(m)) for m in attentions} == {(0.1, 0.1)}
    assert segmenter_dropouts() == {0.0}
    assert shared_default["drop_prob"] == 0.0


@pytest.mark.parametrize("kind", ["lbbt_mm.FusedDETR", "lbbt_mm.PreNormDETR"])
def test_our_detrs_layers_drop_by_the_faster_dropout(kind: str) -> None:
    detr = build_detr(kind, dropout=0.1)
    layers = [*detr.encoder.layers, *detr.decoder.layers]
    drops = [m for one in layers for m in one.modules() if isinstance(m, nn.Dropout)]
    assert len(drops) >= 2 * len(layers)
    assert all(isinstance(m, Dropout) and m.p == 0.1 for m in drops if m.p)


def test_the_detr_of_mmdet_leaks_until_the_cure_is_imported(shared_default) -> None:
    build_detr("mmdet.DETR", dropout=0.1)
    # The trap. Should mmcv mend it, dropout_leak.py can go.
    assert segmenter_dropouts() == {0.1}
    # A stock DETR of before does not reach ours either.
    assert residual_dropout(FusedAttention(WIDTH, HEADS)) == 0.0

    Config.fromstring(
        f"custom_imports = dict(imports=[{CURE!r}], allow_failed_imports=False)", ".py"
    )
    assert segmenter_dropouts() == {0.0}
    detr = build_detr("mmdet.DETR", dropout=0.1)
    assert residual_dropout(detr.encoder.layers[1].self_attn) == 0.1
    assert segmenter_dropouts() == {0.0}

    cured = MultiheadAttention.__init__
    importlib.import_module(CURE).stop_dropout_leak()
    assert MultiheadAttention.__init__ is cured, "wrapped once"


@pytest.mark.parametrize("target", ["attn", "out_proj"])
def test_lora_takes_effect(target: str) -> None:
    """torch multiplies by the weight of out_proj itself and never calls it; we do."""
    from peft import LoraConfig, inject_adapter_in_model

    x = torch.randn(2, 5, 32)
    torch.manual_seed(0)
    model = torch.nn.ModuleDict(
        {"layer": FusedAttention(32, 4, batch_first=True)}
    ).eval()
    before = model["layer"](x)
    config = LoraConfig(target_modules=[target], r=2, init_lora_weights=False)
    inject_adapter_in_model(config, model)
    out = model["layer"](x)
    assert (out - before).abs().max() > 1e-3
    out.sum().backward()
    adapters = [p for n, p in model.named_parameters() if "lora_B" in n]
    assert adapters and all(p.grad.abs().max() > 0 for p in adapters)
