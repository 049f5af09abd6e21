"""How large a language model's residual stream typically is."""

from __future__ import annotations

import torch
from torch import Tensor

from lbbt_mm.language.checkpoint import Checkpoint
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.language.fallback_checkpoint import FallbackCheckpoint
from lbbt_mm.language.fallback_config import FallbackConfig
from lbbt_mm.language.model import LanguageModel

_SEQUENCES, _TOKENS, _CHUNKS = 16, 64, 32


def typical_word_embeddings(
    checkpoint: Checkpoint | FallbackCheckpoint, count: int = 512
) -> Tensor:
    """Read word embeddings evenly spread over the vocabulary, ``(words, input_width)``.

    Args:
        checkpoint: A language model with its word embedding.
        count: About how many.
    """
    vocab_size = checkpoint.config.vocab_size
    rows = max(1, min(-(-count // _CHUNKS), vocab_size // _CHUNKS))
    starts = range(0, vocab_size - rows + 1, max(1, vocab_size // _CHUNKS))
    return torch.cat([checkpoint.embedding_rows(s, s + rows) for s in starts])


def scratch_word_embeddings(
    config: LanguageConfig | FallbackConfig, count: int = 512
) -> Tensor:
    """Draw word embeddings as the family initialises them, ``(words, input_width)``.

    Args:
        config: The architecture.
        count: How many.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, config.input_width, generator=generator) * config.init_std


@torch.no_grad()
def residual_rms(model: LanguageModel | FallbackModel, words: Tensor) -> float:
    """Measure the typical root-mean-square of the stream after each block.

    Random sequences of words run through the blocks. A few channels of a language
    model are a thousand times larger than the others, and its first token gathers
    them, so a mean of squares would measure those alone. Here a token's size is
    1.4826 times the median of its channels' magnitudes (the root-mean-square, if they
    were normal); the result is the median over all tokens but the first of each
    sequence and over the outputs of all blocks.

    Args:
        model: The stack, with its weights.
        words: Word embeddings to draw from, ``(words, input_width)``.

    Returns:
        The typical root-mean-square of one channel.
    """
    was_training = model.training
    model.eval()
    generator = torch.Generator().manual_seed(0)
    table = model.positions if model.config.position == "table" else None
    tokens = _TOKENS if table is None else min(_TOKENS, len(table))
    ids = torch.randint(0, len(words), (_SEQUENCES, tokens), generator=generator)
    device = next(model.parameters()).device
    x = model.embed(words[ids].to(device))
    relative = model.relative_positions(x)
    sizes = []
    for block in model.blocks:
        x = block(x, model.causal, relative)
        sizes.append(x[:, 1:].abs().median(dim=-1).values)
    model.train(was_training)
    return 1.4826 * float(torch.stack(sizes).median())
