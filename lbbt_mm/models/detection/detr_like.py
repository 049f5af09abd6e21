"""One option that gives a stock DETR the sizes of a language model."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from lbbt_mm.language import language_config
from lbbt_mm.registry import MODELS

_ACTIVATIONS = {
    "gelu": dict(type="GELU"),
    "gelu_tanh": dict(type="GELU", approximate="tanh"),
    "relu": dict(type="ReLU", inplace=True),
    "silu": dict(type="SiLU"),
}


@MODELS.register_module()
def DETRLike(  # noqa: N802  # a config's type
    detector: str,
    language_model: str | None = None,
    width: int | None = None,
    num_heads: int | None = None,
    ffn_channels: int | None = None,
    **model: Any,
) -> nn.Module:
    """Build a detector of mmdet's DETR family as wide as a language model.

    ``type="lbbt_mm.DETRLike"`` in the place of a stock config's ``type``, which moves
    to ``detector``. Everything that has to change together follows: channels of the
    neck, of attention, FFN, positions and head; number of heads; activation and epsilon
    of the norms. So blocks of that language model are copied exactly. The order of the
    norms is the detector's own: BERT's in mmdet's, GPT-2's in ``lbbt_mm.PreNormDETR``.

    Args:
        detector: The ``type`` of the stock config: ``'DETR'``, ``'ConditionalDETR'``,
            ``'DABDETR'``, ``'DeformableDETR'``, ``'DINO'``, ``'DDQDETR'`` or one with
            the same keys.
        language_model: Whose sizes are taken; its ``config.json`` is read, or nothing
            where it is known by name.
        width: Channels; instead of ``language_model``, with the two that follow.
        num_heads: Heads of every attention.
        ffn_channels: Hidden channels of every FFN.
        model: The other keys of the stock config.

    Returns:
        The detector.

    Raises:
        ValueError: Neither a language model nor three numbers were given, or the
            config has other keys than those of a DETR, or its classes fix the width.

    Example:
        >>> # after _base_ = "mmdet::detr/detr_r50_8xb2-150e_coco.py"
        >>> model = dict(
        ...     type="lbbt_mm.DETRLike", detector="DETR", language_model="gpt2")
    """
    sizes = (width, num_heads, ffn_channels)
    numbers = all(type(size) is int and size > 0 for size in sizes)
    if (language_model is None) != numbers:
        raise ValueError(
            f"DETRLike expects language_model, or width, num_heads and ffn_channels "
            f"(whole numbers above 0) without it; got language_model="
            f"{language_model!r} and {sizes}."
        )
    layer: dict[str, Any] = {}
    if language_model is not None:
        if any(size is not None for size in sizes):
            raise ValueError(
                f"DETRLike: {sizes} have no effect beside language_model="
                f"{language_model!r}, which has sizes of its own."
            )
        config = language_config(language_model)
        sizes = config.width, config.num_heads, config.ffn_width
        layer = dict(
            act_cfg=_ACTIVATIONS[config.activation],
            norm_cfg=dict(type="LN", eps=config.norm_eps),
        )
    resized = _resized(model, *sizes, layer)  # type: ignore[arg-type]  # all are ints
    built = MODELS.build(dict(copy.deepcopy(resized), type=detector))
    if type(getattr(built, "decoder", None)).__name__.startswith("ConditionalDetr"):
        from lbbt_mm.models.detection.conditional_decoder import AnyWidthDecoder

        built.decoder = AnyWidthDecoder(**resized["decoder"])
    if hasattr(built, "pos_trans_fc") and sizes[0] != 256:
        raise ValueError(
            f"DETRLike: {detector} with as_two_stage=True describes proposals by 256 "
            f"channels, whatever the config says; set as_two_stage=False, or take DINO."
        )
    return built


def _resized(
    model: dict[str, Any], width: int, heads: int, ffn: int, layer: dict[str, Any]
) -> dict[str, Any]:
    """Write sizes into every place of a model's config that has one; returns a copy."""
    model = copy.deepcopy(model)
    needed = ("neck", "encoder", "decoder", "positional_encoding", "bbox_head")
    missing = [name for name in needed if not isinstance(model.get(name), dict)]
    if missing:
        raise ValueError(
            f"DETRLike expects the config of a DETR of mmdet, with "
            f"{', '.join(needed)}; {', '.join(missing)} is not there."
        )
    groups = (model["neck"].get("norm_cfg") or {}).get("num_groups", 1)
    if width % groups or width % heads or width % 2:
        raise ValueError(
            f"DETRLike: {width} channels do not divide into {heads} heads, 2 halves "
            f"for rows and columns, and the neck's {groups} groups (neck.norm_cfg)."
        )
    for part, attentions in (
        ("encoder", ("self_attn_cfg",)),
        ("decoder", ("self_attn_cfg", "cross_attn_cfg")),
    ):
        cfg = model[part].setdefault("layer_cfg", {})
        for name in attentions:
            cfg.setdefault(name, {}).update(embed_dims=width, num_heads=heads)
        cfg.setdefault("ffn_cfg", {}).update(embed_dims=width, feedforward_channels=ffn)
        if layer:  # assigned, for a config's update() merges
            cfg["ffn_cfg"]["act_cfg"] = dict(layer["act_cfg"])
            cfg["norm_cfg"] = dict(layer["norm_cfg"])
    model["neck"]["out_channels"] = width
    model["positional_encoding"]["num_feats"] = width // 2
    model["bbox_head"]["embed_dims"] = width
    return model
