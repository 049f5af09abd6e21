"""Read :class:`LanguageConfig` from transformers' ``config.json`` and gguf metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
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
_ROPE_TYPES = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}
"""Context extensions -> the numbers, all above 0, that they need."""
_GGUF_NEEDED = (
    "block_count",
    "embedding_length",
    "attention.head_count",
    "feed_forward_length",
    "context_length",
    "vocab_size",
)
_GGUF_EPSILON = {
    "gpt2": "attention.layer_norm_epsilon",
    "bert": "attention.layer_norm_epsilon",
}
"""Key of the norms' epsilon; of the other families, RMSNorm's."""
_CONVERT = "fetch it again, or convert it with a current llama.cpp"


def config_from_hf(hf: Mapping[str, Any], origin: str) -> LanguageConfig:
    """Translate a transformers configuration.

    Args:
        hf: Content of a ``config.json``.
        origin: Where it comes from, for messages.

    Returns:
        The same architecture in our vocabulary.

    Raises:
        CheckpointError: The family is unknown, a key is missing, or the model uses a
            variant that the stack does not compute.
    """
    return _translate(hf, origin, "copy the model's own config.json beside its weights")


def _translate(hf: Mapping[str, Any], origin: str, advice: str) -> LanguageConfig:
    family = hf.get("model_type")
    family = "t5" if family == "mt5" else family  # T5 1.1's architecture
    if not isinstance(family, str) or family not in FAMILIES:
        raise CheckpointError(
            f"The configuration of {origin} has no model_type; {advice}."
            if family is None
            else f"{origin} is of model_type {str(family)[:60]!r}; supported families: "
            f"{', '.join(FAMILIES)}. A new one is a table in "
            f"lbbt_mm/language/families.py."
        )
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


def config_from_gguf(
    metadata: Mapping[str, Any], vocab_size: int | None, origin: str
) -> LanguageConfig:
    """Translate the metadata of a llama.cpp file.

    Args:
        metadata: Key -> value, as stored.
        vocab_size: Number of tokens, if the file carries a vocabulary.
        origin: Where it comes from, for messages.

    Returns:
        The same architecture in our vocabulary. Mistral files call themselves llama.

    Raises:
        CheckpointError: As :func:`config_from_hf`.
    """
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str):
        raise CheckpointError(
            f"The header of {origin} has general.architecture={str(arch)[:60]}; "
            f"expected the name of a family; {_CONVERT}."
        )
    epsilon = _GGUF_EPSILON.get(arch, "attention.layer_norm_rms_epsilon")

    def get(key: str, default: Any = None) -> Any:
        if f"{arch}.{key}.length" in metadata:  # a long array, which is not kept
            raise CheckpointError(
                f"The header of {origin} has an array for {arch}.{key}; expected one "
                f"value: layers that differ are not computed."
            )
        value = metadata.get(f"{arch}.{key}", default)
        # Stored as float32: 1e-5 comes back as 9.999999747378752e-06.
        return float(f"{value:.6g}") if isinstance(value, float) else value

    if arch in FAMILIES and FAMILIES[arch].gguf is None:
        raise CheckpointError(
            f"{origin} is a gguf file of a {arch} model, which is not read; use the "
            f"model's safetensors file with its config.json."
        )
    if arch in FAMILIES:
        absent = [
            f"{arch}.{key}"
            for key in (*_GGUF_NEEDED, epsilon)
            if get(key) is None and not (key == "vocab_size" and vocab_size is not None)
        ]
        if absent:
            raise CheckpointError(
                f"The header of {origin} lacks {', '.join(absent)}, which a {arch} "
                f"model needs; {_CONVERT}."
            )
    hf: dict[str, Any] = {
        "model_type": arch,
        "num_hidden_layers": get("block_count"),
        "hidden_size": get("embedding_length"),
        "num_attention_heads": get("attention.head_count"),
        "num_key_value_heads": get("attention.head_count_kv"),
        "head_dim": get("attention.key_length", get("rope.dimension_count")),
        "intermediate_size": get("feed_forward_length"),
        "max_position_embeddings": get("context_length"),
        "vocab_size": get("vocab_size") if vocab_size is None else vocab_size,
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon"),
        "layer_norm_eps": get("attention.layer_norm_epsilon"),
        "rope_theta": get("rope.freq_base", 10000.0),
        # The format does not store these two; they are what the families use.
        "hidden_act": {"gpt2": "gelu_new", "bert": "gelu"}.get(arch, "silu"),
    }
    scaling = get("rope.scaling.type")
    if scaling not in (None, "none"):
        hf["rope_scaling"] = {
            "rope_type": scaling,
            "factor": get("rope.scaling.factor", 1.0),
        }
    for ours, theirs in (
        ("n_layer", "num_hidden_layers"),
        ("n_embd", "hidden_size"),
        ("n_head", "num_attention_heads"),
        ("n_inner", "intermediate_size"),
        ("n_positions", "max_position_embeddings"),
        ("layer_norm_epsilon", "layer_norm_eps"),
        ("activation_function", "hidden_act"),
    ):
        hf[ours] = hf[theirs]
    present = {key: value for key, value in hf.items() if value is not None}
    return _translate(present, origin, _CONVERT)


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
        norm="layernorm",
        norm_eps=hf.get("layer_norm_epsilon", 1e-5),
        pre_norm=True,
        activation=_activation(hf.get("activation_function", "gelu_new"), origin),
        gated=False,
        attention="causal",
        position="table",
        qkv_bias=True,
        out_bias=True,
        ffn_bias=True,
        embed_drop=hf.get("embd_pdrop", 0.1),
        attn_drop=hf.get("attn_pdrop", 0.1),
        residual_drop=hf.get("resid_pdrop", 0.1),
        init_std=hf.get("initializer_range", 0.02),
        scaled_residual_init=True,
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
        norm="layernorm",
        norm_eps=hf.get("layer_norm_eps", 1e-12),
        pre_norm=False,
        activation=_activation(hf.get("hidden_act", "gelu"), origin),
        gated=False,
        attention="bidirectional",
        position="table",
        qkv_bias=True,
        out_bias=True,
        ffn_bias=True,
        embed_norm=True,
        final_norm=False,
        embed_drop=dropout,
        attn_drop=hf.get("attention_probs_dropout_prob", 0.1),
        residual_drop=dropout,
        init_std=hf.get("initializer_range", 0.02),
    )


def _llama_like(family: str, hf: Mapping[str, Any], origin: str) -> LanguageConfig:
    width, heads = hf["hidden_size"], hf["num_attention_heads"]
    head_dim = hf.get("head_dim")
    if head_dim is None:
        head_dim = _head_dim(width, heads, origin)
    # transformers 5 gathers the rotary settings in one dictionary.
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type not in _ROPE_TYPES:
        raise CheckpointError(
            f"{origin} extends its context by rope_type {rope_type!r}; the stack "
            f"computes {', '.join(_ROPE_TYPES)}. Use the model's short-context config."
        )
    for key in _ROPE_TYPES[rope_type]:
        if not 0 < float(rope[key]) < math.inf:
            raise CheckpointError(
                f"{origin} extends its context with {key}={rope[key]!r}; expected a "
                f"number above 0."
            )
    windowed = family == "mistral" or hf.get("use_sliding_window", False)
    if windowed and family != "mistral" and hf.get("sliding_window"):
        raise CheckpointError(
            f"{origin} uses sliding windows in some layers only, which the stack does "
            f"not compute; set use_sliding_window to false in its config.json."
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
        # Qwen2's attention has biases without saying so; the others say it.
        qkv_bias=family == "qwen2" or _given(hf, "attention_bias", False),
        out_bias=family != "qwen2" and _given(hf, "attention_bias", False),
        ffn_bias=_given(hf, "mlp_bias", False),
        qk_norm=family == "qwen3",
        rope_theta=rope.get("rope_theta", hf.get("rope_theta", 10000.0)),
        rope_scaling=None if rope_type == "default" else dict(rope),
        sliding_window=hf.get("sliding_window") if windowed else None,
        attn_drop=hf.get("attention_dropout", 0.0),
        init_std=hf.get("initializer_range", 0.02),
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
        raise CheckpointError(
            f"{origin} uses the activation {name!r}; the stack computes "
            f"{', '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[name]


def _head_dim(width: int, heads: int, origin: str) -> int:
    _whole(width, "width", origin)
    _whole(heads, "number of heads", origin)
    if width % heads:
        raise CheckpointError(
            f"The configuration of {origin} has width {width}, which its {heads} heads "
            f"do not divide."
        )
    return width // heads


def _whole(value: Any, name: str, origin: str) -> None:
    if type(value) is not int or value < 1:
        raise CheckpointError(
            f"The configuration of {origin} says that its {name} is {value!r}; "
            f"expected a positive whole number."
        )


def _refuse(hf: Mapping[str, Any], origin: str, key: str, needed: Any) -> None:
    """Refuse a variant that would silently compute something else."""
    if hf.get(key, needed) != needed:
        raise CheckpointError(
            f"{origin} sets {key}={hf[key]!r}; the stack computes {needed!r} only."
        )
