"""Optimiser wrappers that mmengine does not have."""

from lbbt_mm.optim.autocast import AutocastOptimWrapper

__all__ = ["AutocastOptimWrapper"]
