"""Which layers of a model, and which blocks of a language model for them."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from lbbt_mm.transplant.errors import TransplantError


def find_module(model: nn.Module, path: str) -> nn.Module:
    """Find a module by its path.

    Args:
        model: The whole model, without a distributed wrapper.
        path: Such as ``'encoder.layers'``.

    Raises:
        TransplantError: There is none; the message names the nearest.
    """
    try:
        return model.get_submodule(path)
    except AttributeError:
        names = [name for name, _ in model.named_modules() if name]
        near = difflib.get_close_matches(path, names, n=3, cutoff=0.4)
        raise TransplantError(
            f"{type(model).__name__} has no module {path!r}; "
            + (
                f"did you mean {' or '.join(near)}?"
                if near
                else "print(model) lists them."
            )
        ) from None


def layers_of(path: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List the layers that a path means: one layer, or the layers of a list.

    Args:
        path: Of the module.
        module: A layer, or a ``ModuleList`` or ``Sequential`` of layers.

    Returns:
        Paths and layers, in order.

    Raises:
        TransplantError: The list is empty, or holds a layer twice.
    """
    if not isinstance(module, (nn.ModuleList, nn.Sequential)):
        return [(path, module)]
    before = f"{path}." if path else ""
    layers = [(before + name, layer) for name, layer in module.named_children()]
    if not layers:
        raise TransplantError(f"{path} holds no layers.")
    if len(layers) != len(module):
        raise TransplantError(
            f"{path} holds {len(module)} layers that share the numbers of "
            f"{len(layers)}: one layer cannot hold several blocks. Name a single one, "
            f"such as module={layers[0][0]!r}, with one block."
        )
    return layers


def choose_blocks(
    blocks: Any, depth: int, layers: int, cycle: bool, where: str
) -> list[int]:
    """Choose one block for each layer.

    Args:
        blocks: ``'0:12'`` or any other slice as text, a list of numbers, one number, or
            None: as many of the first blocks as there are layers.
        depth: Blocks of the language model.
        layers: Layers to be filled.
        cycle: Start again with the first chosen block where there are too few.
        where: Path of the layers, for messages.

    Returns:
        A block number for each layer.

    Raises:
        TransplantError: A number is out of range, or there is not one block for each
            layer.
    """
    chosen = _numbers(blocks, depth, layers, where)
    if len(chosen) < layers and cycle:
        chosen = [chosen[i % len(chosen)] for i in range(layers)]
    if len(chosen) != layers:
        asked = "the language model has" if blocks is None else f"blocks={blocks!r} are"
        raise TransplantError(
            f"{where} has {layers} layers and {asked} {len(chosen)} blocks; choose "
            f"one for each layer"
            + (
                ", or set cycle=True to use some again."
                if len(chosen) < layers
                else "."
            )
        )
    return chosen


def _numbers(blocks: Any, depth: int, layers: int, where: str) -> list[int]:
    if blocks is None:
        return list(range(min(depth, layers)))
    if isinstance(blocks, str):
        try:
            ends = [int(end) if end.strip() else None for end in blocks.split(":")]
        except ValueError:
            ends = []
        if not 2 <= len(ends) <= 3 or ends[2:] == [0]:
            raise TransplantError(
                f"blocks={blocks!r} for {where} is no slice; write '0:12', '::2', "
                f"'-6:', a list such as [0, 4, 8], or one number."
            )
        # Python's slices forgive an end beyond the last; a plan should not.
        beyond = [end for end in ends[:2] if end is not None and abs(end) > depth]
        chosen = [] if beyond else list(range(depth))[slice(*ends)]
    else:
        chosen = list(blocks) if isinstance(blocks, (list, tuple)) else [blocks]
        if any(not isinstance(n, int) or isinstance(n, bool) for n in chosen):
            raise TransplantError(
                f"blocks={blocks!r} for {where} should be whole numbers, or a slice as "
                f"text such as '0:12'."
            )
        chosen = [n + depth if n < 0 else n for n in chosen]
        if any(not 0 <= n < depth for n in chosen):
            chosen = []
    if not chosen:
        raise TransplantError(
            f"blocks={blocks!r} for {where} chooses blocks that are not there; the "
            f"language model has blocks 0 to {depth - 1}."
        )
    return chosen
