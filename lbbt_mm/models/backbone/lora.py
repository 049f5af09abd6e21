"""LoRA in a language backbone's blocks, by peft."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from lbbt_mm.language.adapters import adapted
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.record import decode_record, encode_record, own_record
from lbbt_mm.version import require

if TYPE_CHECKING:
    from lbbt_mm.models.backbone.language_backbone import LanguageBackbone

_ADAPTER = re.compile(r"(.+)\.lora_[AB]\.default\.weight")
MERGE = "python -m lbbt_mm.models.backbone.merge_lora CHECKPOINT MERGED"


def add_lora(backbone: LanguageBackbone, options: Mapping[str, Any]) -> None:
    """Put LoRA into a new backbone's blocks.

    Args:
        backbone: With its ``language``; changed in place.
        options: ``blocks``, the numbers of those that get it, all by default; the rest
            is of ``peft.LoraConfig``: ``r``, ``lora_alpha``, ``lora_dropout``,
            ``target_modules`` among ``qkv``, ``out``, ``gate``, ``up`` and ``down``
            (the first two by default), ``use_rslora``.

    Raises:
        ImportError: peft is not installed.
        ValueError: peft does not know an option, finds no such layer, or there is no
            such block; or it is another kind of adapter.
    """
    require("peft", "LanguageBackbone(lora=dict(...))")
    from peft import LoraConfig, inject_adapter_in_model

    blocks = backbone.language.blocks
    chosen = dict(options)
    numbers = list(chosen.pop("blocks", None) or range(len(blocks)))
    chosen.setdefault("target_modules", ["qkv", "out"])
    try:
        config = LoraConfig(**chosen)
        special = config.use_dora or config.rank_pattern or config.alpha_pattern
        if special or config.bias != "none":
            raise ValueError("DoRA, patterns and biases are not merged here")
        for number in numbers:
            # peft names itself in a block's state; so is a wrong number found.
            inject_adapter_in_model(config, blocks[number])
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"lora: expected arguments of peft.LoraConfig, with target_modules among "
            f"qkv, out, gate, up, down and blocks from 0 to {len(blocks) - 1}; got "
            f"{dict(options)}: {error}"
        ) from error
    root = math.sqrt(config.r) if config.use_rslora else config.r
    backbone.language.use["lora"] = dict(r=config.r, scale=config.lora_alpha / root)


def fit_names(language: nn.Module, state: dict[str, Any], prefix: str) -> None:
    """Let the state of a plain bridge fit one with LoRA; refuse the other way.

    Args:
        language: The stack of blocks.
        state: Changed in place: plain weights go to the layers inside LoRA, whose own
            weights stay as they are.
        prefix: What stands before the stack's names.

    Raises:
        CheckpointError: The state has LoRA where the stack has none.
    """
    ours = {
        path: parent.get_submodule(name) for path, parent, name in adapted(language)
    }
    for name in list(state):
        match = _ADAPTER.fullmatch(name)
        if match and name.startswith(prefix) and match[1][len(prefix) :] not in ours:
            raise CheckpointError(
                f"The checkpoint has LoRA in {match[1]}, the config's backbone has "
                f"none there: set lora as the bridge had it, or merge it: {MERGE}"
            )
    for path, layer in ours.items():
        root = f"{prefix}{path}."
        if f"{root}weight" not in state:
            continue
        for name, value in layer.state_dict().items():
            plain = root + name.removeprefix("base_layer.")
            if name.startswith("base_layer.") and plain in state:
                state[root + name] = state.pop(plain)
            else:
                state.setdefault(root + name, value)


def merged(state: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Merge the LoRA of a model's state: what it computes stays the same.

    Args:
        state: Of a model with a ``LanguageBackbone(lora=...)``.
        origin: Its file, for messages.

    Returns:
        The state of the same model without LoRA.

    Raises:
        CheckpointError: There is no LoRA of ours in it.
    """
    found = own_record(state, origin)
    settings = (found[1].get("use") or {}).get("lora") if found else None
    if found is None or settings is None:
        raise CheckpointError(f"{origin} holds no LanguageBackbone with LoRA.")
    root, fields = found
    out = {name: value for name, value in state.items() if not _ADAPTER.fullmatch(name)}
    for name in state:
        match = _ADAPTER.fullmatch(name)
        if not match or not name.startswith(root) or ".lora_A." not in name:
            continue
        base = f"{match[1]}.base_layer.weight"
        up = state[name.replace(".lora_A.", ".lora_B.")].float()
        change = settings["scale"] * (up @ state[name].float())
        out[base] = (out[base].float() + change).to(out[base].dtype)
    use = {key: value for key, value in fields["use"].items() if key != "lora"}
    plain = {name.replace(".base_layer.", "."): value for name, value in out.items()}
    record = {key: value for key, value in fields.items() if key != "lbbt_mm"}
    for name, value in plain.items():
        if name.startswith(root) and decode_record(value) is not None:
            plain[name] = encode_record(dict(record, use=use))
    return plain
