"""Segmenter's mask transformer with registers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads import SegmenterMaskTransformerHead
from torch import Tensor

from lbbt_mm.models.registers import checked_registers, new_registers, with_registers


class SegmenterHead(SegmenterMaskTransformerHead):
    """mmseg's ``SegmenterMaskTransformerHead`` whose tokens have registers to look at.

    A language model's attention gathers on its first token; patches and class queries
    have none, unless a register stands in front of them.

    Args:
        args: As for mmseg's head.
        registers: How many; without any it is mmseg's head.
        kwargs: As for mmseg's head.

    Raises:
        ValueError: ``registers`` is no number of tokens.

    Example:
        >>> decode_head = dict(type="lbbt_mm.SegmenterHead", registers=1)
    """

    def __init__(self, *args: Any, registers: int = 1, **kwargs: Any) -> None:
        count = checked_registers(registers)
        super().__init__(*args, **kwargs)
        self.registers = new_registers(count, self.dec_proj.out_features)

    def forward(self, inputs: Any) -> Tensor:
        """Predict masks.

        Args:
            inputs: Stages of the backbone, ``(B, C, rows, columns)`` each.

        Returns:
            ``(B, classes, rows, columns)``.
        """
        features = self._transform_inputs(inputs)
        grid = features.shape[-2:]
        tokens = self.dec_proj(features.flatten(2).transpose(1, 2).contiguous())
        tokens = torch.cat((tokens, self.cls_emb.expand(len(tokens), -1, -1)), 1)
        if self.registers is not None:
            tokens = with_registers(self.registers, tokens)
        for layer in self.layers:
            tokens = layer(tokens)
        if self.registers is not None:
            tokens = tokens[:, len(self.registers) :]
        tokens = self.decoder_norm(tokens)
        patches = self.patch_proj(tokens[:, : -self.num_classes])
        classes = self.classes_proj(tokens[:, -self.num_classes :])
        patches = F.normalize(patches, dim=2, p=2)
        classes = F.normalize(classes, dim=2, p=2)
        masks = self.mask_norm(patches @ classes.transpose(1, 2))
        return masks.transpose(1, 2).unflatten(2, grid).contiguous()
