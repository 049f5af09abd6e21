"""How well a language model expects a text."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lbbt_mm.progress import follow


@torch.no_grad()
def text_loss(
    scores: Callable[[Tensor], Tensor],
    words: Tensor,
    window: int,
    progress: bool = False,
) -> tuple[float, int]:
    """Sum up a causal language model's loss on a text.

    Args:
        scores: The model: words ``(1, T)`` -> scores of what follows each,
            ``(1, T, vocabulary)``.
        words: The text's, ``(N,)``.
        window: Words that the model sees at once, 2 or more; windows follow each other
            without overlap, and the first word of each is given, not expected.
        progress: Show how far it is.

    Returns:
        The sum of ``-log p`` in nats, and of how many words it is; perplexity is
        ``exp(sum / number)``.

    Raises:
        ValueError: The text has fewer than two words, or the window.

    Example:
        >>> even = lambda words: torch.zeros(1, len(words[0]), 8)
        >>> text_loss(even, torch.arange(5), window=5)
        (8.317766189575195, 4)
    """
    if len(words) < 2 or window < 2:
        raise ValueError(
            f"Expected a text and a window of two words or more, got {len(words)} and "
            f"{window}."
        )
    total, number = 0.0, 0
    for part in follow(words.split(window), "words", progress):
        if len(part) > 1:
            found = scores(part[None])[0, :-1].float()
            total += F.cross_entropy(found, part[1:], reduction="sum").item()
            number += len(part) - 1
    if not math.isfinite(total):
        raise ValueError("The model's scores are not finite: its training diverged.")
    return total, number
