"""Options that are wrong, or another library's, are answered by what to write."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS

from lbbt_mm.models import LanguageBackbone, MaskedLanguageBackbone


def build(**options) -> LanguageBackbone:
    config = dict(
        type="lbbt_mm.LanguageBackbone",
        language_model="gpt2",
        pretrained=False,
        num_layers=2,
    )
    with torch.device("meta"):
        return MODELS.build({**config, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(patch_size=0), "patch_size must be a positive whole number"),
        (dict(patch_size=-8), "patch_size must be a positive whole number"),
        (dict(patch_size=8.0), "patch_size must be a positive whole number"),
        (dict(patch_size="16"), "patch_size must be a positive whole number"),
        (dict(patch_size=True), "patch_size must be a positive whole number"),
        (dict(patch_size=None), "patch_size must be a positive whole number"),
        (dict(patch_size=(8, 16)), "patches are square"),
        (dict(patch_size=(8, 8, 8)), "patch_size must be a positive whole number"),
        (dict(img_size="224"), "img_size must be a positive whole number"),
        (dict(img_size=0), "img_size must be a positive whole number"),
        (dict(img_size=224.0), "img_size must be a positive whole number"),
        (dict(img_size=(224, -1)), "img_size must be a positive whole number"),
        (dict(img_size=(224, True)), "img_size must be a positive whole number"),
        (dict(img_size=(224,)), "a height and a width"),
        (dict(img_size=(3, 224, 224)), "a height and a width"),
        (dict(img_size=None), "img_size must be a positive whole number"),
        (dict(in_channels=0), "in_channels must be a positive whole number"),
        (dict(in_channels=3.0), "in_channels must be a positive whole number"),
        (dict(num_layers=0), "num_layers must be a whole number from 1 to 12"),
        (dict(num_layers="6"), "num_layers must be a whole number from 1 to 12"),
        (dict(num_layers=True), "num_layers must be a whole number from 1 to 12"),
        (dict(num_layers=13), "num_layers must be a whole number from 1 to 12"),
        (dict(out_indices="3"), "out_indices must name blocks from -2 to 1"),
        (dict(out_indices=(0, 2)), "out_indices must name blocks from -2 to 1"),
        (dict(out_indices=(0, 1.0)), "out_indices must name blocks from -2 to 1"),
        (dict(out_indices=None), "out_indices must name blocks from -2 to 1"),
        (dict(out_indices=True), "out_indices must name blocks from -2 to 1"),
        (dict(pretrained="bridge.pth"), r"init_cfg=dict\(type='Pretrained'"),
        (dict(pretrained=None), "pretrained must be True or False"),
        (dict(with_cp=1), "with_cp must be True or False"),
        (dict(drop_rate="0.1"), "drop_rate must be at least 0"),
        (dict(drop_path_rate=None), "drop_path_rate must be at least 0"),
        (dict(out_type="cls_token"), "use 'last'"),
        (dict(out_type="avg_featmap"), "use 'avg'"),
        (dict(position="learnable"), "use 'learned'"),
        (dict(position=["learned"]), "position must be one of"),
        (dict(attention="bi"), "use 'bidirectional'"),
        (dict(long_positions="cut"), "long_positions must be one of"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_with_what_is_expected(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("frozen_stages", "trainable_layers"),
        ("frozen_stage", "trainable_layers"),
        ("norm_eval", "leave it out"),
        ("arch", "language_model"),
        ("depth", "num_layers"),
        ("embed_dims", "language model's own"),
        ("final_norm", "language model's own"),
        ("with_cls_token", "no class token"),
        ("interpolate_mode", "bicubic"),
        ("in_chans", "in_channels"),
        ("attn_drop_rate", "drop_rate"),
        ("patch_sise", "did you mean patch_size"),
        ("out_indexes", "did you mean out_indices"),
        ("qzx", "it has attention, "),
    ],
)
def test_another_backbones_option_points_to_ours(option, message) -> None:
    with pytest.raises(TypeError, match=f"no option {option}: .*{message}"):
        build(**{option: 1})


def test_a_subclass_knows_its_own_options() -> None:
    with pytest.raises(TypeError, match="did you mean mask_ratio"):
        MaskedLanguageBackbone("gpt2", pretrained=False, out_type="avg", mask_rate=0.5)


def test_what_is_plain_is_taken() -> None:
    plain = build(patch_size=8, img_size=32)
    pairs = build(patch_size=(8, 8), img_size=[32, 32])
    shapes = [[tuple(p.shape) for p in b.parameters()] for b in (plain, pairs)]
    assert shapes[0] == shapes[1]
    assert pairs.patch_embed.patch_size == 8 and pairs.patch_embed.grid == (4, 4)
    assert build(num_layers=None).num_layers == 12
    assert build(img_size=30, patch_size=8).patch_embed.grid == (4, 4)  # padded


def warnings_of(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.fixture
def log(caplog):
    """mmengine's loggers have no parent; let caplog see the current one."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_equal_strides_are_stated_and_said(log) -> None:
    several = build(out_type="featmap", out_indices=[0, 1], patch_size=8)
    assert several.out_strides == (8, 8)
    (said,) = warnings_of(log)
    assert "2 maps of one stride, 8 pixels" in said and "FPN" in said
    log.clear()
    assert build(out_type="featmap").out_strides == (16,)
    assert build(out_type="raw", out_indices=[0, 1]).out_strides == (16, 16)
    assert build(out_type="avg", out_indices=[0, 1]).out_strides == ()
    assert warnings_of(log) == []


def test_more_tokens_than_positions_is_said_once_with_both_numbers(log) -> None:
    backbone = LanguageBackbone(
        "gpt2", pretrained=False, num_layers=1, img_size=64, patch_size=8
    )
    assert warnings_of(log) == []
    for _ in range(2):
        backbone(torch.zeros(1, 3, 264, 256))
    (said,) = warnings_of(log)
    assert "1056 tokens are more than the 1024 positions" in said
    log.clear()
    build(img_size=528)  # said when it is built
    (said,) = warnings_of(log)
    assert "1089 tokens are more than the 1024 positions" in said
    log.clear()
    build(img_size=528, position="sincos2d")
    build(img_size=528, language_model="meta-llama/Llama-3.2-1B")
    assert warnings_of(log) == []


def test_more_tokens_than_positions_may_be_refused() -> None:
    message = "1089 tokens are more than the 1024 positions .*sincos2d"
    with pytest.raises(ValueError, match=message):
        build(img_size=528, long_positions="refuse")
    backbone = LanguageBackbone(
        "gpt2", pretrained=False, num_layers=1, patch_size=8, long_positions="refuse"
    )
    with pytest.raises(ValueError, match="1056 tokens"):
        backbone(torch.zeros(1, 3, 264, 256))
