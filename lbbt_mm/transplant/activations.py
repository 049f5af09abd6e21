"""Which function an activation is, whatever object carries it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

KNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}
"""Name in :class:`~lbbt_mm.language.config.LanguageConfig` -> the function."""


def name_of(activation: Callable[[Tensor], Tensor]) -> str | None:
    """Recognise an activation by what it computes.

    A class or a function has many names (``nn.GELU``, ``F.gelu``, mmcv's ``GELU``, a
    lambda), and one name hides two functions (GELU and its tanh form, 1e-4 apart in a
    block's output): only its values tell.

    Args:
        activation: A module or a function of one tensor.

    Returns:
        A key of :data:`KNOWN`; None if it is none of them.
    """
    points = torch.linspace(-4, 4, 65)
    try:
        # A copy of the points: some activations work in place.
        with torch.no_grad():
            values = activation(points.clone()).float().cpu()
    except Exception:  # whatever it is, it is not one of ours
        return None
    if values.shape != points.shape:
        return None
    for name, function in KNOWN.items():
        # GELU and its tanh form differ by 4e-4 on these points.
        if torch.allclose(values, function(points), rtol=0, atol=1e-5):
            return name
    return None
