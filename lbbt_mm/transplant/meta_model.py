"""A model without memory for its weights: enough to plan a transplant."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.overrides import TorchFunctionMode


class _NumbersOnCPU(TorchFunctionMode):
    """Keeps on the CPU what constructors read numbers from.

    mmseg's layers take their drop path rates from ``torch.linspace(...)``, item by
    item, and the meta device has no numbers.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def build_on_meta_device(cfg: Mapping[str, Any]) -> nn.Module:
    """Build the model of a config on the meta device.

    Args:
        cfg: A whole config of mmdet, mmseg or mmpretrain; it stays as it is.

    Returns:
        The model: all names and shapes, no numbers.
    """
    init_default_scope(cfg.get("default_scope") or "mmengine")
    with torch.device("meta"), _NumbersOnCPU():
        # A copy: DETR's head, for one, writes a tensor into its config.
        return MODELS.build(copy.deepcopy(cfg["model"]))
