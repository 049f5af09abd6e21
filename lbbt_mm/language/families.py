"""Explicit tables: how each family names and stores what a block is made of.

A table names every key of a block. Linear weights that a format stores as
``(in, out)`` are listed in ``transposed``; ``qkv`` may be one stored tensor or three.
This is the only place that knows that GPT-2's Conv1D is transposed or that
llama.cpp interleaves the rows of rotary heads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

HEADS = (
    "lm_head.",
    "cls.",
    "score.",
    "classifier.",
    "pre_classifier.",
    "classification_head.",
    "qa_outputs.",
    "multiple_choice_head.",
    "pooler.",
    # Reward and value models: trl's and others'.
    "v_head.",
    "value_head.",
    "reward_head.",
    "rm_head.",
    "regression_head.",
)
"""Beginnings of names of what stands on a language model, in any family.

They may stand behind the model's own prefix or a part of it: ``bert.pooler.``.
"""


@dataclass(frozen=True)
class KeyTable:
    """Where one storage format keeps one family's tensors.

    Attributes:
        block: Prefix of block ``{i}``, ending in a dot. What stands before it in a
            file, such as ``transformer.``, stands before every name of the model.
        parts: Part of :func:`lbbt_mm.language.block.block_shapes` without
            ``.weight`` or ``.bias`` -> stored name(s), concatenated by rows.
        embeddings: Word embedding, ``(vocabulary, width)``.
        positions: Learned position table, or ``None``.
        token_types: Segment embedding whose row 0 is added to every position (BERT).
        embed_norm: Norm of the embeddings, or ``None``.
        final_norm: Norm after the last block, or ``None``.
        transposed: Parts whose weight is stored ``(in, out)``.
        interleaved: Parts whose rotary rows are interleaved (llama.cpp).
        ignored_in_block: Buffers inside a block that are not parameters.
        ignored: Beginnings of names outside the blocks that a vision model has no use
            for, beside the heads of all families.
        older: Endings of names in old files -> what they are called today.
        other_block: Prefix of block ``{i}`` of another stack in the same file, ending
            in a dot, or ``None``; T5's decoder, which is not read.
        other_parts: What such a block may hold; anything else is unknown.
    """

    block: str
    parts: dict[str, tuple[str, ...]]
    embeddings: str
    positions: str | None = None
    token_types: str | None = None
    embed_norm: str | None = None
    final_norm: str | None = None
    transposed: frozenset[str] = frozenset()
    interleaved: frozenset[str] = frozenset()
    ignored_in_block: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    older: Mapping[str, str] = field(default_factory=dict)
    other_block: str | None = None
    other_parts: frozenset[str] = frozenset()

    def explains(self, name: str) -> bool:
        """Whether a name outside the blocks, without prefix, belongs to the model."""
        norms = [norm for norm in (self.embed_norm, self.final_norm) if norm]
        known = {self.embeddings, self.positions, self.token_types}
        known |= {f"{norm}.{kind}" for norm in norms for kind in ("weight", "bias")}
        if name in known or name.startswith(HEADS + self.ignored):
            return True
        match = numbered(self.other_block).match(name) if self.other_block else None
        return match is not None and name[match.end() :] in self.other_parts


def numbered(block: str, before: str = "") -> re.Pattern[str]:
    """Match names that begin with a block's prefix; the last group is its number.

    Args:
        block: As in :class:`KeyTable`.
        before: Regular expression of what stands before it.
    """
    inner = re.escape(block).replace(r"\{i\}", r"([0-9]{1,9})")
    return re.compile(before + inner)


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
    ignored=("output.weight",),
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
}
"""``model_type`` of a transformers config -> its tables."""
