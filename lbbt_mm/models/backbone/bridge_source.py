"""A bridge as the language model: what stands around its blocks, and how they ran."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log

from lbbt_mm.language import Checkpoint
from lbbt_mm.language.fallback_checkpoint import FallbackCheckpoint
from lbbt_mm.models.backbone.patch_tokens import PatchTokens

# What a record holds only where it is used.
_MAY_MISS = ("prefix_tokens", "window_size", "global_blocks")
_KERNEL, _BIAS, _POSITIONS = "projection.weight", "projection.bias", "positions"


def take_patch_embed(
    patch_embed: PatchTokens,
    source: Checkpoint | FallbackCheckpoint,
    token_scale: float | str = 1.0,
) -> bool:
    """Take along the patch embedding of a checkpoint of ours, and say so.

    Positions come along where both have positions of one kind, resized to the number
    of patches. What cannot come keeps the numbers it was drawn with, with a warning.

    Args:
        patch_embed: Drawn already; gets the weights, in place.
        source: Whose blocks were loaded.
        token_scale: What was asked for, which a patch embedding of its own outdoes.

    Returns:
        Whether it was taken; ``False`` also for a plain language model, which has none.
    """
    root = "patch_embed."
    stored = {
        name[len(root) :]: tensor
        for name, tensor in source.beside.items()
        if name.startswith(root)
    }
    kernel = stored.get(_KERNEL)
    if kernel is None:
        if source.record:
            _warn(
                f"{source.source} holds blocks without a patch embedding, which is "
                f"drawn anew."
            )
        return False
    own = patch_embed.state_dict()
    if kernel.shape != own[_KERNEL].shape:
        _warn(
            f"the blocks of {source.source} come without its patch embedding, which is "
            f"drawn anew: the checkpoint's kernel is {list(kernel.shape)} (width, "
            f"channels, patch), the config's {list(own[_KERNEL].shape)}. With the same "
            f"patch_size and in_channels it comes along."
        )
        return False
    taken = {name: stored[name] for name in (_KERNEL, _BIAS)}
    table, wanted = stored.get(_POSITIONS), own.get(_POSITIONS)
    kind = (source.record.get("use") or {}).get("position", patch_embed.position)
    also = ""
    if wanted is not None and table is not None and kind == patch_embed.position:
        taken[_POSITIONS], also = table, " and its positions"
    elif wanted is not None or table is not None:
        had = repr(kind) if table is not None else "none"
        _warn(
            f"the positions of the patches in {source.source} ({had}) do not come "
            f"along, for position={patch_embed.position!r}"
            + (", which starts anew." if wanted is not None else ".")
        )
    patch_embed.load_state_dict(own | taken)
    if token_scale != 1.0:
        _warn(
            f"token_scale={token_scale!r} has no effect: it scales a patch embedding "
            f"that is drawn, and {source.source} brings its own."
        )
    print_log(
        f"LanguageBackbone: blocks and patch embedding{also} come from "
        f"{source.source}.",
        logger="current",
    )
    return True


def describe_origin(origin: Mapping[str, Any] | None) -> str:
    """Say in words what blocks started from.

    Args:
        origin: As the record of :class:`lbbt_mm.language.LanguageModel` states it.

    Returns:
        ``'scratch'``, or the language model; for a bridge also what it started from.
    """
    source = (origin or {}).get("source")
    if not source:
        drawn = (origin or {}).get("distribution", "the family's own")
        return f"scratch ({drawn} initialisation)"
    parent = (origin or {}).get("parent")
    first = (origin or {}).get("first_block")
    if first:
        source = f"{source} from block {first} on"
    if not parent:
        return f"the weights of {source}"
    return f"the weights of {source}, which started from {describe_origin(parent)}"


def other_use(built: Mapping[str, Any], stored: Mapping[str, Any] | None) -> list[str]:
    """List how two backbones run their blocks differently; see :func:`say_other_use`.

    Returns:
        A phrase for each option.
    """
    stored = dict(stored or {})
    names = [name for name in built if name in stored and name != "prefix_tokens"]
    if stored:
        names += [name for name in _MAY_MISS if (name in stored) != (name in built)]
    return [
        f"{name}={stored.get(name)!r} there, {built.get(name)!r} here"
        for name in names
        if stored.get(name) != built.get(name)
    ]


def say_other_use(
    built: Mapping[str, Any], stored: Mapping[str, Any] | None, source: str
) -> None:
    """Warn where the same weights compute something else than they did in training.

    It is legitimate (a causal bridge may be fine-tuned bidirectionally), so it is no
    error; in a test it is a mistake.

    Args:
        built: How this backbone runs its blocks.
        stored: How the one that was saved did; ``None`` if its checkpoint does not say,
            as those of version 0.1.
        source: What to call the checkpoint.
    """
    other = other_use(built, stored)
    if other:
        _warn(
            f"{source} was trained with {'; '.join(other)}: the same weights give "
            f"other features now. For the same ones set it as it was."
        )


def _warn(text: str) -> None:
    print_log(f"LanguageBackbone: {text}", logger="current", level=logging.WARNING)
