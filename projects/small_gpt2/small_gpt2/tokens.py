"""From clean documents to tokens and windows, for projects/small_gpt2/pretrain.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

END = "<|endoftext|>"
"""GPT-2's separator of documents, and what a sample without a prompt starts from."""


def train_tokenizer(documents: Iterable[str], vocabulary: int, context: int) -> Any:
    """Learn GPT-2's kind of tokens, byte pairs, from documents.

    Args:
        documents: Text to learn from.
        vocabulary: Tokens at most, with all 256 bytes and the separator; little text
            gives fewer.
        context: The longest input of the model, for the tokenizer's own warnings.

    Returns:
        A ``GPT2TokenizerFast``, whose ``save_pretrained`` writes all that transformers
        wants to have.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2TokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # no text is unknown
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return GPT2TokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=END,
        bos_token=END,
        eos_token=END,
        model_max_length=context,
    )


def encode(
    tokenizer: Any, documents: list[str], show: Callable[[str], None]
) -> np.ndarray:
    """Turn documents into one stream, each after a separator.

    Args:
        tokenizer: Of :func:`train_tokenizer`.
        documents: Text.
        show: Told how far it is.

    Returns:
        Token numbers, ``(n,)``, as ``uint16`` where they fit.
    """
    kind = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    end = np.array([tokenizer.eos_token_id], dtype=kind)
    parts: list[np.ndarray] = []
    for first in range(0, len(documents), 64):
        chunk = documents[first : first + 64]
        for encoding in tokenizer.backend_tokenizer.encode_batch(chunk):
            parts += [end, np.array(encoding.ids, dtype=kind)]
        show(f"{first + len(chunk)} of {len(documents)} documents")
    return np.concatenate([*parts, end])


class Windows:
    """Windows of a stream of tokens, in an order that only the seed decides.

    Each pass over the text cuts it at other places and shuffles the windows, so that
    window number ``n`` is a function of the seed and ``n``: a resumed run goes on
    exactly where it was.

    Args:
        tokens: The stream, ``(n,)``, of more than two windows.
        context: Tokens that the model sees.
        seed: Of the order.
    """

    def __init__(self, tokens: np.ndarray, context: int, seed: int) -> None:
        self.tokens, self.context, self.seed = tokens, context, seed
        self.per_pass = (len(tokens) - 1) // context - 1
        self._pass, self._starts = -1, np.zeros(0, dtype=np.int64)

    def get(self, first: int, count: int) -> Tensor:
        """Cut windows out: ``(count, context + 1)``, the inputs and one token more."""
        rows = [self._row(number) for number in range(first, first + count)]
        return torch.from_numpy(np.stack(rows))

    def _row(self, number: int) -> np.ndarray:
        turn, place = divmod(number, self.per_pass)
        if turn != self._pass:
            random = np.random.default_rng([self.seed, turn])
            shift = random.integers(self.context)
            order = random.permutation(self.per_pass)
            self._pass, self._starts = turn, shift + self.context * order
        start = self._starts[place]
        return self.tokens[start : start + self.context + 1].astype(np.int64)


def held_out_windows(
    tokens: np.ndarray, context: int, rows: int, most: int | None = None
) -> Iterator[Tensor]:
    """Cut a stream into windows side by side; what is too short for one is left.

    Args:
        tokens: The stream, ``(n,)``.
        context: Tokens that the model sees.
        rows: Windows of a batch.
        most: As of :meth:`Trainer.held_out_loss`.

    Yields:
        ``(up to rows, context + 1)``; a window's last token is the next one's first.
    """
    starts = np.arange(0, len(tokens) - context, context)
    if most is not None and len(starts) > most:
        starts = starts[np.linspace(0, len(starts) - 1, most).astype(int)]
    for first in range(0, len(starts), rows):
        some = [tokens[s : s + context + 1] for s in starts[first : first + rows]]
        yield torch.from_numpy(np.stack(some).astype(np.int64))


def unigram_loss(train: np.ndarray, test: np.ndarray, vocabulary: int) -> float:
    """Mean loss of a model that knows how frequent tokens are, and nothing else.

    Args:
        train: Tokens to count, each with one added, ``(n,)``.
        test: Tokens to predict, ``(m,)``.
        vocabulary: How many tokens there are.

    Returns:
        Nats per token.
    """
    counts = np.bincount(train, minlength=vocabulary) + 1.0
    surprise = np.log(counts.sum()) - np.log(counts)
    return float(surprise[test].mean())


def measures(loss: float, tokens_per_byte: float) -> dict[str, float]:
    """Express a loss in the units that people compare.

    Args:
        loss: Nats per token.
        tokens_per_byte: Of the text that it was measured on. A perplexity depends on
            the tokenizer; bits per byte do not.
    """
    return dict(
        loss=loss,
        perplexity=math.exp(loss),
        bits_per_byte=loss / math.log(2) * tokens_per_byte,
    )
