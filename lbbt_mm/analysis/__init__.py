"""What a bridge did to a model: models and tensors in, numbers out."""

from lbbt_mm.analysis.activation import BlockActivation, activation_ratio
from lbbt_mm.analysis.alignment import (
    Alignment,
    AlignmentNumbers,
    Covariance,
    measure_alignment,
    patch_covariance,
    weight_covariance,
)
from lbbt_mm.analysis.outliers import (
    WeightReport,
    WeightStatistics,
    weight_statistics,
)
from lbbt_mm.analysis.synthetic_alignment import SyntheticCheck, synthetic_check
from lbbt_mm.analysis.weight_names import block_path, weight_kind

__all__ = [
    "Alignment",
    "AlignmentNumbers",
    "BlockActivation",
    "Covariance",
    "SyntheticCheck",
    "WeightReport",
    "WeightStatistics",
    "activation_ratio",
    "measure_alignment",
    "block_path",
    "patch_covariance",
    "synthetic_check",
    "weight_covariance",
    "weight_kind",
    "weight_statistics",
]
