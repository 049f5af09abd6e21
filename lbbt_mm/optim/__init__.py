"""How a step and a validation compute: optimiser wrappers and loops."""

from lbbt_mm.optim.autocast import AutocastOptimWrapper
from lbbt_mm.optim.evaluation import AutocastTestLoop, AutocastValLoop

__all__ = ["AutocastOptimWrapper", "AutocastTestLoop", "AutocastValLoop"]
