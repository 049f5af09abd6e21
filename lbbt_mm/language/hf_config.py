"""Read :class:`LanguageConfig` from transformers' ``config.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lbbt_mm.language.config import ROPE_NUMBERS, LanguageConfig
from lbbt_mm.language.errors import CheckpointError, NotComputed
from lbbt_mm.language.families import FAMILIES

# Every activation that the supported families use, by transformers' name.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}
_ROPE_TYPES: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ROPE_NUMBERS,
}
"""Context extensions -> the numbers, all above 0, that they need."""
_LAYERNORM: dict[str, Any] = {
    **{"norm": "layernorm", "gated": False, "position": "table"},
    **{"qkv_bias": True, "out_bias": True, "ffn_bias": True},
}
"""What the blocks of GPT-2 and BERT have in common."""
_LEFT_OUT: dict[str, dict[str, int]] = {
    "mistral": {"num_key_value_heads": 8},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
}
"""What transformers' configuration classes put where a ``config.json`` is silent."""


def config_from_hf(
    hf: Mapping[str, Any],
    origin: str,
    advice: str = "copy the model's own config.json beside its weights",
) -> LanguageConfig:
    """Translate a transformers configuration.

    Args:
        hf: Content of a ``config.json``.
        origin: Where it comes from, for messages.
        advice: What to do where something is missing or of another kind.

    Returns:
        The same architecture in our vocabulary.

    Raises:
        CheckpointError: The family is unknown, a key is missing, or the model uses a
            variant that the stack does not compute.
    """
    family = hf.get("model_type")
    family = "t5" if family == "mt5" else family  # T5 1.1's architecture
    if not isinstance(family, str) or family not in FAMILIES:
        if family is None:
            raise CheckpointError(
                f"The configuration of {origin} has no model_type; {advice}."
            )
        raise NotComputed(
            f"{origin} is of model_type {str(family)[:60]!r}; supported families: "
            f"{', '.join(FAMILIES)}. A new one is a table in "
            f"lbbt_mm/language/families.py."
        )
    if hf.get("pruned_heads"):
        _refuse(hf, origin, "pruned_heads", {})
    read = {"gpt2": _gpt2, "bert": _bert, "t5": _t5}.get(family, _llama_like)
    try:
        return read(family, hf, origin)
    except KeyError as error:
        raise CheckpointError(
            f"The configuration of {origin} lacks {error}, which a {family} model "
            f"needs; {advice}."
        ) from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"The configuration of {origin} holds a value of another kind than a "
            f"{family} model's ({str(error)[:200]}); {advice}."
        ) from error


def _gpt2(family: str, hf: Mapping[str, Any], origin: str) -> LanguageConfig:
    _refuse(hf, origin, "scale_attn_weights", True)
    _refuse(hf, origin, "scale_attn_by_inverse_layer_idx", False)
    _refuse(hf, origin, "add_cross_attention", False)
    width, heads = hf["n_embd"], hf["n_head"]
    return LanguageConfig(
        family=family,
        num_layers=hf["n_layer"],
        width=width,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=_head_dim(width, heads, origin),
        ffn_width=_given(hf, "n_inner", 4 * width),
        vocab_size=hf["vocab_size"],
        max_positions=hf["n_positions"],
        norm_eps=hf.get("layer_norm_epsilon", 1e-5),
        pre_norm=True,
        activation=_activation(hf.get("activation_function", "gelu_new"), origin),
        attention="causal",
        embed_drop=hf.get("embd_pdrop", 0.1),
        attn_drop=hf.get("attn_pdrop", 0.1),
        residual_drop=hf.get("resid_pdrop", 0.1),
        init_std=hf.get("initializer_range", 0.02),
        scaled_residual_init=True,
        **_LAYERNORM,
    )


def _bert(family: str, hf: Mapping[str, Any], origin: str) -> LanguageConfig:
    _refuse(hf, origin, "position_embedding_type", "absolute")
    _refuse(hf, origin, "is_decoder", False)
    width, heads = hf["hidden_size"], hf["num_attention_heads"]
    dropout = hf.get("hidden_dropout_prob", 0.1)
    return LanguageConfig(
        family=family,
        num_layers=hf["num_hidden_layers"],
        width=width,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=_head_dim(width, heads, origin),
        ffn_width=hf["intermediate_size"],
        vocab_size=hf["vocab_size"],
        max_positions=hf["max_position_embeddings"],
        norm_eps=hf.get("layer_norm_eps", 1e-12),
        pre_norm=False,
        activation=_activation(hf.get("hidden_act", "gelu"), origin),
        attention="bidirectional",
        embed_norm=True,
        final_norm=False,
        embed_drop=dropout,
        attn_drop=hf.get("attention_probs_dropout_prob", 0.1),
        residual_drop=dropout,
        init_std=hf.get("initializer_range", 0.02),
        **_LAYERNORM,
    )


