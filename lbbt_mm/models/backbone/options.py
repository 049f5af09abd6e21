"""The options of a language backbone: checked, and explained where others are used."""

from __future__ import annotations

import difflib
import inspect
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from mmengine.logging import print_log

from lbbt_mm.language.initial import DISTRIBUTIONS

_LANGUAGE = "it is the language model's own: choose another language_model"
_FREEZE = "choose what trains by trainable_layers ('none', 'last:3', 'first:5+norms')"
_POSITIONS = "use position ('language', 'sincos2d', 'learned' or 'none')"
_TOKENS = "use out_type ('last', 'avg', 'raw' or 'featmap'): there is no class token"
_MEMORY = "use with_cp=True"
# What backbones of mmpretrain, mmdet, mmseg and timm call what we call otherwise.
_ELSEWHERE = {
    "frozen_stages": _FREEZE,
    "frozen_layers": _FREEZE,
    "freeze": _FREEZE,
    "frozen": _FREEZE,
    "norm_eval": "its norms have no running statistics: leave it out",
    "arch": "use language_model, and num_layers for its first blocks only",
    "model_name": "use language_model",
    "depth": "use num_layers",
    "depths": "use num_layers",
    "num_stages": "use num_layers",
    "embed_dims": _LANGUAGE,
    "embed_dim": _LANGUAGE,
    "num_heads": _LANGUAGE,
    "mlp_ratio": _LANGUAGE,
    "feedforward_channels": _LANGUAGE,
    "qkv_bias": _LANGUAGE,
    "act_cfg": _LANGUAGE,
    "norm_cfg": _LANGUAGE,
    "pre_norm": _LANGUAGE,
    "final_norm": _LANGUAGE,
    "layer_cfgs": _LANGUAGE,
    "in_chans": "use in_channels",
    "image_size": "use img_size",
    "input_size": "use img_size",
    "pretrain_img_size": "use img_size: positions are resized when they are loaded",
    "patch_cfg": "use patch_size: patches are square and do not overlap",
    "strides": "its maps have one stride, patch_size",
    "with_cls_token": _TOKENS,
    "output_cls_token": _TOKENS,
    "avg_token": "use out_type='avg'",
    "pos_embed": _POSITIONS,
    "use_abs_pos_emb": _POSITIONS,
    "use_abs_pos_embed": _POSITIONS,
    "with_pos_embed": _POSITIONS,
    "interpolate_mode": "positions are interpolated bicubically: leave it out",
    "attn_drop_rate": "use drop_rate, which holds for all dropout",
    "drop_path": "use drop_path_rate",
    "num_registers": "use prefix_tokens='new'",
    "use_checkpoint": _MEMORY,
    "gradient_checkpointing": _MEMORY,
    "checkpoint": "use init_cfg=dict(type='Pretrained', checkpoint=..., "
    "prefix='backbone.')",
    "out_stages": "use out_indices",
    "out_features": "use out_indices",
}
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "attention": ("causal", "bidirectional", None),
    "position": ("language", "sincos2d", "learned", "none"),
    "out_type": ("last", "avg", "raw", "featmap"),
    "long_positions": ("interpolate", "refuse"),
    "initial_distribution": DISTRIBUTIONS,
    "frozen_dtype": ("bfloat16", None),
    "prefix_tokens": ("language", "new", None),
}
# Values of the same options elsewhere -> ours.
_VALUES = {
    "cls_token": "'last', or 'avg' in a bidirectional model; there is no class token",
    "avg_featmap": "'avg'",
    "learnable": "'learned'",
    "sinusoidal": "'sincos2d'",
    "sincos": "'sincos2d'",
    "bi": "'bidirectional'",
    "full": "'bidirectional'",
}


def refuse_unknown(kind: type, unknown: Mapping[str, Any]) -> None:
    """Refuse options that a backbone does not have, with the one to use instead.

    Args:
        kind: The backbone.
        unknown: Options that it was given beside its own.

    Raises:
        TypeError: There are any.
    """
    if not unknown:
        return
    own: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            own |= {p.name for p in parameters if p.kind not in _GATHERED}
    own -= {"self"}
    hints = [
        f"{name}: {_ELSEWHERE.get(name) or _nearest(name, own)}" for name in unknown
    ]
    raise TypeError(f"{kind.__name__} has no option {'; '.join(hints)}.")


_GATHERED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _nearest(name: str, own: Collection[str]) -> str:
    near = difflib.get_close_matches(name, {*own, *_ELSEWHERE}, 1)
    if near:
        return _ELSEWHERE.get(near[0]) or f"did you mean {near[0]}"
    return f"it has {', '.join(sorted(own))}"


def check_options(options: Mapping[str, Any], pretrained: bool) -> None:
    """Refuse values of a backbone's options that are wrong whatever the model.

    Args:
        options: By name.
        pretrained: Whether blocks start from language weights.

    Raises:
        ValueError: One is not what it should be.
    """
    check_choices(**{name: options[name] for name in _CHOICES})
    check_distribution(options["initial_distribution"], pretrained)
    check_lora(options["lora"], options["trainable_layers"])
    check_rate("drop_path_rate", options["drop_path_rate"])
    if options["drop_rate"] is not None:
        check_rate("drop_rate", options["drop_rate"])


