"""Learnable tokens that attention can gather on, in layers of other libraries."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def checked_registers(count: object) -> int:
    """Return a number of registers, or say with a ``ValueError`` that it is none."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"registers must be a number of tokens from 0; got {count!r}.")
    return count


def new_registers(count: int, width: int) -> nn.Parameter | None:
    """Draw registers ``(count, width)``, normal with 0.02; ``None`` for 0."""
    if not count:
        return None
    return nn.Parameter(nn.init.normal_(torch.empty(count, width), std=0.02))


def with_registers(registers: Tensor, tokens: Tensor) -> Tensor:
    """Put registers in front of tokens ``(B, T, C)``: ``(B, R + T, C)``."""
    front = registers.to(tokens.dtype).expand(len(tokens), -1, -1)
    return torch.cat((front, tokens), dim=1)
