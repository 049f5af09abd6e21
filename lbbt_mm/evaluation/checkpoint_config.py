"""A checkpoint of ours is enough by itself: no language file beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lbbt_mm.language import CheckpointError, language_config
from lbbt_mm.models.pretrained import split_pretrained

_LANGUAGE_BACKBONES = {
    f"{scope}{name}"
    for scope in ("lbbt_mm.", "")
    for name in ("LanguageBackbone", "MaskedLanguageBackbone")
}


def type_name(node: Mapping) -> str:
    """Read what a config dict builds.

    Args:
        node: A dict of a config.

    Returns:
        Its ``type``, a class by its name; empty if it has none.
    """
    kind = node.get("type", "")
    return kind if isinstance(kind, str) else getattr(kind, "__name__", "")


def find_dicts(node: Any, type_names: set[str]) -> Iterator[dict]:
    """Walk a config and yield its dicts of certain types, outermost first.

    Args:
        node: A config, or any dict, list or leaf of one.
        type_names: Values of ``type`` to look for; a class counts by its name.

    Yields:
        The dicts themselves, which can be edited in place.
    """
    if isinstance(node, Mapping):
        if type_name(node) in type_names:
            yield node
        for value in node.values():
            yield from find_dicts(value, type_names)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from find_dicts(value, type_names)


def use_checkpoint_only(cfg: Any, checkpoint: str) -> None:
    """Edit ``cfg.model`` so that building it reads no file of its own.

    The weights come from ``checkpoint`` a moment later, and the language model or the
    bridge that they once came from may be gone. Where a language model is gone, and is
    no well-known one, the architecture comes from the checkpoint's own record.

    Args:
        cfg: A config with a ``model``; edited in place.
        checkpoint: The checkpoint that will be loaded.
    """
    for llava in find_dicts(cfg.model, {"lbbt_mm.LLaVA", "LLaVA"}):
        if not llava.get("train_encoder", True):
            return  # its checkpoint may hold no encoder, which then has its own source
    for backbone in find_dicts(cfg.model, _LANGUAGE_BACKBONES):
        backbone["pretrained"] = False
        if "init_cfg" in backbone:
            backbone["init_cfg"] = split_pretrained(backbone["init_cfg"])[1]
        try:
            language_config(backbone.get("language_model", ""))
        except CheckpointError:
            backbone["language_model"] = checkpoint
