"""Which precision a device multiplies matrices fastest in."""

from __future__ import annotations

import functools
import time

import torch
from mmengine.dist import broadcast_object_list
from mmengine.logging import MMLogger
from torch import nn

DTYPES = ("auto", "bfloat16", "float32")
_ON_CPU = (torch.float32, torch.bfloat16)
_CLEARLY = 1.2  # casts take some of what products gain


def check_dtype(dtype: str, who: str, instead: str) -> None:
    """Refuse what is none of ours.

    Args:
        dtype: Name of the precision.
        who: Whose option it is.
        instead: What to take for float16.

    Raises:
        ValueError: It is neither ``'auto'`` nor ``'bfloat16'`` nor ``'float32'``.
    """
    if dtype not in DTYPES:
        advice = f" float16 needs {instead}." if dtype == "float16" else ""
        raise ValueError(
            f"{who} expects dtype to be one of {', '.join(DTYPES)}, got {dtype!r}."
            f"{advice}"
        )


def resolve_dtype(
    dtype: str, device: torch.device, model: nn.Module | None = None
) -> torch.dtype:
    """Return the precision of products on a device.

    ``'auto'`` is bfloat16 on a GPU that has it and on a CPU where a product takes
    clearly less time in it, measured once: with AVX-512 one has five times the rate of
    float32, another half of it. Where FSDP gathers weights in a precision of its own,
    it is that one.

    Args:
        dtype: ``'auto'``, ``'bfloat16'`` or ``'float32'``.
        device: Where the model is.
        model: It, in its wrapper, if that may be FSDP's.

    Raises:
        RuntimeError: ``'bfloat16'`` on a GPU without.

    Example:
        >>> resolve_dtype("float32", torch.device("cpu"))
        torch.float32
    """
    if dtype == "auto":
        sharded = getattr(model, "mixed_precision", None)
        return getattr(sharded, "param_dtype", None) or _fastest(device.type)
    no_bfloat16 = device.type == "cuda" and not torch.cuda.is_bf16_supported()
    if dtype == "bfloat16" and no_bfloat16:
        raise RuntimeError(
            f"{torch.cuda.get_device_name(device)} has no bfloat16. Set "
            "optim_wrapper.dtype=float32, or use mmengine's AmpOptimWrapper."
        )
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[dtype]


@functools.lru_cache
def _fastest(kind: str) -> torch.dtype:
    if kind == "cpu":
        rates = {dtype: _products_rate(dtype) for dtype in _ON_CPU}
        low = rates[torch.bfloat16] > _CLEARLY * rates[torch.float32]
        numbers = [f"{rate / 1e9:.0f} G/s in {name}" for name, rate in rates.items()]
        why = f"operations of matrix products: {', '.join(numbers)}"
    elif kind == "cuda":
        low = torch.cuda.is_bf16_supported(including_emulation=False)
        why = f"this GPU has {'' if low else 'no '}units for bfloat16"
    else:
        low, why = False, f"not decided for devices of type {kind}"
    together = [low]  # on processes that would measure otherwise, too
    broadcast_object_list(together)
    chosen = torch.bfloat16 if together[0] else torch.float32
    MMLogger.get_current_instance().info(f"dtype='auto': {chosen} ({why}).")
    return chosen


def _products_rate(dtype: torch.dtype) -> float:
    """Operations a second of one linear layer's product, at best."""
    square = torch.ones(512, 512, dtype=dtype)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        nn.functional.linear(square, square)
        seconds.append(time.perf_counter() - start)
    return 2 * 512**3 / min(seconds[1:])
