"""Dropout and attention, by whichever computation is the fastest at equal numbers.

On a GPU that is torch's own. On a CPU torch draws dropout's masks one number at a time,
and its fused attention in bfloat16 loses to plain matrix products where tokens are few
(``benchmarks/attention.py`` measures where). Here is the one place that chooses.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Tokens up to which plain products in bfloat16 beat torch's fused kernel on a CPU,
# forward and backward together; of the forward pass alone that kernel is no slower.
_FEW_TOKENS = 512


def keep_mask(x: Tensor, p: float) -> tuple[Tensor, float]:
    """Draw which elements dropout keeps, four for each 64 random bits.

    The draw is from torch's global generator: seeded, saved and restored as dropout's.

    Args:
        x: On a CPU; gives the shape.
        p: Probability of dropping; at least 2**-16, less than one.

    Returns:
        Zeros and ones in the dtype of ``x``, and the factor that keeps the mean. ``p``
        is rounded to 1/65536, and the factor belongs to the rounded one.
    """
    dropped = min(round(p * 65536), 65535)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    lanes = bits.view(torch.int16)[: x.numel()].view(x.shape)
    # Comparisons, and conversions from what they return, are not vectorised.
    threshold = dropped - 32768
    lanes = lanes.clamp_(threshold - 1, threshold).sub_(threshold - 1)
    if x.dtype is torch.bfloat16:
        mask = lanes.mul_(0x3F80).view(torch.bfloat16)  # the bits of 1.0
    else:
        mask = lanes.to(x.dtype)
    return mask, 65536 / (65536 - dropped)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        mask, ctx.factor = keep_mask(x, p)
        ctx.save_for_backward(mask)
        return (x * mask).mul_(ctx.factor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (mask,) = ctx.saved_tensors
        return grads[0] * mask * ctx.factor, None


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Drop elements as ``torch.nn.functional.dropout``, on a CPU five times as fast.

    Args:
        x: Of any shape and floating dtype.
        p: Probability of dropping an element.
        training: Without, ``x`` is returned.

    Returns:
        As ``x``.
    """
    if not training or p == 0:
        return x
    if x.device.type != "cpu" or not 2**-16 <= p < 1 or _traced():
        return F.dropout(x, p, training)
    return _Dropout.apply(x, p)


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` by :func:`dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of ``x`` in training."""
        return dropout(x, self.p, self.training)


class _PlainAttention(torch.autograd.Function):
    """Softmax attention by plain products, which keeps its probabilities."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        p: float,
        scale: float,
    ) -> Tensor:
        shape = q.shape
        # A constant on all logits of a query changes no probability. Keys of language
        # models have a large mean, which would cost bfloat16 logits their digits.
        k = k - k.mean(2, keepdim=True)
        # The products want each head's tokens in one piece.
        q, k, v = (x.flatten(0, 1).contiguous() for x in (q, k, v))
        if bias is None:
            logits = torch.bmm(q, k.mT).mul_(scale)
        else:
            bias = bias.to(q.dtype).expand(*shape[:3], k.shape[1]).flatten(0, 1)
            logits = torch.baddbmm(bias, q, k.mT, alpha=scale)
        probabilities = logits.softmax(-1)
        keep, ctx.factor = keep_mask(logits, p) if p else (None, 1.0)
        kept = probabilities if keep is None else probabilities * keep
        ctx.save_for_backward(q, k, v, probabilities, kept, keep)
        ctx.scale, ctx.shape = scale, shape
        mixed = torch.bmm(kept, v)
        if keep is not None:
            mixed = mixed.mul_(ctx.factor)
        return mixed.unflatten(0, shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, probabilities, kept, keep = ctx.saved_tensors
        grad = grads[0].flatten(0, 1).contiguous()
        if keep is not None:
            grad = grad * ctx.factor
        grad_v = torch.bmm(kept.mT, grad)
        grad_p = torch.bmm(grad, v.mT)
        if keep is not None:
            grad_p.mul_(keep)
        # Of logits without their scale; it goes to the smaller side of the products.
        logits = torch._softmax_backward_data(grad_p, probabilities, -1, grad_p.dtype)
        grad_q = torch.bmm(logits, k).mul_(ctx.scale)
        grad_k = torch.bmm(logits.mT, q).mul_(ctx.scale)
        heads = ctx.shape[:2]
        found = (x.unflatten(0, heads) for x in (grad_q, grad_k, grad_v))
        return *found, None, None, None


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    p: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Attend as ``torch.nn.functional.scaled_dot_product_attention``.

    Args:
        q: Queries ``(B, H, T, D)``.
        k: Keys ``(B, H, S, D)``.
        v: Values ``(B, H, S, D)``.
        bias: Added to the logits, or true where a query may look; anything that
            expands to ``(B, H, T, S)``. Not together with ``causal``.
        p: Dropout of the probabilities.
        causal: Whether a token sees only itself and what precedes it; T is S then.
        scale: Factor of the logits; ``D ** -0.5`` by default.

    Returns:
        ``(B, H, T, D)``.
    """
    if not _plain_is_faster(q, k, bias, p):
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=p, is_causal=causal, scale=scale
        )
    if causal:
        bias = q.new_full((q.shape[2], k.shape[2]), -math.inf).triu(1)
    elif bias is not None and bias.dtype is torch.bool:
        bias = torch.zeros_like(bias, dtype=q.dtype).masked_fill_(~bias, -math.inf)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return _PlainAttention.apply(q, k, v, bias, p, scale)


def _plain_is_faster(q: Tensor, k: Tensor, bias: Tensor | None, p: float) -> bool:
    if (
        _traced()  # first: torch.compile cannot trace what torch's flags say
        or q.device.type != "cpu"
        or not (p == 0 or 2**-16 <= p < 1)
        or (bias is not None and bias.requires_grad)
        # Who switches torch's fused kernel off wants derivatives of derivatives.
        or not torch.backends.cuda.flash_sdp_enabled()
        or not torch.is_grad_enabled()
    ):
        return False
    if p:  # torch has no fused kernel on a CPU, and draws slowly
        return True
    return q.dtype is torch.bfloat16 and max(q.shape[2], k.shape[2]) <= _FEW_TOKENS


def is_compiling() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` traces; torch tells from 2.3 on."""
    return getattr(torch.compiler, "is_compiling", bool)()


def is_recorded() -> bool:
    """Whether a program is recorded that shall take other lengths and sizes, too.

    Python would choose once, for the size of the example, and nothing would tell.
    Whatever depends on a size is computed by tensors then.
    """
    exporting = getattr(torch.compiler, "is_exporting", bool)  # torch 2.1 has none
    return torch.jit.is_tracing() or exporting()


def _traced() -> bool:
    """Whether something records the operations instead of running them."""
    return torch.jit.is_tracing() or is_compiling()
