"""What a bridge is trained for: labels, contrast, or sure predictions."""

from lbbt_mm.models.objectives.objectives import (
    ContrastiveObjective,
    LabelObjective,
)

__all__ = ["ContrastiveObjective", "LabelObjective"]
