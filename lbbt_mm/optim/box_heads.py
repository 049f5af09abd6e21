"""Where autocast ends in a detector: before the heads, which count pixels."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn


def parts_before_boxes(model: nn.Module) -> list[nn.Module]:
    """Return backbone and neck of each detector whose head has anchors or points.

    mmdet makes these in the precision of the head's scores, and cuts regions out of a
    map in the map's. bfloat16 has 8 bits: beyond 256 pixels its places are multiples
    of 2, beyond 512 of 4. Boxes are then silently wrong or, on a CPU, refused by mmcv's
    non-maximum suppression.

    Args:
        model: In a wrapper or not.

    Returns:
        Nothing for a model without such a head, a DETR for one.
    """
    found: dict[int, nn.Module] = {}
    for module in model.modules():
        backbone = getattr(module, "backbone", None)
        if not isinstance(backbone, nn.Module):
            continue
        if any(hasattr(part, "prior_generator") for part in module.modules()):
            for part in (backbone, getattr(module, "neck", None)):
                if isinstance(part, nn.Module):
                    found[id(part)] = part
    return list(found.values())


@contextmanager
def autocast(model: nn.Module, device: str, dtype: torch.dtype) -> Iterator[None]:
    """Autocast, in a detector with anchors or points up to its heads.

    Args:
        model: What runs inside.
        device: Type of the device.
        dtype: Of the products; float32 for none.
    """
    low = dtype is not torch.float32
    parts = parts_before_boxes(model) if low else []
    with (
        autocast_before(parts, device, dtype)
        if parts
        else torch.autocast(device, dtype=dtype if low else None, enabled=low)
    ):
        yield


@contextmanager
def autocast_before(
    parts: list[nn.Module], device: str, dtype: torch.dtype
) -> Iterator[None]:
    """Run some modules under autocast; all else computes in float32.

    Args:
        parts: Of :func:`parts_before_boxes`.
        device: Type of the device.
        dtype: Of the products.
    """
    _say_once(device, dtype)
    stack: list[torch.autocast] = []

    def enter(*_: Any) -> None:
        context = torch.autocast(device, dtype=dtype)
        context.__enter__()
        stack.append(context)

    def leave(part: nn.Module, _: Any, outputs: Any) -> Any:
        stack.pop().__exit__(None, None, None)
        return outputs if stack else _in_float32(outputs)

    with ExitStack() as hooks:
        for part in parts:
            hooks.enter_context(part.register_forward_pre_hook(enter))
            hooks.enter_context(part.register_forward_hook(leave, always_call=True))
        yield


def _in_float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        whole = outputs.float() if outputs.is_floating_point() else outputs
        if whole is not outputs:
            # What a backbone notes on its maps: their stride.
            vars(whole).update(vars(outputs))
        return whole
    if isinstance(outputs, (tuple, list)):
        return tuple(_in_float32(one) for one in outputs)
    return outputs


@functools.cache
def _say_once(device: str, dtype: torch.dtype) -> None:
    MMLogger.get_current_instance().info(
        f"Autocast ({dtype}, {device}) ends before the detector's head: its anchors or "
        "points are made in float32."
    )