def check_choices(**options: Any) -> None:
    """Refuse with a ``ValueError`` what is not among an option's choices."""
    for name, value in options.items():
        choices = _CHOICES[name]
        if not any(value is choice or value == choice for choice in choices):
            ours = _VALUES.get(value) if isinstance(value, str) else None
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}"
                f"{f': use {ours}' if ours else ''}."
            )


def check_distribution(distribution: str, pretrained: bool) -> None:
    """Refuse a distribution of what is not drawn."""
    if pretrained and distribution != "family":
        raise ValueError(
            f"initial_distribution={distribution!r} is for blocks from scratch and has "
            f"no effect on language weights: set pretrained=False."
        )


def check_lora(lora: Any, trainable_layers: Any) -> None:
    """Refuse what is no dict, and adapters beside weights that all train."""
    if lora is None:
        return
    if not isinstance(lora, Mapping):
        raise ValueError(
            f"lora must be a dict of arguments of peft.LoraConfig, such as dict(r=8); "
            f"got {lora!r}."
        )
    if trainable_layers == "all":
        raise ValueError(
            "lora is for blocks that do not train, and trainable_layers='all' trains "
            "all: set it to 'patch_embed' (LoRA alone), or to some blocks ('last:2')."
        )


def check_flags(**flags: Any) -> None:
    """Refuse what is neither true nor false, such as a path in ``pretrained``."""
    for name, value in flags.items():
        if isinstance(value, bool):
            continue
        meant = ""
        if name == "pretrained" and isinstance(value, str):
            meant = (
                ": name a language model by language_model, and a checkpoint of a "
                f"trained backbone by init_cfg=dict(type='Pretrained', checkpoint="
                f"{value!r}, prefix='backbone.')"
            )
        raise ValueError(f"{name} must be True or False; got {value!r}{meant}.")


def check_rate(name: str, value: Any) -> None:
    """Refuse what is not a probability below 1."""
    if not _is_number(value) or not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be at least 0 and below 1; got {value!r}.")


def check_scale(value: Any, patch_moments: Any = None) -> None:
    """Refuse what is no ``token_scale``, and moments that are missing or not used."""
    named = value in ("residual", "moments")
    if not named and not (_is_number(value) and 0 < value < math.inf):
        raise ValueError(
            f"token_scale must be a positive number, 'residual' or 'moments'; got "
            f"{value!r}."
        )
    if (value == "moments") != isinstance(patch_moments, str):
        raise ValueError(
            f"token_scale='moments' and patch_moments=FILE belong together; got "
            f"{value!r} and {patch_moments!r}. The file is made by: python -m "
            f"lbbt_mm.measure.patch_moments CONFIG FILE"
        )


def check_first_block(first: Any, num_layers: Any) -> None:
    """Refuse a first block that is none, or without a number of blocks."""
    if not isinstance(first, Integral) or isinstance(first, bool) or first < 0:
        raise ValueError(f"first_block must be a block number from 0; got {first!r}.")
    if first and num_layers is None:
        raise ValueError(f"first_block={first} needs num_layers: how many from there.")


def whole(name: str, value: Any, unit: str) -> int:
    """Return a positive whole number; a text or a bool is none."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"{name} must be a positive whole number of {unit}; got {value!r}."
        )
    return int(value)


def side(patch_size: Any) -> int:
    """Return the side of a square patch, given as a number or as two equal ones."""
    if _is_sequence(patch_size) and len(patch_size) == 2:
        if patch_size[0] != patch_size[1]:
            raise ValueError(
                f"patch_size must be one number, patches are square; got "
                f"{tuple(patch_size)!r}."
            )
        return whole("patch_size", patch_size[0], "pixels")
    return whole("patch_size", patch_size, "pixels")


def height_and_width(img_size: Any) -> tuple[int, int]:
    """Return height and width of images, given as one number or as two."""
    if _is_sequence(img_size):
        if len(img_size) != 2:
            raise ValueError(
                f"img_size must be one number or a height and a width; got "
                f"{tuple(img_size)!r}."
            )
        height, width = (whole("img_size", value, "pixels") for value in img_size)
        return height, width
    value = whole("img_size", img_size, "pixels")
    return value, value


def block_numbers(
    indices: Any, num_layers: int, option: str = "out_indices"
) -> list[int]:
    """Return the blocks that an option names, counted from 0."""
    listed = list(indices) if _is_sequence(indices) else [indices]
    for index in listed or [None]:
        is_whole = isinstance(index, Integral) and not isinstance(index, bool)
        if not is_whole or not -num_layers <= index < num_layers:
            raise ValueError(
                f"{option} must name blocks from {-num_layers} to {num_layers - 1}; "
                f"got {indices!r}."
            )
    return [int(index) % num_layers for index in listed]


def say_equal_strides(strides: Sequence[int], blocks: Sequence[int]) -> None:
    """Warn that several maps of one stride go out, which an FPN misunderstands."""
    if len(strides) > 1:
        print_log(
            f"LanguageBackbone returns {len(strides)} maps of one stride, {strides[0]} "
            f"pixels (out_indices={list(blocks)}). A head that takes equal maps, such "
            f"as UPerHead, wants just that. An FPN takes them for levels of growing "
            f"strides: give its anchors or points, and the featmap_strides of RoI "
            f"extractors, the strides of its maps, or return one map (out_indices=-1).",
            logger="current",
            level=logging.WARNING,
        )


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
