"""Which channels of a language block fill a narrower layer.

Uniform selection, as in "Initializing Models with Larger Ones" (arXiv 2311.18823):
evenly spaced channels, the same of the residual stream in every layer. Heads are chosen
whole where there are enough, then channels of a head, the same in queries, keys and
values.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.language.config import LanguageConfig


def uniform(length: int, wanted: int) -> tuple[int, ...]:
    """Choose evenly spaced numbers below ``length``, as the paper's code does.

    >>> uniform(6, 3), uniform(12, 8)
    ((0, 2, 4), (0, 2, 3, 5, 6, 8, 9, 11))
    """
    if length % wanted == 0:
        return tuple(range(0, length, length // wanted))
    return tuple(torch.linspace(0, length - 1, wanted).round().long().tolist())


def head_rows(
    heads: int, head_dim: int, wanted: int, wanted_dim: int
) -> tuple[tuple[int, ...], ...] | None:
    """Choose rows of a projection of queries, keys or values for each head of a layer.

    Wider heads than the block's take several of them whole; where the layer has more
    heads than the block, neighbours share one and take different channels of it.

    Args:
        heads: Heads of the block.
        head_dim: Channels of one.
        wanted: Heads of the layer.
        wanted_dim: Channels of one.

    Returns:
        Row numbers, one tuple for each head of the layer; None if there are too few.
    """
    merged = -(-wanted_dim // head_dim)
    if wanted * merged <= heads:
        chosen = uniform(heads, wanted * merged)
        channels = uniform(merged * head_dim, wanted_dim)
        return tuple(
            tuple(
                chosen[head * merged + c // head_dim] * head_dim + c % head_dim
                for c in channels
            )
            for head in range(wanted)
        )
    owners = [head * heads // wanted for head in range(wanted)]
    rows = []
    for head, owner in enumerate(owners):
        first, sharing = owners.index(owner), owners.count(owner)
        if sharing * wanted_dim > head_dim:
            return None
        channels = uniform(head_dim, sharing * wanted_dim)[head - first :: sharing]
        rows.append(tuple(owner * head_dim + c for c in channels))
    return tuple(rows)


@dataclass(frozen=True)
class Selection:
    """The channels of a block that a layer takes, in the layer's order.

    Attributes:
        stream: Channels of the residual stream; they depend on the two widths alone,
            so all layers of one width take the same.
        heads: For each head of the layer, rows of a projection of queries, keys or
            values; empty where no attention is filled.
        hidden: Hidden channels of the FFN; empty where none is filled.
    """

    stream: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...] = ()
    hidden: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Name it by the layer's sizes."""
        parts = [f"{len(self.stream)} channels"]
        if self.heads:
            parts.append(f"{len(self.heads)} heads of {len(self.heads[0])}")
        if self.hidden:
            parts.append(f"{len(self.hidden)} hidden channels")
        return ", ".join(parts)

    def of(self, part: str, tensor: Tensor) -> Tensor:
        """Select from one part of a block.

        Args:
            part: Such as ``'qkv.weight'``, or ``'positions'``.
            tensor: The whole part.
        """
        name, _, kind = part.partition(".")
        rows = columns = self.stream  # of norms and positions
        if name == "qkv":
            flat = [row for head in self.heads for row in head]
            third = len(tensor) // 3
            rows = tuple(n * third + row for n in range(3) for row in flat)
        elif name == "out":
            columns = tuple(row for head in self.heads for row in head)
        elif name == "up":
            rows = self.hidden
        elif name == "down":
            columns = self.hidden
        if name != "positions":
            tensor = tensor.index_select(0, torch.tensor(rows))
        if name == "positions" or (kind == "weight" and tensor.ndim == 2):
            tensor = tensor.index_select(1, torch.tensor(columns))
        return tensor

    def describe(self, config: LanguageConfig) -> str:
        """Say which channels of which, in one line.

        Args:
            config: The language model's architecture.
        """
        lines = [f"{_of(self.stream, config.width)} channels"]
        if self.heads:
            dim = config.head_dim
            owners = [list(dict.fromkeys(row // dim for row in h)) for h in self.heads]
            names = ["+".join(map(str, each)) for each in owners]
            lines.append(f"heads {', '.join(names)} of {config.num_heads}")
            first = [row % dim for row in self.heads[0]]
            if len(first) != dim or first != list(range(dim)):
                lines.append(f"{_of(tuple(first), dim)} channels of the first head")
        if self.hidden:
            lines.append(f"{_of(self.hidden, config.ffn_width)} hidden channels")
        return "; ".join(lines)


def _of(chosen: tuple[int, ...], length: int) -> str:
    numbers = [str(number) for number in chosen]
    if len(numbers) > 8:
        numbers = [*numbers[:4], "...", numbers[-1]]
    return f"{len(chosen)} ({', '.join(numbers)}) of {length}"


def resized(
    config: LanguageConfig, width: int, heads: int, rows: int, ffn_width: int
) -> LanguageConfig | None:
    """Give a language model the sizes of a layer.

    Args:
        config: The language model's architecture.
        width: Channels of the layer's residual stream.
        heads: Its heads; 0 keeps the block's attention.
        rows: Rows of its projections of queries, keys and values together.
        ffn_width: Its hidden channels; 0 keeps the block's.

    Returns:
        The smaller architecture; None if the layer's heads do not divide its rows.
    """
    sizes: dict[str, Any] = dict(width=width)
    if heads:
        if rows % (3 * heads):
            return None
        dim = rows // (3 * heads)
        sizes |= dict(num_heads=heads, num_kv_heads=heads, head_dim=dim)
    if ffn_width:
        sizes["ffn_width"] = ffn_width
    return dataclasses.replace(config, **sizes)


def select(
    config: LanguageConfig, small: LanguageConfig, attention: bool, ffn: bool
) -> Selection | str:
    """Choose the channels that make a block of one size from one of another.

    Args:
        config: The language model's architecture.
        small: The same with the sizes of the layer.
        attention: Whether attention is filled.
        ffn: Whether the FFN is filled.

    Returns:
        The selection; a sentence if the layer is larger than the block somewhere.
    """
    if small.width > config.width:
        return (
            f"width: {small.width} channels in the layer, {config.width} in the block"
        )
    if ffn and small.ffn_width > config.ffn_width:
        return (
            f"FFN: {small.ffn_width} hidden channels in the layer, {config.ffn_width} "
            f"in the block; parts without 'ffn' fill the rest"
        )
    rows: tuple[tuple[int, ...], ...] = ()
    if attention:
        sizes = config.num_heads, config.head_dim
        found = head_rows(*sizes, small.num_heads, small.head_dim)
        if found is None:
            return (
                f"attention: {small.num_heads} heads of {small.head_dim} channels in "
                f"the layer, {config.num_heads} of {config.head_dim} in the block"
            )
        rows = found
    hidden = uniform(config.ffn_width, small.ffn_width) if ffn else ()
    return Selection(uniform(config.width, small.width), rows, hidden)
