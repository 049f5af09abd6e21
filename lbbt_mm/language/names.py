"""Which stored tensor is which: prefixes, wrappers, old spellings and heads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.key_table import HEADS, KeyTable, numbered

# What torch.compile, FSDP and activation checkpointing put between a module's names.
_WRAPPERS = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)


@dataclass(frozen=True)
class Names:
    """Names of a model's tensors.

    Attributes:
        stored: Name in the family's table -> name in the file; blocks and whatever
            else has the model's own prefix.
        others: Names in the file of heads outside of that prefix.
    """

    stored: Mapping[str, str]
    others: tuple[str, ...]


def sort_names(
    origin: str, family: str, table: KeyTable, names: Iterable[str], num_layers: int
) -> Names:
    """Find a model's prefix, refuse names that no table explains, count the blocks.

    Args:
        origin: What the user gave, for messages.
        family: The model's family, for messages.
        table: How the family names its tensors.
        names: Names in the file.
        num_layers: Blocks that the configuration promises.

    Raises:
        CheckpointError: There are no blocks or two models, a name outside the blocks
            is unknown, or blocks are missing.
    """
    plain = _without_wrappers(origin, table, names)
    prefix = _prefix(origin, family, table, plain)
    roots = [
        prefix[:end] for end in range(len(prefix)) if prefix[:end][-1:] in ("", ".")
    ]
    block = numbered(table.block)
    stored: dict[str, str] = {}
    others: list[str] = []
    unknown: list[str] = []
    blocks: set[int] = set()
    for name, full in plain.items():
        local = name[len(prefix) :]
        if name.startswith(prefix):
            match = block.match(local)
            if match:
                blocks.add(int(match[1]))
            if match or table.explains(local):
                stored[local] = full
                continue
        ignored = HEADS + table.ignored
        if any(
            name.startswith(r) and name[len(r) :].startswith(ignored) for r in roots
        ):
            others.append(full)
        else:
            unknown.append(full)
    if unknown:
        raise CheckpointError(
            f"{origin} holds tensors that a {family} model does not have: "
            f"{', '.join(sorted(unknown)[:6])}. It may be of another family, carry an "
            f"adapter (merge it first) or hold more than a language model (save "
            f"that part alone)."
        )
    if len(blocks) != num_layers or max(blocks) != num_layers - 1:
        raise CheckpointError(
            f"{origin} should hold blocks 0 to {num_layers - 1} by its configuration; "
            f"found {len(blocks)} blocks, up to number {max(blocks)}. Copy the "
            f"config.json and all weights of one model."
        )
    return Names(stored, tuple(others))


def _without_wrappers(
    origin: str, table: KeyTable, names: Iterable[str]
) -> dict[str, str]:
    plain: dict[str, str] = {}
    for full in names:
        name = _WRAPPERS.sub("", full)
        for old, new in table.older.items():
            if name.endswith(f".{old}"):
                name = name.removesuffix(old) + new
        if name in plain:
            raise CheckpointError(
                f"{origin} holds {name} twice: as {plain[name]} and as {full}; save "
                f"the model again with one of them."
            )
        plain[name] = full
    return plain


def _prefix(origin: str, family: str, table: KeyTable, names: Iterable[str]) -> str:
    names = list(names)
    pattern = numbered(table.block, r"((?:.*?\.)??)")
    matches = (pattern.match(name) for name in names)
    prefixes = sorted({match[1] for match in matches if match})
    if len(prefixes) == 1:
        return prefixes[0]
    expected = table.block.format(i=0)
    if prefixes:
        raise CheckpointError(
            f"{origin} holds {len(prefixes)} {family} models, as "
            f"{' and '.join(f'{prefix}{expected}*' for prefix in prefixes[:4])}; save "
            f"the one that is wanted alone."
        )
    first = ", ".join(sorted(names)[:4]) or "no tensors"
    raise CheckpointError(
        f"{origin} says it is a {family} model, so names such as {expected}* were "
        f"expected; found {first}. Copy the config.json and the weights of one model."
    )
