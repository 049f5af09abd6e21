"""Which parts of a language backbone train, as one option of a config."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbbt_mm.models.backbone.language_backbone import LanguageBackbone

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


def freeze(
    backbone: LanguageBackbone, wanted: TrainableParts, last_read: int
) -> tuple[bool, int]:
    """Let the wanted parts of a backbone train; the others are frozen, dropout off.

    Args:
        backbone: With its ``patch_embed`` and ``language``.
        wanted: What trains.
        last_read: The last block whose output is used. DDP takes a parameter that gets
            no gradient for an error, so what follows it does not train.

    Returns:
        Whether nothing up to the first block trains, and the number of blocks that no
        gradient has to pass, because everything before them is frozen too.
    """
    patch_embed, language = backbone.patch_embed, backbone.language
    patch_embed.requires_grad_(wanted.patch_embed)
    if language.positions is not None:
        language.positions.requires_grad_(wanted.positions)
    norms = wanted.final_norm or wanted.norms
    language.embed_norm.requires_grad_(norms)
    ends = last_read == len(language.blocks) - 1
    language.final_norm.requires_grad_(norms and ends)
    for index, block in enumerate(language.blocks):
        trains = index in wanted.blocks and index <= last_read
        block.requires_grad_(trains)
        if not trains:
            block.eval()
            # All modules, not children: FSDP and checkpointing wrap the block.
            for name, child in block.named_modules():
                if name.endswith("_norm"):
                    child.requires_grad_(wanted.norms and index <= last_read)
    training = backbone.training
    language.drop.train(training and (wanted.patch_embed or wanted.positions))
    anything = any(parameter.requires_grad for parameter in backbone.parameters())
    language.final_drop.train(training and anything)
    embedding = [patch_embed, language.embed_norm]
    embed_is_frozen = not any(
        p.requires_grad for module in embedding for p in module.parameters()
    ) and not (language.positions is not None and wanted.positions)
    frozen_blocks = 0
    if embed_is_frozen:
        for block in language.blocks:
            if any(p.requires_grad for p in block.parameters()):
                break
            frozen_blocks += 1
    return embed_is_frozen, frozen_blocks


def _is_text(term: object) -> bool:
    return isinstance(term, str)
