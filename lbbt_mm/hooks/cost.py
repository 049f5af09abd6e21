"""What a training cost: images, steps, forward passes and floating-point operations."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lbbt_mm.files import write_whole
from lbbt_mm.hooks.throughput import count_images
from lbbt_mm.language.flops import kernel_formulas
from lbbt_mm.neighbours.mmengine import model_of, start_of
from lbbt_mm.registry import HOOKS

# The iteration whose operations are counted: not the first, which warms up.
_COUNTED = 1


@HOOKS.register_module()
class CostHook(Hook):
    """Writes ``cost.json`` into the run's folder, and the same numbers into the log.

    For comparisons at a matched budget:

    - ``images``: images that were seen, each time anew;
    - ``steps``: steps of the optimiser's loop (iterations);
    - ``forward_passes``: images that went through the backbone, views of one image
      separately; a masked autoencoder's count, though they are a part of the tokens;
    - ``flops``: matrix products, convolutions and fused attention of the second
      iteration, forward and backward, as torch counts them, times the iterations (so a
      smaller last batch counts as a whole one). A multiplication and an addition are
      two. Norms, activations and the optimiser are not in it;
    - ``seconds``: of all iterations, without loading images.

    Counts are of all processes; a resumed run goes on counting.

    Example::

        custom_hooks = [dict(type="lbbt_mm.CostHook")]
    """

    priority = "LOW"

    def __init__(self) -> None:
        self._seen = dict(images=0, steps=0, forward_passes=0, seconds=0.0)
        self._flops_per_step: int | None = None
        self._counter: FlopCounterMode | None = None
        self._handle: Any = None
        self._start = 0.0

    def before_train(self, runner: Runner) -> None:
        """Watch the backbone.

        Raises:
            ValueError: The model has none.
        """
        model = model_of(runner)
        backbone = getattr(model, "backbone", None)
        if backbone is None:
            raise ValueError(
                f"CostHook counts the images that pass model.backbone, got "
                f"{type(model).__name__} without one: leave the hook out."
            )
        self._handle = backbone.register_forward_hook(self._count)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Start the clock, and once the counter of operations."""
        self._start = time.perf_counter()
        if self._flops_per_step is None and self._seen["steps"] >= _COUNTED:
            self._counter = FlopCounterMode(
                display=False, custom_mapping=kernel_formulas()
            )
            self._counter.__enter__()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Add an iteration up."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._flops_per_step = self._counter.get_total_flops() * runner.world_size
            self._counter = None
        self._seen["seconds"] += time.perf_counter() - self._start
        self._seen["steps"] += 1
        self._seen["images"] += count_images(data_batch) * runner.world_size

    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        if self._handle is not None:
            self._handle.remove()
        cost: dict[str, Any] = dict(self._seen)
        cost["forward_passes"] *= runner.world_size
        cost["seconds"] = round(cost["seconds"], 1)
        flops = self._flops_per_step
        cost["flops"] = None if flops is None else flops * cost["steps"]
        if is_main_process():
            path = Path(runner.work_dir, "cost.json")
            write_whole(path, json.dumps(cost, indent=1) + "\n")
        scalars = {f"cost/{n}": value for n, value in cost.items() if value is not None}
        runner.visualizer.add_scalars(scalars, step=runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the counts for a run that is resumed."""
        checkpoint["cost"] = dict(self._seen, flops_per_step=self._flops_per_step)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Go on from the counts of the run that is resumed; not of a ``load_from``."""
        if start_of(runner)[1] and "cost" in checkpoint:
            kept = dict(checkpoint["cost"])
            self._flops_per_step = kept.pop("flops_per_step")
            self._seen |= kept

    def _count(self, module: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
        if module.training:
            self._seen["forward_passes"] += len(inputs[0])
