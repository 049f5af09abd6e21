"""Which parts of a language backbone train, as one option of a config."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_PARTS = ("patch_embed", "positions", "norms", "final_norm")
_HELP = (
    "expected 'all', 'none', 'first:N', 'last:N', a block number, 'patch_embed', "
    "'positions', 'norms' or 'final_norm', joined by '+' or in a list"
)


@dataclass(frozen=True)
class TrainableParts:
    """What trains; everything else is frozen.

    Attributes:
        blocks: Numbers of the blocks that train as a whole.
        patch_embed: The new patch embedding and its positions.
        positions: The language model's position table, or T5's relative bias, which
            all blocks share.
        norms: Every norm of the language model, also in frozen blocks.
        final_norm: The norms around the blocks: after the last one, and of the
            embeddings.
    """

    blocks: frozenset[int]
    patch_embed: bool = False
    positions: bool = False
    norms: bool = False
    final_norm: bool = False


def parse_trainable(spec: str | Sequence[str | int], num_layers: int) -> TrainableParts:
    """Read the option ``trainable_layers``.

    The patch embedding is new, so it trains unless ``'none'`` is among the terms:
    ``'first:5'`` trains it and five blocks, ``'none+last:14'`` trains fourteen blocks
    and nothing else, ``'none'`` freezes the whole backbone.

    Args:
        spec: One term, terms joined by ``'+'``, or a list of terms and block numbers.
        num_layers: Blocks that there are.

    Raises:
        ValueError: A term is unknown or names blocks that do not exist.
    """
    listed = [spec] if isinstance(spec, (str, int)) else list(spec)
    terms: list[str | int] = []
    for term in listed:
        terms += term.split("+") if isinstance(term, str) else [term]
    blocks: set[int] = set()
    parts: set[str] = set()
    if "none" not in terms:
        parts.add("patch_embed")
    for term in terms:
        if isinstance(term, str):
            term = term.strip()
            term = int(term) if re.fullmatch(r"\d+", term) else term
        ranged = re.fullmatch(r"(first|last):(\d+)", term) if _is_text(term) else None
        if term == "all":
            blocks |= set(range(num_layers))
            parts |= set(_PARTS)
        elif term == "none":
            continue
        elif term in _PARTS:
            parts.add(str(term))
        elif ranged and 1 <= int(ranged[2]) <= num_layers:
            numbers = range(num_layers)
            count = int(ranged[2])
            blocks |= set(numbers[:count] if ranged[1] == "first" else numbers[-count:])
        elif not _is_text(term) and isinstance(term, int) and 0 <= term < num_layers:
            blocks.add(term)
        else:
            raise ValueError(
                f"trainable_layers: {term!r} does not fit {num_layers} blocks; {_HELP}."
            )
    return TrainableParts(frozenset(blocks), **{part: True for part in parts})


def _is_text(term: object) -> bool:
    return isinstance(term, str)
