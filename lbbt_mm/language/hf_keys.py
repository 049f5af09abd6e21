"""Which key of a ``config.json`` says what, for each family of language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Named = dict[str, str | tuple[str, Any]]
"""Our field -> the key that says it; see :class:`Keys`."""

_GPT2: Named = dict(
    num_layers="n_layer",
    width="n_embd",
    num_heads="n_head",
    ffn_width=("n_inner", None),
    vocab_size="vocab_size",
    max_positions="n_positions",
    norm_eps=("layer_norm_epsilon", 1e-5),
    activation=("activation_function", "gelu_new"),
    embed_drop=("embd_pdrop", 0.1),
    attn_drop=("attn_pdrop", 0.1),
    residual_drop=("resid_pdrop", 0.1),
    init_std=("initializer_range", 0.02),
)
_BERT: Named = dict(
    num_layers="num_hidden_layers",
    width="hidden_size",
    num_heads="num_attention_heads",
    ffn_width="intermediate_size",
    vocab_size="vocab_size",
    max_positions="max_position_embeddings",
    norm_eps=("layer_norm_eps", 1e-12),
    activation=("hidden_act", "gelu"),
    embed_drop=("hidden_dropout_prob", 0.1),
    attn_drop=("attention_probs_dropout_prob", 0.1),
    residual_drop=("hidden_dropout_prob", 0.1),
    init_std=("initializer_range", 0.02),
)
_DISTILBERT: Named = dict(
    num_layers="n_layers",
    width="dim",
    num_heads="n_heads",
    ffn_width="hidden_dim",
    vocab_size="vocab_size",
    max_positions="max_position_embeddings",
    activation=("activation", "gelu"),
    embed_drop=("dropout", 0.1),
    attn_drop=("attention_dropout", 0.1),
    residual_drop=("dropout", 0.1),
    init_std=("initializer_range", 0.02),
)
_OPT: Named = dict(
    num_layers="num_hidden_layers",
    width="hidden_size",
    num_heads="num_attention_heads",
    ffn_width="ffn_dim",
    vocab_size="vocab_size",
    max_positions="max_position_embeddings",
    activation=("activation_function", "relu"),
    pre_norm=("do_layer_norm_before", True),
    final_norm=("do_layer_norm_before", True),
    qkv_bias=("enable_bias", True),
    out_bias=("enable_bias", True),
    ffn_bias=("enable_bias", True),
    attn_drop=("attention_dropout", 0.0),
    residual_drop=("dropout", 0.1),
    init_std=("init_std", 0.02),
)
_LLAMA: Named = dict(
    num_layers="num_hidden_layers",
    width="hidden_size",
    num_heads="num_attention_heads",
    num_kv_heads=("num_key_value_heads", None),
    head_dim=("head_dim", None),
    ffn_width="intermediate_size",
    vocab_size="vocab_size",
    max_positions="max_position_embeddings",
    norm_eps=("rms_norm_eps", 1e-6),
    activation=("hidden_act", "silu"),
    attn_drop=("attention_dropout", 0.0),
    init_std=("initializer_range", 0.02),
)
_QWEN2: Named = {**_LLAMA, "num_kv_heads": ("num_key_value_heads", 32)}
_STARCODER2: Named = {
    **_LLAMA,
    "num_kv_heads": ("num_key_value_heads", 2),
    "norm_eps": ("norm_epsilon", 1e-5),
    "activation": ("hidden_act", "gelu_pytorch_tanh"),
    "sliding_window": ("sliding_window", None),
    **{f"{part}_bias": ("use_bias", True) for part in ("qkv", "out", "ffn")},
    "embed_drop": ("embedding_dropout", 0.0),
    "residual_drop": ("residual_dropout", 0.0),
}

_BIASES = dict(qkv_bias=True, out_bias=True, ffn_bias=True)
_NO_BIASES = dict.fromkeys(_BIASES, False)
_TABLE = dict(norm="layernorm", gated=False, position="table")
_GPT: dict[str, Any] = {**_TABLE, **_BIASES, "pre_norm": True, "attention": "causal"}
_GPT["scaled_residual_init"] = True
_POST_NORM = dict(pre_norm=False, embed_norm=True, final_norm=False)
_ENCODER = {**_TABLE, **_BIASES, **_POST_NORM, "attention": "bidirectional"}
_ROTARY = dict(pre_norm=True, attention="causal", position="rotary")
_GATED = {**_ROTARY, "norm": "rmsnorm", "gated": True}
_ABSOLUTE = dict(position_embedding_type="absolute", is_decoder=False)
_GPT_ONLY = dict(scale_attn_weights=True, add_cross_attention=False)


@dataclass(frozen=True)
class Keys:
    """How a family's ``config.json`` is read.

    Attributes:
        named: Field of :class:`lbbt_mm.language.config.LanguageConfig` -> the key that
            says it; with what transformers takes where a file is silent, if it does.
        always: Fields that are the same in the whole family.
        only: Keys that change what a block computes -> the one value that the stack
            computes, which is transformers' default too.
    """

    named: Named
    always: Mapping[str, Any]
    only: Mapping[str, Any] = field(default_factory=dict)


KEYS: dict[str, Keys] = {
    "gpt2": Keys(_GPT2, _GPT, {"scale_attn_by_inverse_layer_idx": False, **_GPT_ONLY}),
    "gpt_bigcode": Keys(
        {**_GPT2, "activation": ("activation_function", "gelu_pytorch_tanh")},
        {**_GPT, "num_kv_heads": 1},
        # Without it the rows of queries, keys and values lie head by head.
        {"multi_query": True, **_GPT_ONLY},
    ),
    "bert": Keys(_BERT, _ENCODER, _ABSOLUTE),
    "roberta": Keys(_BERT, _ENCODER, {"pad_token_id": 1, **_ABSOLUTE}),
    "electra": Keys(
        {**_BERT, "embed_width": ("embedding_size", 128)}, _ENCODER, _ABSOLUTE
    ),
    "distilbert": Keys(_DISTILBERT, {**_ENCODER, "norm_eps": 1e-12}),
    "opt": Keys(
        _OPT,
        {**_TABLE, "norm_eps": 1e-5, "attention": "causal"},
        dict(layer_norm_elementwise_affine=True, _remove_final_layer_norm=False),
    ),
    "llama": Keys(
        {
            **_LLAMA,
            "qkv_bias": ("attention_bias", False),
            "out_bias": ("attention_bias", False),
            "ffn_bias": ("mlp_bias", False),
        },
        _GATED,
    ),
    # Its projections have no biases, whatever the file says.
    "mistral": Keys(
        {
            **_LLAMA,
            "num_kv_heads": ("num_key_value_heads", 8),
            "sliding_window": ("sliding_window", 4096),
        },
        {**_GATED, **_NO_BIASES},
    ),
    # Without saying so, its queries, keys and values have biases.
    "qwen2": Keys(_QWEN2, {**_GATED, **_NO_BIASES, "qkv_bias": True}),
    "qwen3": Keys(
        {
            **_QWEN2,
            "head_dim": ("head_dim", 128),
            "qkv_bias": ("attention_bias", False),
            "out_bias": ("attention_bias", False),
        },
        {**_GATED, "ffn_bias": False, "qk_norm": True},
    ),
    "starcoder2": Keys(
        _STARCODER2,
        {**_ROTARY, "norm": "layernorm", "gated": False},
    ),
    "phi3": Keys(
        {
            **_LLAMA,
            "norm_eps": ("rms_norm_eps", 1e-5),
            "sliding_window": ("sliding_window", None),
            "residual_drop": ("resid_pdrop", 0.0),
        },
        {**_GATED, **_NO_BIASES},
    ),
}
"""Key of :data:`lbbt_mm.language.families.FAMILIES` -> how it is read; T5 is apart."""
