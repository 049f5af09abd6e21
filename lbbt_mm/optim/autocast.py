"""bfloat16 training on CPU and GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from lbbt_mm.late_scalars import update_late
from lbbt_mm.registry import OPTIM_WRAPPERS

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """``OptimWrapper`` whose forward pass runs under ``torch.autocast``.

    mmengine's ``AmpOptimWrapper`` refuses to run without an accelerator and always
    scales the loss. bfloat16 has the exponent range of float32 and needs no loss
    scaling, so this one works wherever autocast does. Gradient accumulation and
    clipping are those of ``OptimWrapper``, except that the norm is taken over all
    shards where FSDP spreads the gradients over processes; parameters, gradients and
    the optimiser's state stay in float32. Only training is affected;
    ``lbbt_mm.AutocastValLoop`` does the same for validation. The gradients' norm is
    read when the log is: nothing waits for the device in a step.

    Args:
        dtype: ``'bfloat16'``, or ``'float32'`` to switch autocast off without
            exchanging the wrapper.
        **kwargs: Arguments of ``OptimWrapper``: ``optimizer``,
            ``accumulative_counts``, ``clip_grad``.

    Raises:
        ValueError: Any other ``dtype``; float16 needs loss scaling.

    Example::

        optim_wrapper = dict(
            type="lbbt_mm.AutocastOptimWrapper", optimizer=dict(type="AdamW", lr=1e-4)
        )
    """

    def __init__(self, dtype: str = "bfloat16", **kwargs: Any) -> None:
        if dtype == "float16":
            raise ValueError(
                "AutocastOptimWrapper does not scale the loss, which float16 needs. "
                "Use dtype='bfloat16' (CPU and GPU), or mmengine's "
                "type='AmpOptimWrapper' with dtype='float16' (GPU only)."
            )
        if dtype not in _DTYPES:
            raise ValueError(
                f"AutocastOptimWrapper expects dtype to be one of {sorted(_DTYPES)}, "
                f"got {dtype!r}."
            )
        super().__init__(**kwargs)
        self.dtype = _DTYPES[dtype]
        self._sharded: Any = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under autocast on the device that holds ``model``.

        Raises:
            RuntimeError: The GPU has no bfloat16.
        """
        self._sharded = model if hasattr(model, "clip_grad_norm_") else None
        # Not mmengine.get_device(): that names the machine's accelerator even when
        # the model was left on the CPU.
        device = next(model.parameters()).device
        if (
            self.dtype is torch.bfloat16
            and device.type == "cuda"
            and not torch.cuda.is_bf16_supported()
        ):
            raise RuntimeError(
                f"{torch.cuda.get_device_name(device)} has no bfloat16. Set "
                "optim_wrapper.dtype=float32, or use mmengine's AmpOptimWrapper."
            )
        enabled = self.dtype is not torch.float32
        with (
            super().optim_context(model),
            torch.autocast(
                device.type, dtype=self.dtype if enabled else None, enabled=enabled
            ),
        ):
            yield

    def _clip_grad(self) -> None:
        """Clip; the norm stays on the device until somebody reads the log."""
        if self.clip_func is not nn.utils.clip_grad_norm_:
            super()._clip_grad()
            return
        if self._sharded is not None:
            norm = self._sharded.clip_grad_norm_(**self.clip_grad_kwargs)
        else:
            groups = self.optimizer.param_groups
            every = [p for g in groups for p in g["params"] if p.grad is not None]
            if not every:
                return
            norm = self.clip_func(every, **self.clip_grad_kwargs)
        update_late(self.message_hub, f"train/{self.grad_name}", norm)
