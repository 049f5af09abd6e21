"""Blocks that stand still at first, until what is new around them has settled."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.neighbours.mmengine import model_of
from lbbt_mm.registry import HOOKS


@HOOKS.register_module()
class FreezeBlocksHook(Hook):
    """Train everything but a part of the model for the first epochs.

    A new patch embedding sends noise through a language model's blocks, which would be
    trained on it. With this hook it warms up first::

        custom_hooks = [dict(type="lbbt_mm.FreezeBlocksHook", epochs=1)]

    Gradients of the part are dropped before they are clipped and used, so its weights,
    the optimiser's moments and its decay start when it is let go, as if it had been
    frozen; its dropout is on. The number of the epoch or iteration decides, so a
    resumed run goes on as the whole one, and several processes need no option of DDP.
    To save the time of these gradients, train twice instead: with
    ``trainable_layers='none+patch_embed'``, then with ``load_from``.

    Args:
        epochs: How long, in epochs; or
        iters: how long, in iterations.
        module: Path of the part in the model.

    Raises:
        ValueError: Neither length or both are given, or one is no number. In training:
            the model has no such part, or the run's optimiser wrapper is not one of
            mmengine's for one optimiser, or a FlexibleRunner's.
    """

    def __init__(
        self,
        epochs: int | None = None,
        iters: int | None = None,
        module: str = "backbone.language",
    ) -> None:
        given = [length for length in (epochs, iters) if length is not None]
        if len(given) != 1 or type(given[0]) is not int or given[0] < 1:
            raise ValueError(
                f"FreezeBlocksHook needs epochs=N or iters=N, a positive whole number; "
                f"got epochs={epochs!r}, iters={iters!r}."
            )
        self.epochs, self.iters = epochs, iters
        self.module = module
        self._holds = False
        self._parameters: list[nn.Parameter] = []

    def before_train(self, runner: Runner) -> None:
        """Stand between the backward pass and the step."""
        model, wrapper = model_of(runner), runner.optim_wrapper
        if not isinstance(runner, Runner) or not isinstance(wrapper, OptimWrapper):
            raise ValueError(
                f"FreezeBlocksHook works in mmengine's Runner with one optimiser, got "
                f"{type(runner).__name__} with {type(wrapper).__name__}."
            )
        try:
            part = model.get_submodule(self.module)
        except AttributeError as error:
            raise ValueError(
                f"FreezeBlocksHook: the model has no {self.module} ({error}); module "
                f"takes a path as print(model) shows it."
            ) from error
        self._parameters = list(part.parameters())
        backward: Any = wrapper.backward

        def backward_and_drop(*args: Any, **kwargs: Any) -> None:
            backward(*args, **kwargs)
            if self._holds:
                for parameter in self._parameters:
                    parameter.grad = None

        wrapper.backward = backward_and_drop  # type: ignore[method-assign]

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Hold on or let go."""
        held = self._holds
        if self.epochs is not None:
            self._holds = runner.epoch < self.epochs
        else:
            assert self.iters is not None
            self._holds = runner.iter < self.iters
        if held and not self._holds:
            runner.logger.info(
                f"FreezeBlocksHook: {self.module} trains from iteration "
                f"{runner.iter + 1} on."
            )

    def after_train(self, runner: Runner) -> None:
        """Give the optimiser its own function back."""
        vars(runner.optim_wrapper).pop("backward", None)
        self._holds, self._parameters = False, []
