"""The log's numbers, read once an interval."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import Runner

from lbbt_mm.late_scalars import read_all, update_late, waiting_of
from lbbt_mm.registry import HOOKS


@HOOKS.register_module()
class DeferredLogHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, which does not wait for the device every step.

    Losses and accuracies stay where they are until they are logged; the log, its files
    and checkpoints are the same, number for number. Together with
    ``lbbt_mm.AutocastOptimWrapper``, which leaves the gradient's norm there, and
    ``lbbt_mm.LabelSmoothLoss``, which looks at no label, the processor waits for a GPU
    once an interval.

    Args:
        interval: Iterations between two readings; that of the logger, which reads
            whatever is still waiting.

    Raises:
        ValueError: ``interval`` below 1.

    Example::

        default_hooks = dict(
            runtime_info=dict(type="lbbt_mm.DeferredLogHook", interval=16),
            logger=dict(type="LoggerHook", interval=16),
        )
    """

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise ValueError(
                f"DeferredLogHook expects an interval of 1 or more, got {interval}."
            )
        self.interval = interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the outputs, and read them all at the end of an interval.

        Before the hooks that measure time, so that the waiting is a part of it.
        """
        for key, value in (outputs or {}).items():
            update_late(runner.message_hub, f"train/{key}", value)
        if self.every_n_inner_iters(batch_idx, self.interval):
            read_all(waiting_of(runner.message_hub))
