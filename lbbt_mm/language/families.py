"""Explicit tables: how each family names and stores what a block is made of.

A table names every key of a block. Linear weights that a format stores as
``(in, out)`` are listed in ``transposed``; ``qkv`` may be one stored tensor or three.
This is the only place that knows that GPT-2's Conv1D is transposed or that
llama.cpp interleaves the rows of rotary heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lbbt_mm.language.key_table import KeyTable

_GPT2 = KeyTable(
    block="h.{i}.",
    parts={
        "attn_norm": ("ln_1",),
        "qkv": ("attn.c_attn",),
        "out": ("attn.c_proj",),
        "ffn_norm": ("ln_2",),
        "up": ("mlp.c_fc",),
        "down": ("mlp.c_proj",),
    },
    embeddings="wte.weight",
    positions="wpe.weight",
    final_norm="ln_f",
    # transformers' Conv1D multiplies x @ W: its weight is (in, out).
    transposed=frozenset({"qkv", "out", "up", "down"}),
    ignored_in_block=("attn.bias", "attn.masked_bias"),
)

_BERT = KeyTable(
    block="encoder.layer.{i}.",
    parts={
        "attn_norm": ("attention.output.LayerNorm",),
        "qkv": (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
        ),
        "out": ("attention.output.dense",),
        "ffn_norm": ("output.LayerNorm",),
        "up": ("intermediate.dense",),
        "down": ("output.dense",),
    },
    embeddings="embeddings.word_embeddings.weight",
    positions="embeddings.position_embeddings.weight",
    token_types="embeddings.token_type_embeddings.weight",
    embed_norm="embeddings.LayerNorm",
    ignored=("embeddings.position_ids", "embeddings.token_type_ids"),
    # Of the first PyTorch port, from TensorFlow's names: bert-base-uncased on the hub.
    older={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
)

# Trained with fairseq, whose row 1 is for padding and which counts from there.
_ROBERTA = replace(_BERT, first_position=2, older={})
_ELECTRA = replace(_BERT, embed_project="embeddings_project", older={})
_DISTILBERT = KeyTable(
    block="transformer.layer.{i}.",
    parts={
        "attn_norm": ("sa_layer_norm",),
        "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        "out": ("attention.out_lin",),
        "ffn_norm": ("output_layer_norm",),
        "up": ("ffn.lin1",),
        "down": ("ffn.lin2",),
    },
    embeddings="embeddings.word_embeddings.weight",
    positions="embeddings.position_embeddings.weight",
    embed_norm="embeddings.LayerNorm",
    ignored=("embeddings.position_ids",),
)
_OPT = KeyTable(
    block="decoder.layers.{i}.",
    parts={
        "attn_norm": ("self_attn_layer_norm",),
        "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "out": ("self_attn.out_proj",),
        "ffn_norm": ("final_layer_norm",),
        "up": ("fc1",),
        "down": ("fc2",),
    },
    embeddings="decoder.embed_tokens.weight",
    positions="decoder.embed_positions.weight",
    first_position=2,
    final_norm="decoder.final_layer_norm",
)
# As GPT-2 with plain linear layers, and nanoGPT too.
_BIGCODE = replace(_GPT2, transposed=frozenset())

# LLaMA, Mistral, Qwen2 and Qwen3 share their names; Qwen3 adds the head norms.
_LLAMA_PARTS = {
    "attn_norm": ("input_layernorm",),
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "q_norm": ("self_attn.q_norm",),
    "k_norm": ("self_attn.k_norm",),
    "out": ("self_attn.o_proj",),
    "ffn_norm": ("post_attention_layernorm",),
    "gate": ("mlp.gate_proj",),
    "up": ("mlp.up_proj",),
    "down": ("mlp.down_proj",),
}
_LLAMA = KeyTable(
    block="layers.{i}.",
    parts=_LLAMA_PARTS,
    embeddings="embed_tokens.weight",
    final_norm="norm",
    ignored_in_block=tuple(
        f"self_attn.rotary_emb.{buffer}"
        for buffer in ("inv_freq", "cos_cached", "sin_cached")
    ),
    ignored=("rotary_emb.",),
)

_PHI3 = replace(
    _LLAMA,
    parts={
        **_LLAMA_PARTS,
        "qkv": ("self_attn.qkv_proj",),
        "gate": ("mlp.gate_up_proj",),
        "up": ("mlp.gate_up_proj",),
    },
)
_STARCODER2 = replace(
    _LLAMA, parts={**_LLAMA_PARTS, "up": ("mlp.c_fc",), "down": ("mlp.c_proj",)}
)
# In the format of Meta's and Mistral's own code.
META = KeyTable(
    block="layers.{i}.",
    parts={
        "attn_norm": ("attention_norm",),
        "qkv": ("attention.wq", "attention.wk", "attention.wv"),
        "out": ("attention.wo",),
        "ffn_norm": ("ffn_norm",),
        "gate": ("feed_forward.w1",),
        "up": ("feed_forward.w3",),
        "down": ("feed_forward.w2",),
    },
    embeddings="tok_embeddings.weight",
    final_norm="norm",
    # Neighbouring rows are rotated, as in llama.cpp.
    interleaved=frozenset({"attention.wq", "attention.wk"}),
    ignored_in_block=("attention.inner_attention.rope.freqs",),
    ignored=("output.", "rope.freqs"),
)
NANOGPT = _BIGCODE

_T5_FFN = ("wi.weight", "wi_0.weight", "wi_1.weight", "wo.weight")
_T5 = KeyTable(
    block="encoder.block.{i}.",
    parts={
        "attn_norm": ("layer.0.layer_norm",),
        "qkv": tuple(f"layer.0.SelfAttention.{part}" for part in "qkv"),
        "out": ("layer.0.SelfAttention.o",),
        "ffn_norm": ("layer.1.layer_norm",),
        "up": ("layer.1.DenseReluDense.wi",),
        "down": ("layer.1.DenseReluDense.wo",),
    },
    embeddings="shared.weight",
    # It stands in the first block and serves all of them.
    positions="encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    final_norm="encoder.final_layer_norm",
    # The copies of the word embedding in old files, and what follows the decoder.
    ignored=(
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "decoder.final_layer_norm.weight",
    ),
    other_block="decoder.block.{i}.",
    other_parts=frozenset(
        [f"layer.{layer}.layer_norm.weight" for layer in range(3)]
        + [f"layer.2.DenseReluDense.{part}" for part in _T5_FFN]
        + [
            f"layer.{attention}.{part}.weight"
            for attention in ("0.SelfAttention", "1.EncDecAttention")
            for part in (*"qkvo", "relative_attention_bias")
        ]
    ),
)
_T5_GATED = replace(
    _T5,
    parts={
        **_T5.parts,
        "gate": ("layer.1.DenseReluDense.wi_0",),
        "up": ("layer.1.DenseReluDense.wi_1",),
    },
)

# Every gguf file starts its names like this; a family adds what it has.
_GGUF = KeyTable(
    block="blk.{i}.",
    parts={},
    embeddings="token_embd.weight",
    ignored=("output.weight", "rope_freqs.weight"),  # which the configuration has
)
_GGUF_LLAMA_PARTS = {
    "attn_norm": ("attn_norm",),
    "qkv": ("attn_q", "attn_k", "attn_v"),
    "q_norm": ("attn_q_norm",),
    "k_norm": ("attn_k_norm",),
    "out": ("attn_output",),
    "ffn_norm": ("ffn_norm",),
    "gate": ("ffn_gate",),
    "up": ("ffn_up",),
    "down": ("ffn_down",),
}
_GGUF_QWEN = replace(_GGUF, parts=_GGUF_LLAMA_PARTS, final_norm="output_norm")
_GGUF_LLAMA = replace(
    _GGUF,
    parts=_GGUF_LLAMA_PARTS,
    final_norm="output_norm",
    # llama.cpp rotates neighbouring rows, transformers rotates halves of a head.
    interleaved=frozenset({"attn_q", "attn_k"}),
)
_GGUF_PHI3 = replace(
    _GGUF_QWEN,
    parts={
        **_GGUF_LLAMA_PARTS,
        "qkv": ("attn_qkv",),
        "gate": ("ffn_up",),
        "up": ("ffn_up",),
    },
)
_GGUF_GPT2 = replace(
    _GGUF,
    parts={
        "attn_norm": ("attn_norm",),
        "qkv": ("attn_qkv",),
        "out": ("attn_output",),
        "ffn_norm": ("ffn_norm",),
        "up": ("ffn_up",),
        "down": ("ffn_down",),
    },
    positions="position_embd.weight",
    final_norm="output_norm",
)
_GGUF_BERT = replace(
    _GGUF,
    parts={
        "attn_norm": ("attn_output_norm",),
        "qkv": ("attn_q", "attn_k", "attn_v"),
        "out": ("attn_output",),
        "ffn_norm": ("layer_output_norm",),
        "up": ("ffn_up",),
        "down": ("ffn_down",),
    },
    positions="position_embd.weight",
    token_types="token_types.weight",
    embed_norm="token_embd_norm",
)

# What lbbt_mm.language.model writes: part names as they are.
OURS = KeyTable(
    block="blocks.{i}.",
    parts={
        name: (name,)
        for name in (
            "attn_norm",
            "qkv",
            "q_norm",
            "k_norm",
            "out",
            "ffn_norm",
            "gate",
            "up",
            "down",
        )
    },
    embeddings="",
    positions="positions",
    embed_norm="embed_norm",
    embed_project="embed_norm.project",
    final_norm="final_norm",
    ignored=("_extra_state",),
)


@dataclass(frozen=True)
class Family:
    """One family of language models.

    Attributes:
        hf: Names in transformers' checkpoints.
        gguf: Names in llama.cpp's files, or ``None`` where these are not read.
        hf_gated: Names where a gated FFN has others than a plain one (T5).
    """

    hf: KeyTable
    gguf: KeyTable | None = None
    hf_gated: KeyTable | None = None

    def table(self, gated: bool) -> KeyTable:
        """Return the names in a transformers checkpoint with this kind of FFN."""
        return self.hf_gated if gated and self.hf_gated else self.hf


FAMILIES: dict[str, Family] = {
    "gpt2": Family(_GPT2, _GGUF_GPT2),
    "bert": Family(_BERT, _GGUF_BERT),
    "llama": Family(_LLAMA, _GGUF_LLAMA),
    "mistral": Family(_LLAMA, _GGUF_LLAMA),
    "qwen2": Family(_LLAMA, _GGUF_QWEN),
    "qwen3": Family(_LLAMA, _GGUF_QWEN),
    "t5": Family(_T5, hf_gated=_T5_GATED),
    "roberta": Family(_ROBERTA),
    "distilbert": Family(_DISTILBERT),
    "electra": Family(_ELECTRA),
    "opt": Family(_OPT),
    "gpt_bigcode": Family(_BIGCODE),
    "starcoder2": Family(_STARCODER2, _GGUF_QWEN),
    "phi3": Family(_PHI3, _GGUF_PHI3),
}
"""``model_type`` of a transformers config -> its tables."""

SAME_FAMILY = {
    "mt5": "t5",  # T5 1.1's architecture
    "xlm-roberta": "roberta",
    "camembert": "roberta",
    "data2vec-text": "roberta",
}
"""``model_type`` -> the family that it is by another name."""
