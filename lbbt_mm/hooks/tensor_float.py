"""float32 products on a GPU's tensor cores."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from lbbt_mm.registry import HOOKS


@HOOKS.register_module()
class TensorFloatHook(Hook):
    """Let a GPU multiply float32 matrices in TensorFloat32, many times as fast.

    Of the 23 bits behind the point, 10 take part in a product; bfloat16 has 7. torch's
    own default is this for convolutions, and float32 for matrices. On a CPU and under
    bfloat16 autocast nothing changes.

    Args:
        enabled: ``False`` asks for float32.

    Example::

        custom_hooks = [dict(type="lbbt_mm.TensorFloatHook")]
    """

    priority = "VERY_HIGH"

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def before_run(self, runner: Runner) -> None:
        """Set it, for this process."""
        if torch.cuda.is_available():
            torch.set_float32_matmul_precision("high" if self.enabled else "highest")
