"""DETR whose layers compute in the order of a pre-norm language model's blocks."""

from __future__ import annotations

from typing import Any

from mmcv.cnn import build_norm_layer
from torch import Tensor

from lbbt_mm.models.detection.fused_detr import (
    FusedDecoder,
    FusedDecoderLayer,
    FusedDETR,
    FusedEncoder,
    FusedEncoderLayer,
)


class PreNormEncoderLayer(FusedEncoderLayer):
    """``x + attention(norm(x))``, then ``x + ffn(norm(x))``: a GPT-2 block.

    Parameters are named as in mmdet's layer. ``norms.0`` stands before the attention,
    ``norms.1`` before the FFN.
    """

    norm_first = True

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        key_padding_mask: Tensor | None,
        **kwargs: Any,
    ) -> Tensor:
        """Compute the layer.

        Args:
            query: Residual stream ``(B, T, C)``.
            query_pos: Positional encoding ``(B, T, C)``, added to the normalised
                queries and keys; values and stream do without it.
            key_padding_mask: ``(B, T)``, true where a token is padding, or ``None``.
            kwargs: For the attention, as in mmdet.

        Returns:
            ``(B, T, C)``.
        """
        normed = self.norms[0](query)
        query = self.self_attn(
            query=normed,
            key=normed,
            value=normed,
            identity=query,
            query_pos=query_pos,
            key_pos=query_pos,
            key_padding_mask=key_padding_mask,
            **kwargs,
        )
        return self.ffn(self.norms[1](query), identity=query)


class PreNormDecoderLayer(FusedDecoderLayer):
    """Self-attention, cross-attention and FFN, each behind its norm.

    Parameters are named as in mmdet's layer. ``norms.0`` stands before the
    self-attention, ``norms.1`` before the cross-attention, ``norms.2`` before the FFN:
    a GPT-2 block with ``add_cross_attention``.
    """

    norm_first = True

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_pos: Tensor | None = None,
        self_attn_mask: Tensor | None = None,
        cross_attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Compute the layer.

        Args:
            query: Residual stream of the object queries ``(B, Q, C)``.
            key: The encoder's output ``(B, T, C)``.
            value: The same, ``(B, T, C)``.
            query_pos: Learned query positions ``(B, Q, C)``, added to the normalised
                queries of both attentions and to the keys of the first.
            key_pos: Positional encoding of the image ``(B, T, C)``, added to ``key``.
            self_attn_mask: ``(Q, Q)``, as in ``torch.nn.MultiheadAttention``.
            cross_attn_mask: ``(Q, T)``, likewise.
            key_padding_mask: ``(B, T)``, true where a token is padding, or ``None``.
            kwargs: For both attentions, as in mmdet.

        Returns:
            ``(B, Q, C)``.
        """
        normed = self.norms[0](query)
        query = self.self_attn(
            query=normed,
            key=normed,
            value=normed,
            identity=query,
            query_pos=query_pos,
            key_pos=query_pos,
            attn_mask=self_attn_mask,
            **kwargs,
        )
        query = self.cross_attn(
            query=self.norms[1](query),
            key=key,
            value=value,
            identity=query,
            query_pos=query_pos,
            key_pos=key_pos,
            attn_mask=cross_attn_mask,
            key_padding_mask=key_padding_mask,
            **kwargs,
        )
        return self.ffn(self.norms[2](query), identity=query)


class PreNormEncoder(FusedEncoder):
    """Pre-norm layers and a norm after the last, for what leaves the residual stream.

    Args:
        args: As for mmdet's ``DetrTransformerEncoder``.
        post_norm_cfg: Config of the final norm, ``post_norm``; by default that of the
            layers' norms.
        kwargs: As for mmdet's ``DetrTransformerEncoder``.
    """

    layer_type = PreNormEncoderLayer

    def __init__(
        self, *args: Any, post_norm_cfg: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if post_norm_cfg is None:
            post_norm_cfg = self.layers[0].norm_cfg
        self.post_norm = build_norm_layer(post_norm_cfg, self.embed_dims)[1]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the layers and the final norm; see :meth:`FusedEncoder.forward`."""
        return self.post_norm(super().forward(*args, **kwargs))


class PreNormDecoder(FusedDecoder):
    """Pre-norm layers; mmdet's decoder has the final norm already, ``post_norm``."""

    layer_type = PreNormDecoderLayer


class PreNormDETR(FusedDETR):
    """Drop-in for ``mmdet.DETR`` with the block order of a pre-norm language model.

    It takes the config of ``mmdet.DETR`` (``encoder`` also takes ``post_norm_cfg``) and
    names its parameters alike, with one more module: ``encoder.post_norm``, where a
    language model's final norm belongs. What differs from mmdet's model:

    - norms stand before attention and FFN instead of after the addition, so the
      residual stream passes from the first block to the last untouched;
    - the encoder's output is normalised once, by ``encoder.post_norm``;
    - positions are added to the *normalised* queries and keys;
    - attention runs on torch's fused kernels.

    DETR's object queries start as zeros, so in the first decoder layer ``norms.0`` has
    nothing to scale: its weight gets a zero gradient, its bias trains.

    Everything else is mmdet's, the initialisation included. For a faithful copy of
    GPT-2 set the layers' ``norm_cfg=dict(type='LN', eps=1e-5)`` and
    ``ffn_cfg.act_cfg=dict(type='GELU', approximate='tanh')``: with the positional
    encoding at zero and no dropout, the encoder then computes what the language model's
    blocks compute without their causal mask.

    Example:
        >>> _base_ = "mmdet::detr/detr_r50_8xb2-150e_coco.py"
        >>> model = dict(type="lbbt_mm.PreNormDETR")  # and the widths: docs/plug_in.md
    """

    encoder_type = PreNormEncoder
    decoder_type = PreNormDecoder
