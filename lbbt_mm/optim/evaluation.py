"""Validation and test in the precision of the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.runner import TestLoop, ValLoop

from lbbt_mm.optim.box_heads import autocast_before, parts_before_boxes
from lbbt_mm.optim.precision import check_dtype, resolve_dtype
from lbbt_mm.registry import LOOPS


@contextmanager
def _cuda_autocast_in_bfloat16() -> Iterator[None]:
    """Let mmengine's ``fp16`` loops, which ask torch, use bfloat16 on a GPU too."""
    if hasattr(torch, "set_autocast_dtype"):  # torch 2.4
        before = torch.get_autocast_dtype("cuda")
        torch.set_autocast_dtype("cuda", torch.bfloat16)
    else:
        before = torch.get_autocast_gpu_dtype()
        torch.set_autocast_gpu_dtype(torch.bfloat16)
    try:
        yield
    finally:
        if hasattr(torch, "set_autocast_dtype"):
            torch.set_autocast_dtype("cuda", before)
        else:
            torch.set_autocast_gpu_dtype(before)


class _Autocast:
    """What both loops add to mmengine's."""

    fp16: bool
    runner: Any

    def __init__(self, *args: Any, dtype: str = "bfloat16", **kwargs: Any) -> None:
        check_dtype(dtype, type(self).__name__, "mmengine's own loop with fp16=True")
        super().__init__(*args, **kwargs)
        self.dtype = dtype

    def run(self) -> dict:
        """As inherited, under autocast."""
        model = self.runner.model
        device = next(model.parameters()).device
        dtype = resolve_dtype(self.dtype, device, model)
        low = dtype is not torch.float32
        parts = parts_before_boxes(model) if low else []
        self.fp16 = low and not parts
        with ExitStack() as contexts:
            contexts.enter_context(_cuda_autocast_in_bfloat16())
            if parts:
                contexts.enter_context(autocast_before(parts, device.type, dtype))
            return super().run()  # type: ignore[misc]


@LOOPS.register_module()
class AutocastValLoop(_Autocast, ValLoop):
    """mmengine's ``ValLoop`` under bfloat16 autocast, on a CPU and on a GPU.

    With ``fp16=True`` mmengine's own computes in float16 on a GPU, where the large
    channels of a language model overflow.

    Args:
        *args: As for ``ValLoop``.
        dtype: ``'bfloat16'``, ``'float32'`` for none, or ``'auto'``: the faster.
        **kwargs: As for ``ValLoop``.

    Raises:
        ValueError: Any other ``dtype``.

    Example::

        val_cfg = dict(type="lbbt_mm.AutocastValLoop", dtype="bfloat16")
    """


@LOOPS.register_module()
class AutocastTestLoop(_Autocast, TestLoop):
    """mmengine's ``TestLoop`` as :class:`AutocastValLoop`.

    Args:
        *args: As for ``TestLoop``.
        dtype: ``'bfloat16'``, ``'float32'`` for none, or ``'auto'``: the faster.
        **kwargs: As for ``TestLoop``.

    Raises:
        ValueError: Any other ``dtype``.

    Example::

        test_cfg = dict(type="lbbt_mm.AutocastTestLoop", dtype="bfloat16")
    """
