"""Heads that share keys and values, for layers in which every head has its own."""

from __future__ import annotations

import dataclasses

import torch

from lbbt_mm.language import BlockWeights, Checkpoint


class Ungrouped(Checkpoint):
    """A language model with its shared keys and values written out: the same function.

    Args:
        checkpoint: One with fewer heads for keys and values than for queries.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        vars(self).update(vars(checkpoint))
        self._grouped = checkpoint
        heads = checkpoint.config.num_heads
        self.config = dataclasses.replace(checkpoint.config, num_kv_heads=heads)

    def block(self, index: int) -> BlockWeights:
        """Read one block; see :meth:`lbbt_mm.language.Checkpoint.block`."""
        block = self._grouped.block(index)
        grouped = block.config
        copies = grouped.num_heads // grouped.num_kv_heads
        tensors = dict(block)
        for name in ("qkv.weight", "qkv.bias"):
            if name in tensors:
                queries, *shared = tensors[name].split(grouped.qkv_rows)
                own = [
                    part.unflatten(0, (-1, grouped.head_dim))
                    .repeat_interleave(copies, 0)
                    .flatten(0, 1)
                    for part in shared
                ]
                tensors[name] = torch.cat((queries, *own))
        return BlockWeights(self.config, tensors, f"{self.source}, block {index}")
