"""mmcv's attention on torch's fused kernels, and without its shared dropout default."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import MultiheadAttention
from torch import Tensor, nn

from lbbt_mm.language.kernels import attention


class FusedAttention(MultiheadAttention):
    """Drop-in for mmcv's ``MultiheadAttention``: same parameters, same outputs.

    Two things differ from mmcv's class.

    mmcv asks torch for the attention weights and throws them away, which keeps torch
    from its fused kernels; this class does not ask, and computes as
    :func:`lbbt_mm.language.kernels.attention` does.

    mmcv's ``dropout_layer`` has a default that all attentions of the process share, and
    ``dropout=0.1``, as in mmdet's DETR, writes into it: every attention built later
    without a ``dropout_layer`` of its own then drops too, in whatever model. This class
    neither writes into that default nor reads it. For the other direction, stock
    modules that are built after a stock DETR, see
    :mod:`lbbt_mm.models.detection.dropout_leak`.

    Args:
        embed_dims: Channels.
        num_heads: Heads.
        attn_drop: Dropout of the attention weights.
        proj_drop: Dropout of the output.
        dropout_layer: Config of a further dropout of the output, before the identity is
            added; none by default.
        init_cfg: mmengine's initialisation.
        batch_first: Whether inputs are ``(B, T, C)`` rather than ``(T, B, C)``.
        dropout: mmdet's short form: replaces ``attn_drop`` and the probability of
            ``dropout_layer``.
        kwargs: For ``torch.nn.MultiheadAttention``.

    Example:
        >>> attn = dict(type="lbbt_mm.FusedAttention", embed_dims=768, num_heads=12)
        >>> attention = FusedAttention(768, 12, batch_first=True)
        >>> attention(torch.rand(2, 50, 768)).shape
        torch.Size([2, 50, 768])
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        dropout_layer: Mapping[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
        batch_first: bool = False,
        dropout: float | None = None,
        **kwargs: Any,
    ) -> None:
        if dropout is not None:
            attn_drop = dropout
            dropout_layer = {
                **(dropout_layer or dict(type="Dropout")),
                "drop_prob": dropout,
            }
        super().__init__(
            embed_dims,
            num_heads,
            attn_drop=attn_drop,
            proj_drop=proj_drop,
            dropout_layer=dropout_layer,
            init_cfg=init_cfg,
            batch_first=batch_first,
            **kwargs,
        )
        # Of another class and otherwise the same: parameters, their draws and their
        # names stay torch's, and everything around it mmcv's.
        self.attn.__class__ = _Attention


class _Attention(nn.MultiheadAttention):
    """torch's module, whose output projection is called and whose tokens stay in order.

    torch multiplies by ``out_proj.weight`` and never calls the module, so that LoRA or
    a hook there would have no effect. And it multiplies tokens that were transposed,
    for which a CPU in bfloat16 copies the weight once a token where no gradients are
    wanted.
    """

    def forward(  # type: ignore[override]  # the others are in kwargs
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        need_weights: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: ``(T, B, C)``, or ``(B, T, C)`` with ``batch_first``.
            key: ``(S, B, C)`` or ``(B, S, C)``.
            value: As ``key``.
            key_padding_mask: ``(B, S)``, true where a key is padding, or added to the
                logits.
            attn_mask: ``(T, S)`` or ``(B * H, T, S)``, true where a query may not look,
                or added to the logits.
            need_weights: Not used: weights are never returned.
            kwargs: As for torch's module, for its unusual kinds.

        Returns:
            As ``query``, and ``None``.
        """
        plain = self._qkv_same_embed_dim and self.bias_k is None
        if not plain or self.add_zero_attn or kwargs.get("is_causal"):
            return super().forward(
                query,
                key,
                value,
                key_padding_mask=key_padding_mask,
                attn_mask=attn_mask,
                need_weights=False,
                **kwargs,
            )
        inputs = [query, key, value]
        if not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]
        biases = (
            (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        )
        heads = (
            F.linear(x.contiguous(), weight, bias)
            .unflatten(-1, (self.num_heads, -1))
            .transpose(1, 2)
            for x, weight, bias in zip(
                inputs, self.in_proj_weight.chunk(3), biases, strict=True
            )
        )
        q_BHTD, k_BHSD, v_BHSD = heads
        mixed = attention(
            q_BHTD,
            k_BHSD,
            v_BHSD,
            bias=self._where_to_look(q_BHTD, key_padding_mask, attn_mask),
            p=self.dropout if self.training else 0.0,
        )
        out = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return (out if self.batch_first else out.transpose(0, 1)), None

    def _where_to_look(
        self, q_BHTD: Tensor, padding: Tensor | None, mask: Tensor | None
    ) -> Tensor | None:
        """Join both masks into one for ``attention``: true where a query may look."""
        found = []
        if padding is not None:
            found.append(padding[:, None, None])
        if mask is not None:
            if mask.ndim == 3:
                mask = mask.unflatten(0, (-1, self.num_heads))
            found.append(mask)
        if not found:
            return None
        if all(one.dtype is torch.bool for one in found):
            return ~functools.reduce(torch.logical_or, found)
        nothing = q_BHTD.new_zeros(())
        return functools.reduce(
            torch.add,
            (
                nothing.masked_fill(one, -math.inf)
                if one.dtype is torch.bool
                else one.to(nothing.dtype)
                for one in found
            ),
        )
