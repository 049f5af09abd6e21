"""Which parts of a language backbone train, as one option of a config."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from mmengine.logging import print_log
from torch import nn

from lbbt_mm.language.layers import NarrowLinear

if TYPE_CHECKING:
    from lbbt_mm.models.backbone.language_backbone import LanguageBackbone

# A norm's parameters, whatever wraps the norm or its block.
_NORM = re.compile(r"_norm\.")
_LORA = re.compile(r"\.lora_")  # peft's parameters
_PARTS = ("patch_embed", "prefix", "lora", "positions", "norms", "final_norm")
_HELP = (
    "expected 'all', 'none', 'first:N', 'last:N', a block number, 'patch_embed', "
    "'prefix', 'lora', 'positions', 'norms' or 'final_norm', joined by '+' or in a list"
)


@dataclass(frozen=True)
class TrainableParts:
    """What trains; everything else is frozen.

    Attributes:
        blocks: Numbers of the blocks that train as a whole.
        patch_embed: The new patch embedding and its positions.
        prefix: The token in front of the patches, if there is one.
        lora: The adapters in the blocks, if there are any.
        positions: The language model's position table, or T5's relative bias, which
            all blocks share.
        norms: Every norm of the language model, also in frozen blocks.
        final_norm: The norms around the blocks: after the last one, and of the
            embeddings.
    """

    blocks: frozenset[int]
    patch_embed: bool = False
    prefix: bool = False
    lora: bool = False
    positions: bool = False
    norms: bool = False
    final_norm: bool = False


def parse_trainable(spec: str | Sequence[str | int], num_layers: int) -> TrainableParts:
    """Read the option ``trainable_layers``.

    The patch embedding is new, so it trains unless ``'none'`` is among the terms, and
    so do a token in front of the patches and LoRA:
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
        parts |= {"patch_embed", "prefix", "lora"}
    for term in terms:
        if isinstance(term, str):
            term = term.strip()
            term = int(term) if re.fullmatch(r"\d+", term) else term
        text = term if isinstance(term, str) else ""
        ranged = re.fullmatch(r"(first|last):(\d+)", text)
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
    backbone: LanguageBackbone,
    wanted: TrainableParts,
    last_read: int,
    frozen_dtype: str | None = None,
) -> frozenset[str]:
    """Let the wanted parts of a new backbone train; freeze the others.

    Args:
        backbone: With its ``patch_embed`` and ``language``.
        wanted: What trains.
        last_read: The last block whose output is used. DDP takes a parameter that gets
            no gradient for an error, so what follows it does not train.
        frozen_dtype: Dtype of what frozen blocks multiply by; theirs by default.

    Returns:
        Names of the parameters that are frozen.
    """
    patch_embed, language = backbone.patch_embed, backbone.language
    patch_embed.requires_grad_(wanted.patch_embed)
    if backbone.prefix is not None:
        backbone.prefix.requires_grad_(wanted.prefix)
    if language.positions is not None:
        language.positions.requires_grad_(wanted.positions)
    norms = wanted.final_norm or wanted.norms
    language.embed_norm.requires_grad_(norms)
    ends = last_read == len(language.blocks) - 1
    language.final_norm.requires_grad_(norms and ends)
    for index, block in enumerate(language.blocks):
        block.requires_grad_(index in wanted.blocks and index <= last_read)
        for name, parameter in block.named_parameters():
            if wanted.norms and index <= last_read and _NORM.search(name):
                parameter.requires_grad_(True)
            if _LORA.search(name):
                parameter.requires_grad_(wanted.lora and index <= last_read)
        for name, module in block.named_children() if frozen_dtype else ():
            if isinstance(module, nn.Linear) and not trains(module):
                held = NarrowLinear(module, getattr(torch, str(frozen_dtype)))
                setattr(block, name, held)
    return frozenset(
        name for name, p in backbone.named_parameters() if not p.requires_grad
    )


def rest(backbone: LanguageBackbone, frozen: Collection[str]) -> None:
    """Turn off, after ``train()``, what does not train, and its dropout if asked to.

    Only what was frozen when the backbone was built is frozen again. Whatever was done
    to it since stands: an adapter trains, and what somebody froze is frozen.

    Args:
        backbone: With its ``patch_embed`` and ``language``.
        frozen: What :func:`freeze` returned.
    """
    for name, parameter in backbone.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if backbone.frozen_dropout:
        return
    language, training = backbone.language, backbone.training
    for block in language.blocks:
        # Norms that train in a frozen block do not wake its dropout. FSDP and
        # checkpointing wrap the block, so names are looked at, not children.
        if not any(
            p.requires_grad and not _NORM.search(name)
            for name, p in block.named_parameters()
        ):
            block.eval()
    begins = _inputs_train(backbone)
    language.drop.train(training and begins)
    language.final_drop.train(training and trains(backbone))


def frozen_prefix(backbone: LanguageBackbone) -> tuple[bool, int]:
    """Find what needs no graph, as parameters are now.

    Returns:
        Whether nothing up to the first block trains, and the number of blocks that no
        gradient has to pass, because everything before them is frozen too.
    """
    language = backbone.language
    if _inputs_train(backbone) or trains(language.embed_norm):
        return False, 0
    blocks = 0
    for block in language.blocks:
        if trains(block):
            break
        blocks += 1
    return True, blocks


def trains(module: nn.Module) -> bool:
    """Tell whether any parameter of a module trains."""
    return any(parameter.requires_grad for parameter in module.parameters())


def layer_depth(
    name: str, prefix: str, num_layers: int, language: Any
) -> tuple[int, int]:
    """Tell how deep a parameter lies; see ``LanguageBackbone.get_layer_depth``.

    Args:
        name: Of the parameter in the whole model.
        prefix: What stands before the backbone's names.
        num_layers: Blocks that there are.
        language: The stack of the blocks, of either kind.
    """
    depths = num_layers + 2
    if not name.startswith(prefix):
        return depths - 1, depths
    name = name[len(prefix) :]
    if name.startswith("language.blocks."):
        return int(name.split(".")[2]) + 1, depths
    is_last = name.startswith("language.final_norm") or (
        name.removeprefix("language.trunk.") in getattr(language, "after", ())
    )
    return (depths - 1 if is_last else 0), depths


def _inputs_train(backbone: LanguageBackbone) -> bool:
    prefix, positions = backbone.prefix, backbone.language.positions
    return (
        trains(backbone.patch_embed)
        or (prefix is not None and trains(prefix))
        or (positions is not None and positions.requires_grad)
    )


def _is_text(term: object) -> bool:
    return isinstance(term, str)


def say_trainable(backbone: LanguageBackbone) -> None:
    """Log how much of a new backbone trains."""
    total = sum(p.numel() for p in backbone.parameters())
    trained = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    print_log(
        f"LanguageBackbone: {backbone.num_layers} blocks of "
        f"{backbone.language_source}, {trained / 1e6:.2f} M of {total / 1e6:.2f} M "
        f"parameters trainable.",
        logger="current",
    )
