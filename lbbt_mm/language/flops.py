"""Fused attention in counts of operations: torch's on a CPU, and mmengine's.

torch's ``FlopCounterMode`` knows the fused kernels of GPUs and not the CPU's;
mmengine's ``get_model_complexity_info``, and with it ``get_flops.py`` of the three
libraries, knows none. Both leave the attention's products out without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import flop_counter


def kernel_formulas() -> dict[Any, Callable[..., int]]:
    """Return the formulas that torch lacks, as ``FlopCounterMode(custom_mapping=...)``.

    Like torch's own they count a multiplication and an addition as two, and a causal
    mask as if it saved nothing.
    """
    formulas: dict[str, Callable[..., int]] = {
        "_scaled_dot_product_flash_attention_for_cpu": _forward,
        "_scaled_dot_product_flash_attention_for_cpu_backward": _backward,
    }
    return {
        getattr(torch.ops.aten, kernel): formula
        for kernel, formula in formulas.items()
        if hasattr(torch.ops.aten, kernel)  # torch 2.1 has neither
    }


def _forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return flop_counter.sdpa_flop_count(query, key, value)


def _backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return flop_counter.sdpa_backward_flop_count(grad, query, key, value)


def register() -> None:
    """Let every counter of torch and of mmengine in this process count attention."""
    known = getattr(flop_counter, "flop_registry", None)
    if known is not None:
        for kernel, formula in kernel_formulas().items():
            if kernel not in known:
                flop_counter.register_flop_formula(kernel)(formula)
    try:
        from mmengine.analysis import complexity_analysis as mmengine_counts
        from mmengine.analysis.jit_handles import generic_activation_jit

        flops = mmengine_counts._DEFAULT_SUPPORTED_FLOP_OPS
        activations = mmengine_counts._DEFAULT_SUPPORTED_ACT_OPS
    except (ImportError, AttributeError):  # another mmengine counts as it counts
        return
    name = "aten::scaled_dot_product_attention"
    flops.setdefault(name, _traced_attention)
    activations.setdefault(name, generic_activation_jit())


def counting() -> bool:
    """Tell whether the operations that run now are counted or traced, not computed."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        return True
    modes = torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    return any(type(mode).__module__ == flop_counter.__name__ for mode in modes)


def _traced_attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Count like mmengine: a multiplication and an addition are one."""
    queries, keys, values = (value.type().sizes() for value in inputs[:3])
    pairs = math.prod(queries[:-1]) * keys[-2]
    return pairs * (queries[-1] + values[-1])
