"""Which modules are norms, and mmengine's constructors of optimisers told so.

mmengine, mmpretrain and mmseg know norms by torch's classes, ``LayerNorm`` and older
ones: ``norm_decay_mult`` passes over ``torch.nn.RMSNorm`` and every norm of
transformers' LLaMA, Qwen and T5 without a word.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm, _InstanceNorm
from torch import nn

KNOWN = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
"""The norms that mmengine knows."""
_NAME = re.compile(r"norm(\dd)?$", re.IGNORECASE)


def is_norm(module: nn.Module) -> bool:
    """Tell whether a module is a norm, of whatever library.

    One of torch's, or of a class that is called so (``LlamaRMSNorm``, apex's
    ``FusedLayerNorm``) and whose own parameters are a scale and a shift.
    """
    if isinstance(module, KNOWN):
        return True
    parameters = list(module.parameters(recurse=False))
    return (
        bool(parameters)
        and all(parameter.ndim <= 1 for parameter in parameters)
        and any(_NAME.search(kind.__name__) for kind in type(module).__mro__)
    )


def count_all_norms() -> None:
    """Let all constructors that inherit from mmengine's treat all norms alike."""
    plain = DefaultOptimWrapperConstructor.__call__

    @functools.wraps(plain)
    def with_all_norms(self: Any, model: nn.Module) -> Any:
        with _as_layer_norms(model):
            return plain(self, model)

    DefaultOptimWrapperConstructor.__call__ = with_all_norms


@contextmanager
def _as_layer_norms(model: nn.Module) -> Iterator[None]:
    """Let every norm pass for a ``LayerNorm``, by a class of both for this long."""
    changed = [
        (module, type(module))
        for module in model.modules()
        if is_norm(module) and not isinstance(module, KNOWN)
    ]
    try:
        for module, kind in changed:
            module.__class__ = type(kind.__name__, (kind, nn.LayerNorm), {})
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind
