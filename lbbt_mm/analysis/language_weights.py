"""The weights of a plain language model, named as they are in a backbone of it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from lbbt_mm.language import Checkpoint, open_checkpoint


def language_model_weights(
    language_model: str, words: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Read a language model for :func:`lbbt_mm.analysis.weight_statistics`.

    Names and orientation are those of a :class:`lbbt_mm.models.LanguageBackbone` with
    this model's weights (``'language.blocks.3.qkv.weight'``), so that both can be
    compared block by block. One block is in memory at a time. A quantised ``.gguf`` is
    read as the numbers that it stands for: its outliers are rounded, too.

    Args:
        language_model: A hub id, a folder, a file or ``'package:NAME/FILE'``; see
            :func:`lbbt_mm.language.open_checkpoint`.
        words: The table of word embeddings too, which no backbone has.

    Returns:
        Pairs of name and tensor, read as they are asked for.

    Raises:
        CheckpointError: It cannot be found or understood; at once, before the first
            weight is read.
    """
    return _read(open_checkpoint(language_model), words)


def _read(checkpoint: Checkpoint, words: bool) -> Iterator[tuple[str, Tensor]]:
    config = checkpoint.config
    if words and not checkpoint.record:  # a model of ours has none
        yield "language.words", checkpoint.embedding_rows(0, config.vocab_size)
    # A model of ours may have been built without the language model's positions.
    unused = checkpoint.record and "positions" not in checkpoint.other_names((), None)
    if config.position_shape is not None and not unused:
        yield "language.positions", checkpoint.positions()
    if config.embed_norm:
        yield from _norm(checkpoint, "embed_norm")
    for index in range(config.num_layers):
        for part, tensor in checkpoint.block(index).items():
            yield f"language.blocks.{index}.{part}", tensor
    if config.final_norm:
        yield from _norm(checkpoint, "final_norm")


def _norm(checkpoint: Checkpoint, which: str) -> Iterator[tuple[str, Tensor]]:
    for kind, tensor in checkpoint.norm(which).items():
        yield f"language.{which}.{kind}", tensor
