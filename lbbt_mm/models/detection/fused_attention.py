"""mmcv's attention on torch's fused kernels, and without its shared dropout default."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
from torch import Tensor, nn

try:
    from torch import get_autocast_dtype
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError:  # before torch 2.4, which leaves the choice to torch
    sdpa_kernel = None  # type: ignore[assignment]

# Tokens up to which torch's plain attention trains faster in bfloat16 on a CPU than its
# fused one, forward and backward together: twice as fast with 64, slower with 196.
_FEW_TOKENS = 100


class FusedAttention(MultiheadAttention):
    """Drop-in for mmcv's ``MultiheadAttention``: same parameters, same outputs.

    Two things differ from mmcv's class.

    mmcv asks torch for the attention weights and throws them away, which keeps torch
    from its fused kernels; this class does not ask. (With dropout of the attention
    weights torch has a fused kernel on a GPU, none on a CPU. Few tokens in bfloat16 on
    a CPU are trained without: there the fused kernel is the slower one.)

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
        # A hook, so that everything else in mmcv's forward pass stays mmcv's.
        self.attn.register_forward_pre_hook(_without_weights, with_kwargs=True)

    def forward(
        self, query: Tensor, key: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Attend; see mmcv's class.

        Args:
            query: ``(B, T, C)``, or ``(T, B, C)`` without ``batch_first``.
            key: ``(B, S, C)`` or ``(S, B, C)``; by default the query.
            args: As for mmcv's class.
            kwargs: As for mmcv's class.

        Returns:
            As ``query``, with the identity added.

        Raises:
            TypeError: Something stands in the place of ``attn.out_proj``, as LoRA on it
                would: torch multiplies by its weight and never calls it.
        """
        attention = self.attn
        if isinstance(attention, nn.MultiheadAttention) and not isinstance(
            attention.out_proj, nn.Linear
        ):
            raise TypeError(
                f"torch's MultiheadAttention never calls its out_proj, so the "
                f"{type(attention.out_proj).__name__} there would have no effect; let "
                f"it take the place of the whole attention (target_modules=['attn'] in "
                f"peft)."
            )
        dim = 1 if self.batch_first else 0
        tokens = max(x.shape[dim] for x in (query, key) if x is not None)
        with _kernels(query.device.type, tokens):
            return super().forward(query, key, *args, **kwargs)


def _without_weights(
    attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**kwargs, "need_weights": False}


def _kernels(device: str, tokens: int) -> AbstractContextManager[Any]:
    """Keep torch from its fused kernel where that is the slower one."""
    if (
        sdpa_kernel is not None
        and device == "cpu"
        and tokens <= _FEW_TOKENS
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and get_autocast_dtype("cpu") == torch.bfloat16
    ):
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()
