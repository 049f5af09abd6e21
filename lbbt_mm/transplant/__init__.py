"""Copying language blocks into the transformer layers of a vision model."""

from lbbt_mm.transplant.entries import Copy
from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.plan import CopyPlan, make_plan
from lbbt_mm.transplant.report import CopyReport
from lbbt_mm.transplant.targets import LayerTarget

__all__ = [
    "Copy",
    "CopyPlan",
    "CopyReport",
    "LayerTarget",
    "TransplantError",
    "make_plan",
]
