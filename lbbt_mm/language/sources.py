"""What stands beside the weights and around them: JSON files, shards, an index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.families import FAMILIES
from lbbt_mm.language.hf_config import config_from_hf
from lbbt_mm.language.key_table import numbered
from lbbt_mm.language.presets import preset_config
from lbbt_mm.language.recognise import what_it_is
from lbbt_mm.language.storage import load_state_dict


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: The file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        found, advice = what_it_is(path) or (str(error), "Fetch it again.")
        raise CheckpointError(
            f"{path} is not readable JSON ({found}). {advice}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object; fetch it again.")
    return content


def merged_state_dict(paths: list[Path]) -> dict[str, Any]:
    """Read one state dict, or the shards of one."""
    tensors: dict[str, Any] = {}
    for path in paths:
        shard = load_state_dict(path)
        twice = tensors.keys() & shard.keys()
        if twice:
            raise CheckpointError(
                f"{path} holds {min(twice)}, which another shard holds too; fetch the "
                f"shards again, all of one version."
            )
        tensors.update(shard)
    return tensors


def check_index(
    language_model: str, names: frozenset[str], held: Iterable[str]
) -> None:
    """Refuse shards that lack what their index promises."""
    lost = sorted(names - set(held))
    if lost:
        raise CheckpointError(
            f"The index.json of {language_model} lists tensors that its shards do not "
            f"hold: {', '.join(lost[:6])}. Fetch index and shards again, all of one "
            f"version."
        )


def config_beside(
    language_model: str, hf: Mapping[str, Any] | None, names: Iterable[str]
) -> LanguageConfig:
    """Read an architecture from what lies beside the weights.

    Args:
        language_model: What the user gave.
        hf: The ``config.json`` beside them, if there is one.
        names: Names of the tensors, for messages.

    Raises:
        CheckpointError: There is no configuration, or none that the stack computes.
    """
    if hf is not None:
        return config_from_hf(hf, language_model)
    known = preset_config(language_model)
    if known is not None:
        return known
    names = list(names)
    if not any(_is_of_a_block(name) for name in names):
        raise CheckpointError(
            f"{language_model} holds no language model of a supported family "
            f"({', '.join(FAMILIES)}) and no backbone of ours; its tensors are "
            f"{', '.join(sorted(names)[:4]) or 'none'}."
        )
    raise CheckpointError(
        f"{language_model} has no config.json beside its weights, so its heads "
        f"and sizes are unknown; copy the model's config.json into that folder."
    )


def _is_of_a_block(name: str) -> bool:
    """Tell whether a family has such a name; a ViT of mmpretrain has layers too."""
    for family in FAMILIES.values():
        match = numbered(family.hf.block, r"(.*\.)?").match(name)
        parts = {key for keys in family.hf.parts.values() for key in keys}
        if match and name[match.end() :].rpartition(".")[0] in parts:
            return True
    return False
