"""How a backbone runs one block: in windows, recomputed, left out for some images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from lbbt_mm.models.backbone.windows import Windows


def run_block(
    block: nn.Module,
    tokens: Tensor,
    causal: bool,
    relative: Any,
    last_only: bool = False,
    windows: Windows | None = None,
    with_cp: bool = False,
    drop_path_rate: float = 0.0,
) -> Tensor:
    """Run one block.

    Args:
        block: Of the language model.
        tokens: Residual stream, ``(B, T, C)``.
        causal: Whether a token sees only itself and what precedes it.
        relative: Positions that act inside the attention, over the whole map.
        last_only: Return the last token's output only; not together with windows.
        windows: Inside of which the block attends.
        with_cp: Recompute it in the backward pass.
        drop_path_rate: Probability of leaving it out for an image, in training.

    Returns:
        ``(B, T, C)``, or ``(B, 1, C)`` with ``last_only``.
    """
    inputs: tuple[Any, ...] = (tokens, causal, relative, last_only)
    if windows is not None:
        inputs = windows.inputs(tokens, causal)
    if with_cp and torch.is_grad_enabled():
        out = recompute(block, *inputs, use_reentrant=False)
    else:
        out = block(*inputs)
    if windows is not None:
        out = windows.join(out)
    if block.training and drop_path_rate > 0:
        stream = tokens[:, -1:] if last_only else tokens
        kept = torch.rand(len(out), 1, 1, device=out.device) >= drop_path_rate
        out = stream + (out - stream) * kept / (1 - drop_path_rate)
    return out