def _llama_like(family: str, hf: Mapping[str, Any], origin: str) -> LanguageConfig:
    width, heads = hf["hidden_size"], hf["num_attention_heads"]
    # Where a file does not say, transformers' class does: not always what it derives.
    hf = {**_LEFT_OUT.get(family, {}), **hf}
    head_dim = hf.get("head_dim")
    if head_dim is None:
        head_dim = _head_dim(width, heads, origin)
    rope_type, theta, rope = _rope(hf, origin)
    # Only these read the keys; Mistral's projections have no biases, Qwen2's queries,
    # keys and values have theirs without saying so.
    attention_bias = family in ("llama", "qwen3") and _given(
        hf, "attention_bias", False
    )
    return LanguageConfig(
        family=family,
        num_layers=hf["num_hidden_layers"],
        width=width,
        num_heads=heads,
        num_kv_heads=_given(hf, "num_key_value_heads", heads),
        head_dim=head_dim,
        ffn_width=hf["intermediate_size"],
        vocab_size=hf["vocab_size"],
        max_positions=hf["max_position_embeddings"],
        norm="rmsnorm",
        norm_eps=hf.get("rms_norm_eps", 1e-6),
        pre_norm=True,
        activation=_activation(hf.get("hidden_act", "silu"), origin),
        gated=True,
        attention="causal",
        position="rotary",
        qkv_bias=family == "qwen2" or attention_bias,
        out_bias=attention_bias,
        ffn_bias=family == "llama" and _given(hf, "mlp_bias", False),
        qk_norm=family == "qwen3",
        rope_theta=theta,
        rope_scaling=None if rope_type == "default" else dict(rope),
        sliding_window=_window(family, hf, origin),
        attn_drop=hf.get("attention_dropout", 0.0),
        init_std=hf.get("initializer_range", 0.02),
    )


def _rope(hf: Mapping[str, Any], origin: str) -> tuple[str, float, Mapping[str, Any]]:
    """Return the kind of rotary positions, their base, and the kind's numbers."""
    # transformers 5 gathers the rotary settings in one dictionary.
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    for settings in (hf, rope):
        if settings.get("partial_rotary_factor") is not None:
            _refuse(settings, origin, "partial_rotary_factor", 1.0)
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
            f"({', '.join(_ROPE_TYPES)} are computed)."
        )
    kind = kind or "default"
    if kind not in _ROPE_TYPES:
        raise NotComputed(
            f"{origin} extends its context by rope_type {kind!r}; the stack "
            f"computes {', '.join(_ROPE_TYPES)}. Use the model's short-context config."
        )
    for key in _ROPE_TYPES[kind]:
        if not 0 < float(rope[key]) < math.inf:
            raise CheckpointError(
                f"{origin} extends its context with {key}={rope[key]!r}; expected a "
                f"number above 0."
            )
    return kind, rope.get("rope_theta", hf.get("rope_theta", 10000.0)), rope


def _window(family: str, hf: Mapping[str, Any], origin: str) -> int | None:
    """Return the sliding window, which all layers must share."""
    window = hf.get("sliding_window", 4096)
    if family == "llama":
        return None
    if family == "mistral":
        return window
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


def _t5(family: str, hf: Mapping[str, Any], origin: str) -> LanguageConfig:
    """Read the encoder of a T5; see arXiv 1910.10683, and 2002.05202 for gated ones."""
    heads = hf["num_heads"]
    feed_forward = hf.get("feed_forward_proj", "relu")
    gate, _, activation = feed_forward.rpartition("-")
    if gate not in ("", "gated"):
        raise CheckpointError(
            f"{origin} sets feed_forward_proj={feed_forward!r}; expected the name of "
            f"an activation, or 'gated-' before it."
        )
    if feed_forward == "gated-gelu":  # since T5 1.1, by this name
        activation = "gelu_new"
    # transformers writes the two halves out, and believes them.
    _refuse(hf, origin, "is_gated_act", gate == "gated")
    _refuse(hf, origin, "dense_act_fn", activation)
    dropout = hf.get("dropout_rate", 0.1)
    return LanguageConfig(
        family=family,
        num_layers=hf["num_layers"],
        width=hf["d_model"],
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=hf["d_kv"],
        ffn_width=hf["d_ff"],
        vocab_size=hf["vocab_size"],
        # Nothing ends there: it is the length of the training sequences.
        max_positions=hf.get("n_positions", 512),
        norm="rmsnorm",
        norm_eps=hf.get("layer_norm_epsilon", 1e-6),
        pre_norm=True,
        activation=_activation(activation, origin),
        gated=gate == "gated",
        attention="bidirectional",
        position="relative",
        qkv_bias=False,
        out_bias=False,
        ffn_bias=False,
        embed_drop=dropout,
        attn_drop=dropout,
        residual_drop=dropout,
        init_std=hf.get("initializer_factor", 1.0),
        attn_scaled=False,
        relative_buckets=hf.get("relative_attention_num_buckets", 32),
        relative_max_distance=hf.get("relative_attention_max_distance", 128),
        ffn_drop=dropout,
        final_drop=dropout,
        fan_in_init=True,
    )


def _given(hf: Mapping[str, Any], key: str, default: Any) -> Any:
    """Return a value; the default if it is absent or null, but not if it is 0."""
    value = hf.get(key)
    return default if value is None else value


def _activation(name: str, origin: str) -> str:
    if name not in _ACTIVATIONS:
        raise NotComputed(
            f"{origin} uses the activation {name!r}; the stack computes "
            f"{', '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[name]


def _head_dim(width: int, heads: int, origin: str) -> int:
    if type(width) is not int or type(heads) is not int or heads < 1:
        return 1  # LanguageConfig says which of the two
    if width % heads:
        raise CheckpointError(
            f"The configuration of {origin} has width {width}, which its {heads} heads "
            f"do not divide."
        )
    return width // heads


def _refuse(hf: Mapping[str, Any], origin: str, key: str, needed: Any) -> None:
    """Refuse a variant that would silently compute something else."""
    if hf.get(key, needed) != needed:
        raise NotComputed(
            f"{origin} sets {key}={hf[key]!r}; the stack computes {needed!r} only."
        )
