"""Read rotary positions and sliding windows from transformers' ``config.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lbbt_mm.language.errors import CheckpointError, NotComputed
from lbbt_mm.language.hf_values import refuse

_KINDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": (),
    "llama3": (
        *("factor", "low_freq_factor", "high_freq_factor"),
        "original_max_position_embeddings",
    ),
}
"""Context extensions -> the numbers, all above 0, that they need."""


def read_rope(
    family: str, hf: Mapping[str, Any], head_dim: int, origin: str
) -> dict[str, Any]:
    """Read rotary positions.

    Args:
        family: The model's family.
        hf: Content of a ``config.json``.
        head_dim: Channels of a head.
        origin: Where it comes from, for messages.

    Returns:
        The fields ``rope_theta``, ``rope_scaling`` and ``rotary_dim`` of a
        :class:`lbbt_mm.language.config.LanguageConfig`; an extension with all of its
        numbers, so that it depends on nothing else.

    Raises:
        CheckpointError: A number is missing.
        NotComputed: It is of a kind that the stack does not compute.
    """
    # transformers 5 gathers the rotary settings in one dictionary.
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    part = None
    for settings in (hf, rope):
        if settings.get("partial_rotary_factor") is not None:
            if family != "phi3":
                refuse(settings, origin, "partial_rotary_factor", 1.0)
            part = int(head_dim * settings["partial_rotary_factor"])
    if any(isinstance(value, Mapping) for value in rope.values()):
        raise NotComputed(
            f"{origin} sets rope_parameters for kinds of layers ({', '.join(rope)}); "
            f"the stack computes the same rotary positions in all."
        )
    kind = rope.get("rope_type", rope.get("type"))
    if kind is None and "factor" in rope:
        raise CheckpointError(
            f"{origin} sets rope_scaling={dict(rope)!r} without its rope_type; write "
            f"the type that the model was trained with into its config.json "
            f"({', '.join(_KINDS)} are computed)."
        )
    kind = kind or "default"
    if family == "phi3" and kind in ("su", "yarn"):  # what its first files called it
        kind = "longrope"
    if kind not in _KINDS:
        raise NotComputed(
            f"{origin} extends its context by rope_type {kind!r}; the stack "
            f"computes {', '.join(_KINDS)}. Use the model's short-context config."
        )
    for key in _KINDS[kind]:
        if not 0 < float(rope[key]) < math.inf:
            raise CheckpointError(
                f"{origin} extends its context with {key}={rope[key]!r}; expected a "
                f"number above 0."
            )
    scaling = dict(rope)
    if kind in _COMPLETED:
        scaling = {"rope_type": kind, **_COMPLETED[kind](hf, rope, family)}
    return dict(
        rope_theta=rope.get("rope_theta", hf.get("rope_theta", 10000.0)),
        rope_scaling=None if kind == "default" else scaling,
        rotary_dim=None if part == head_dim else part,
    )


def _dynamic(
    hf: Mapping[str, Any], rope: Mapping[str, Any], family: str
) -> dict[str, Any]:
    return dict(
        factor=rope["factor"],
        original_max_position_embeddings=hf["max_position_embeddings"],
    )


def _yarn(
    hf: Mapping[str, Any], rope: Mapping[str, Any], family: str
) -> dict[str, Any]:
    def size(weight: float) -> float:
        factor = float(rope["factor"])
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    larger, of_all = rope.get("mscale"), rope.get("mscale_all_dim")
    attention = rope.get("attention_factor")
    if attention is None:
        attention = size(1.0)
        if larger and of_all:
            attention = size(larger) / size(of_all)
    original = rope.get("original_max_position_embeddings")
    return dict(
        factor=rope["factor"],
        attention_factor=attention,
        beta_fast=rope.get("beta_fast") or 32,
        beta_slow=rope.get("beta_slow") or 1,
        truncate=bool(rope.get("truncate", True)),
        original_max_position_embeddings=original or hf["max_position_embeddings"],
    )


def _longrope(
    hf: Mapping[str, Any], rope: Mapping[str, Any], family: str
) -> dict[str, Any]:
    longest = hf["max_position_embeddings"]
    key = "original_max_position_embeddings"
    original = hf.get(key) or (4096 if family == "phi3" else None)
    if (
        hf.get(key) is None and "rope_parameters" in hf
    ):  # only transformers 5 looks there
        original = rope.get(key) or original
    factor = longest / original if original else rope.get("factor")
    original = original or longest
    attention = rope.get("attention_factor")
    if attention is None:
        growth = 1.0 if factor is None else max(1.0, float(factor))
        attention = math.sqrt(1 + math.log(growth) / math.log(original))
    return dict(
        short_factor=list(rope["short_factor"]),
        long_factor=list(rope["long_factor"]),
        attention_factor=attention,
        original_max_position_embeddings=original,
    )


_COMPLETED = {"dynamic": _dynamic, "yarn": _yarn, "longrope": _longrope}
"""Kinds that say not all of their numbers -> how transformers finds the others."""


def read_window(hf: Mapping[str, Any], origin: str) -> int | None:
    """Return Qwen's sliding window, which all layers must share.

    Args:
        hf: Content of a ``config.json``.
        origin: Where it comes from, for messages.

    Raises:
        NotComputed: Some layers have one and others not.
    """
    window = hf.get("sliding_window", 4096)
    if not hf.get("use_sliding_window", False):
        window = None
    layers, full = hf["num_hidden_layers"], hf.get("max_window_layers", 28)
    kinds = hf.get("layer_types")
    if kinds is None:
        kinds = ["full_attention"] * (window is None or full > 0)
        kinds += ["sliding_attention"] * (window is not None and full < layers)
    if set(kinds) == {"full_attention"}:
        return None
    if set(kinds) == {"sliding_attention"} and window is not None:
        return window
    raise NotComputed(
        f"{origin} attends in more than one way (layer_types, or use_sliding_window "
        f"with max_window_layers={full}: {', '.join(sorted(set(kinds)))}; "
        f"sliding_window={window!r}); the stack computes all layers with the same "
        f"window or all without."
    )
