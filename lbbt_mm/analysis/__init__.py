"""What a bridge did to a model: models and tensors in, numbers out."""

from lbbt_mm.analysis.activation import BlockActivation, activation_ratio
from lbbt_mm.analysis.outliers import (
    WeightReport,
    WeightStatistics,
    weight_statistics,
)
from lbbt_mm.analysis.weight_names import block_path, weight_kind

__all__ = [
    "BlockActivation",
    "WeightReport",
    "WeightStatistics",
    "activation_ratio",
    "block_path",
    "weight_kind",
    "weight_statistics",
]
