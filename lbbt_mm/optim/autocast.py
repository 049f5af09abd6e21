"""bfloat16 training on CPU and GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.optim import OptimWrapper
from torch import nn

from lbbt_mm.late_scalars import update_late
from lbbt_mm.optim.box_heads import autocast
from lbbt_mm.optim.precision import check_dtype, resolve_dtype
from lbbt_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """``OptimWrapper`` whose forward pass runs under ``torch.autocast``.

    mmengine's ``AmpOptimWrapper`` refuses to run without an accelerator and always
    scales the loss. bfloat16 has the exponent range of float32 and needs no loss
    scaling, so this one works wherever autocast does. Gradient accumulation and
    clipping are those of ``OptimWrapper``, except that the norm is taken over all
    shards where FSDP spreads the gradients over processes; parameters, gradients and
    the optimiser's state stay in float32, and so do heads with anchors or points: see
    :func:`lbbt_mm.optim.box_heads.parts_before_boxes`. Only training is affected;
    ``lbbt_mm.AutocastValLoop`` does the same for validation. The gradients' norm is
    read when the log is: nothing waits for the device in a step.

    Args:
        dtype: ``'bfloat16'``, ``'float32'`` to switch autocast off without
            exchanging the wrapper, or ``'auto'``: what the device computes faster (see
            :func:`lbbt_mm.optim.precision.resolve_dtype`), said in the log.
        **kwargs: Arguments of ``OptimWrapper``: ``optimizer``,
            ``accumulative_counts``, ``clip_grad``.

    Raises:
        ValueError: Any other ``dtype``.

    Example::

        optim_wrapper = dict(
            type="lbbt_mm.AutocastOptimWrapper", optimizer=dict(type="AdamW", lr=1e-4)
        )
    """

    def __init__(self, dtype: str = "bfloat16", **kwargs: Any) -> None:
        check_dtype(
            dtype,
            type(self).__name__,
            "its loss scaled: mmengine's type='AmpOptimWrapper' (GPU only)",
        )
        super().__init__(**kwargs)
        self.dtype = dtype
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
        dtype = resolve_dtype(self.dtype, device, model)
        with super().optim_context(model), autocast(model, device.type, dtype):
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
