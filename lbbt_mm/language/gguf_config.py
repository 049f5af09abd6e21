"""Read :class:`LanguageConfig` from the metadata of a gguf file (llama.cpp)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError, NotComputed
from lbbt_mm.language.families import FAMILIES
from lbbt_mm.language.hf_config import config_from_hf

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
    "starcoder2": "attention.layer_norm_epsilon",
}
"""Key of the norms' epsilon; of the other families, RMSNorm's."""
_ACTIVATIONS = {
    "gpt2": "gelu_new",
    "bert": "gelu",
    "starcoder2": "gelu_pytorch_tanh",
}
_CONVERT = "fetch it again, or convert it with a current llama.cpp"
_GGUF_OFF = (
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.output_scale",
    "attention.sliding_window_pattern",
    "attention.temperature_scale",
    "attn_logit_softcapping",
    "embedding_length_per_layer_input",
    "expert_count",
    "residual_scale",
    "rope.dimension_sections",
    "rope.freq_base_swa",
    "swin_norm",
    "use_parallel_residual",
)
"""What changes a block's function in llama.cpp; absent, zero or false in ours."""


def config_from_gguf(
    metadata: Mapping[str, Any],
    vocab_size: int | None,
    origin: str,
    rope_freqs: Sequence[float] | None = None,
) -> LanguageConfig:
    """Translate the metadata of a llama.cpp file.

    Args:
        metadata: Key -> value, as stored.
        vocab_size: Number of tokens, if the file carries a vocabulary.
        origin: Where it comes from, for messages.
        rope_freqs: By what the rotary frequencies are divided, if the file says: how
            llama.cpp stores LLaMA 3.1's extension.

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
        raise NotComputed(
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
    heads, width = get("attention.head_count"), get("embedding_length")
    hf: dict[str, Any] = {
        "model_type": arch,
        "num_hidden_layers": get("block_count"),
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv", heads),
        "head_dim": get("attention.key_length"),
        "intermediate_size": get("feed_forward_length"),
        "max_position_embeddings": get("context_length"),
        "vocab_size": get("vocab_size") if vocab_size is None else vocab_size,
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon"),
        "layer_norm_eps": get("attention.layer_norm_epsilon"),
        "norm_epsilon": get("attention.layer_norm_epsilon"),
        "rope_theta": get("rope.freq_base", 10000.0),
        # The format does not store these two; they are what the families use.
        "hidden_act": _ACTIVATIONS.get(arch, "silu"),
    }
    if arch == "phi3":  # in all layers
        hf["sliding_window"] = get("attention.sliding_window")
    if hf["head_dim"] is None and type(heads) is type(width) is int and heads > 0:
        hf["head_dim"] = width // heads
    # llama.cpp takes a factor without a type for linear, and its old name for both.
    factor = get("rope.scaling.factor", get("rope.scale_linear", 0.0))
    scaling = get("rope.scaling.type", "linear" if factor else "none")
    if scaling != "none" and (factor or scaling != "linear"):
        hf["rope_scaling"] = {"rope_type": scaling, "factor": factor}
        original = get("rope.scaling.original_context_length")
        if scaling == "yarn" and original:
            hf["rope_scaling"]["original_max_position_embeddings"] = original
    if rope_freqs is not None:
        if "rope_scaling" in hf:
            raise CheckpointError(
                f"{origin} rescales its rotary positions twice, by rope_freqs.weight "
                f"and by rope.scaling.type={scaling!r}; use the model's safetensors "
                f"files, whose config.json says how."
            )
        hf["rope_scaling"] = dict(
            rope_type="longrope",
            short_factor=list(rope_freqs),
            long_factor=list(rope_freqs),
            attention_factor=1.0,
        )
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
    config = config_from_hf(present, origin, _CONVERT)
    _refuse_variants(get, config, origin)
    return config


def _refuse_variants(
    get: Callable[[str], Any], config: LanguageConfig, origin: str
) -> None:
    """Refuse what llama.cpp would compute in another way than the stack."""
    needed: dict[str, Any] = dict.fromkeys(_GGUF_OFF)
    needed["attention.causal"] = config.attention == "causal"
    needed["attention.scale"] = float(f"{1 / math.sqrt(config.head_dim):.6g}")
    needed["attention.value_length"] = config.head_dim
    needed["rope.scaling.attn_factor"] = 1.0
    if config.position == "rotary":
        needed["rope.dimension_count"] = config.head_dim
    for key, value in needed.items():
        found = get(key)
        if found and found != value or found is False and value is True:
            raise CheckpointError(
                f"The header of {origin} says {config.family}.{key}={found!r}; the "
                f"stack computes {'none' if value is None else repr(value)} only. Use "
                f"the model's safetensors files, if they hold another variant."
            )
    window = get("attention.sliding_window")
    if config.sliding_window is not None and window == config.sliding_window:
        return
    if window and window < config.max_positions:
        raise CheckpointError(
            f"The header of {origin} says {config.family}.attention.sliding_window="
            f"{window!r}, without the layers that it is for; use the model's "
            f"safetensors files, whose config.json says them."
        )
