"""Images per second of training, in the ordinary log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from lbbt_mm.registry import HOOKS

_KEY = "train/images_per_second"
_WINDOW = 50  # iterations in the moving average


def count_images(data_batch: Any) -> int:
    """Number of images in a batch as mmengine's data loaders yield it.

    Args:
        data_batch: A dict with ``data_samples`` or ``inputs`` (OpenMMLab), a
            sequence such as ``(images, labels)``, or anything with a length.

    Returns:
        The batch size on this process.
    """
    if isinstance(data_batch, Mapping):
        # A multi-view pipeline has a list of views in `inputs`, but one sample each.
        samples = data_batch.get("data_samples")
        inputs = data_batch.get("inputs")
        data_batch = samples if samples is not None else inputs
    elif isinstance(data_batch, Sequence) and hasattr(data_batch[0], "__len__"):
        data_batch = data_batch[0]
    return len(data_batch)


class _EndOfIteration(Hook):
    """Runs after every other hook, so that what they do is not counted."""

    priority = "LOWEST"

    def __init__(self, throughput: ThroughputHook) -> None:
        self.throughput = throughput

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.throughput.restart_clock()

    def after_val(self, runner: Runner) -> None:
        # An iteration-based loop validates between two training iterations.
        self.throughput.restart_clock()


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Log ``images_per_second``: the training throughput over all processes.

    An iteration lasts from the request for its batch to the end of its optimiser
    step, so slow data loading counts, and so do the workers that start at the
    beginning of an epoch. Validation, checkpoints, and logging between two
    iterations do not. The value is a moving average: images over seconds of the last
    50 iterations. The log line of an iteration shows it, and so does
    ``scalars.json``; the end of training logs the average of the whole run.

    The batch of this process is multiplied by the number of processes: mmengine's
    samplers give every process equally many images, and no communication is needed.

    Args:
        warmup: First iterations of a run that are not measured: memory is allocated
            and kernels are chosen or compiled in them.

    Raises:
        ValueError: ``warmup`` is below 0.

    Example::

        custom_hooks = [dict(type="lbbt_mm.ThroughputHook")]
    """

    # After IterTimerHook, EMAHook and the optimiser step, before LoggerHook.
    priority = "NORMAL"

    def __init__(self, warmup: int = 3) -> None:
        if warmup < 0:
            raise ValueError(f"ThroughputHook expects warmup >= 0, got {warmup}.")
        self.warmup = warmup

    def before_run(self, runner: Runner) -> None:
        """Add the helper that sees the end of an iteration."""
        if not any(isinstance(hook, _EndOfIteration) for hook in runner.hooks):
            runner.register_hook(_EndOfIteration(self))

    def before_train(self, runner: Runner) -> None:
        """Forget an earlier run, and count the warm-up from here, also on resume."""
        self._recent: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._seen = self._images = 0
        self._seconds = 0.0
        # A resumed run would show the old run's last value while it warms up.
        runner.message_hub.log_scalars.pop(_KEY, None)
        self.restart_clock()

    def before_train_epoch(self, runner: Runner) -> None:
        """Leave out whatever happened between two epochs."""
        self.restart_clock()

    def restart_clock(self) -> None:
        """The time until now belongs to no training iteration."""
        self._start = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Add one iteration.

        The loss has been read for the log by now (RuntimeInfoHook comes first), which
        waits for the GPU: the clock needs no synchronisation of its own.
        """
        seconds = time.perf_counter() - self._start
        self._seen += 1
        if self._seen <= self.warmup or data_batch is None:
            return
        images = count_images(data_batch) * get_world_size()
        self._recent.append((images, seconds))
        self._images += images
        self._seconds += seconds
        rate = sum(i for i, _ in self._recent) / sum(s for _, s in self._recent)
        runner.message_hub.update_scalar(_KEY, rate)

    def after_train(self, runner: Runner) -> None:
        """Log the average of the run."""
        if self._images:
            runner.logger.info(
                f"Throughput: {self._images / self._seconds:.1f} images per second "
                f"in training ({self._images} images, {get_world_size()} "
                f"process(es); validation and checkpoints not counted)."
            )
