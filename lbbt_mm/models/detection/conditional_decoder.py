"""Conditional DETR's decoder for any width."""

from __future__ import annotations

import torch
from mmdet.models.layers.transformer.conditional_detr_layers import (
    ConditionalDetrTransformerDecoder,
)
from mmdet.models.layers.transformer.utils import coordinate_to_encoding
from torch import Tensor


class AnyWidthDecoder(ConditionalDetrTransformerDecoder):
    """mmdet's decoder, whose sines of reference points are as wide as its layers.

    mmdet's own are 256 wide, whatever the config says. Parameters and, at that width,
    outputs are the same.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_pos: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            query: ``(B, N, C)``.
            key: Memory of the encoder, ``(B, T, C)``.
            query_pos: Positions of the queries, ``(B, N, C)``.
            key_pos: Positions of the memory, ``(B, T, C)``.
            key_padding_mask: True where an image has no token, ``(B, T)``.

        Returns:
            States after each layer, ``(layers, B, N, C)``, or after the last alone
            without ``return_intermediate``; reference points ``(B, N, 2)``.
        """
        reference = self.ref_point_head(query_pos).sigmoid()
        sines = coordinate_to_encoding(reference, num_feats=self.embed_dims // 2)
        states = []
        for number, layer in enumerate(self.layers):
            query = layer(
                query,
                key=key,
                query_pos=query_pos,
                key_pos=key_pos,
                key_padding_mask=key_padding_mask,
                ref_sine_embed=sines * self.query_scale(query) if number else sines,
                is_first=number == 0,
            )
            states.append(self.post_norm(query))
        kept = states if self.return_intermediate else states[-1:]
        return torch.stack(kept), reference
