"""Blocks without what a library has put around their layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


def adapted(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Find layers that stand around another, as peft's do.

    Args:
        module: What to look through.

    Returns:
        For each the path in ``module``, its parent and its name there.
    """
    for path, child in list(module.named_modules()):
        if isinstance(getattr(child, "base_layer", None), nn.Module):
            parent, _, name = path.rpartition(".")
            yield path, module.get_submodule(parent), name


@contextmanager
def bare(module: nn.Module) -> Iterator[None]:
    """Put the original layers back for a while, to be drawn or filled.

    Args:
        module: What to look through.
    """
    around = [
        (parent, name, getattr(parent, name)) for _, parent, name in adapted(module)
    ]
    for parent, name, layer in around:
        original: Any = layer.base_layer
        setattr(parent, name, original)
    try:
        yield
    finally:
        for parent, name, layer in around:
            setattr(parent, name, layer)
