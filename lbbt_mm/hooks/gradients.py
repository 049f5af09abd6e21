"""Gradients that no step has used yet: a part of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner


def _wrappers(runner: Runner) -> Iterator[tuple[str, OptimWrapper]]:
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict):
        yield from wrapper.items()
    elif isinstance(wrapper, OptimWrapper):
        yield "", wrapper


def _parameters(wrapper: OptimWrapper) -> Iterator[torch.nn.Parameter]:
    for group in wrapper.optimizer.param_groups:
        yield from group["params"]


def _between_steps(wrapper: OptimWrapper) -> bool:
    count = getattr(wrapper, "_accumulative_counts", 1)
    return count > 1 and wrapper._inner_count > 0 and not wrapper.should_update()


def accumulates(runner: Runner) -> list[int]:
    """The ``accumulative_counts`` of a run that are above 1."""
    counts = (getattr(w, "_accumulative_counts", 1) for _, w in _wrappers(runner))
    return [count for count in counts if count > 1]


def gradients_in_flight(runner: Runner) -> dict[str, dict[str, Any]]:
    """Read the gradients that no step has used yet.

    Args:
        runner: Of the training.

    Returns:
        Name of the optimiser wrapper (``''`` if there is one) -> the number of batches
        so far and, by the parameter's place in the optimiser, gradients on the CPU.
        Empty right after a step.
    """
    found = {}
    for name, wrapper in _wrappers(runner):
        if not _between_steps(wrapper):
            continue
        gradients = {
            i: parameter.grad.detach().cpu()
            for i, parameter in enumerate(_parameters(wrapper))
            if parameter.grad is not None
        }
        found[name] = dict(count=wrapper._inner_count, gradients=gradients)
    return found


def set_gradients_in_flight(runner: Runner, found: dict[str, dict[str, Any]]) -> str:
    """Put back what :func:`gradients_in_flight` has read.

    Args:
        runner: Of the training that goes on.
        found: From the checkpoint.

    Returns:
        Empty, or why the gradients that should be there are not, in a few words.
    """
    for name, wrapper in _wrappers(runner):
        if name in found:
            wrapper._inner_count = found[name]["count"]
        if not _between_steps(wrapper):
            continue
        if name not in found:
            return "does not hold them"
        gradients = found[name]["gradients"]
        parameters = list(_parameters(wrapper))
        for i, gradient in gradients.items():
            if i >= len(parameters) or parameters[i].shape != gradient.shape:
                return "holds those of another model"
            parameters[i].grad = gradient.to(parameters[i])
    return ""
