"""Where one storage format keeps the tensors of one family of language models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

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
    "generator_predictions.",
    "generator_lm_head.",
    "discriminator_predictions.",
    "sequence_summary.",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
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
            ``.weight`` or ``.bias`` -> stored name(s), concatenated by rows. A name
            that several parts have holds them one after the other (Phi-3).
        embeddings: Word embedding, ``(vocabulary, width)``.
        positions: Learned position table, or ``None``.
        first_position: Row of it that the first token gets; 2 where fairseq trained.
        token_types: Segment embedding whose row 0 is added to every position (BERT).
        embed_norm: Norm of the embeddings, or ``None``.
        embed_project: What brings narrower embeddings to the stream's width, or
            ``None`` (ELECTRA).
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
    first_position: int = 0
    token_types: str | None = None
    embed_norm: str | None = None
    embed_project: str | None = None
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
        ends = (self.embed_norm, self.embed_project, self.final_norm)
        norms = [name for name in ends if name]
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
