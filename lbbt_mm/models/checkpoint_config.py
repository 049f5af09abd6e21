"""The config of a checkpoint: enough by itself, and not trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from lbbt_mm.language import CheckpointError
from lbbt_mm.language.fallback_checkpoint import any_config
from lbbt_mm.models.pretrained import split_pretrained
from lbbt_mm.registry import MODELS, names_of
from lbbt_mm.safety.dumped_config import parse_dumped_config
from lbbt_mm.safety.registered_names import check_config, registered_names_only

LANGUAGE_BACKBONES = {"LanguageBackbone", "MaskedLanguageBackbone"}


def type_name(node: Mapping) -> str:
    """Read what a config dict builds.

    Args:
        node: A dict of a config.

    Returns:
        Its ``type``, a class by its name; empty if it has none.
    """
    kind = node.get("type", "")
    return kind if isinstance(kind, str) else getattr(kind, "__name__", "")


def find_dicts(
    node: Any, names: set[str], registry: Registry = MODELS, scope: str | None = None
) -> Iterator[Any]:
    """Walk a config and yield its dicts of certain types, outermost first.

    Args:
        node: A config, or any dict, list or leaf of one.
        names: Classes to look for, by their names; a subclass counts.
        registry: Where they are registered.
        scope: Of names without a prefix; the process's if None.

    Yields:
        The dicts themselves, which can be edited in place.
    """
    if isinstance(node, Mapping):
        if "type" in node and names & names_of(node, registry, scope):
            yield node
        for value in node.values():
            yield from find_dicts(value, names, registry, scope)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from find_dicts(value, names, registry, scope)


def foreign_config(text: str, where: str, parts: Sequence[str]) -> Config:
    """Read a config that is not the user's own: of a checkpoint or of a run folder.

    Nothing of it is run. What builds from it does so in :func:`building_foreign`.

    Args:
        text: The config, as mmengine writes it out.
        where: Its origin, for messages.
        parts: What will be built of it, such as ``'model'``. The others stay as they
            are, unchecked: hooks and optimisers of a training may be anybody's.

    Returns:
        The config; only literals are in it.

    Raises:
        ValueError: It is no such text, or a part of it asks for something that none of
            the four libraries registered.
    """
    found = parse_dumped_config(text, where)
    for name in ("filename", "text", "env_variables"):  # mmengine's own, not a key
        found.pop(name, None)
    for part in parts:
        if not isinstance(found.get(part) or {}, Mapping):
            raise ValueError(
                f"{where}: expected a dict as {part}, got {str(found[part])[:80]!r}."
            )
        check_config({part: found.get(part)}, where, foreign_scope(found))
    return Config(found)


def foreign_scope(config: Mapping[str, Any]) -> Any:
    """Say which library's names a config uses without a prefix."""
    return config.get("default_scope") or "mmengine"


@contextlib.contextmanager
def building_foreign(where: str) -> Iterator[None]:
    """Build from such a config; whatever does not fit is said in one sentence.

    Args:
        where: Its origin.

    Raises:
        ValueError: It cannot be built.
        CheckpointError: As what is built raises it.
    """
    try:
        with registered_names_only():
            yield
    except (CheckpointError, ImportError, MemoryError):
        raise
    except Exception as error:  # a config of any content
        told = (str(error).strip() or "no reason given").splitlines()[0][:300]
        raise ValueError(
            f"What {where} describes cannot be built ({type(error).__name__}: {told})."
        ) from error


def use_checkpoint_only(cfg: Any, checkpoint: str) -> None:
    """Edit ``cfg.model`` so that building it reads no file of its own.

    The weights come from ``checkpoint`` a moment later, and the language model or the
    bridge that they once came from may be gone. Where a language model is gone, and is
    no well-known one, the architecture comes from the checkpoint's own record.

    Args:
        cfg: A config with a ``model``; edited in place.
        checkpoint: The checkpoint that will be loaded.
    """
    scope = cfg.get("default_scope")
    for llava in find_dicts(cfg.model, {"LLaVA"}, scope=scope):
        if not llava.get("train_encoder", True):
            return  # its checkpoint may hold no encoder, which then has its own source
    for backbone in find_dicts(cfg.model, LANGUAGE_BACKBONES, scope=scope):
        backbone["pretrained"] = False
        if "init_cfg" in backbone:
            backbone["init_cfg"] = split_pretrained(backbone["init_cfg"])[1]
        try:
            any_config(backbone.get("language_model", ""))
        except CheckpointError:
            backbone["language_model"] = checkpoint
