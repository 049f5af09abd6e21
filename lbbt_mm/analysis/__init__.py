"""What a bridge did to a model: models and tensors in, numbers out."""

from lbbt_mm.analysis.activation import BlockActivation, activation_ratio
from lbbt_mm.analysis.alignment import (
    Alignment,
    Covariance,
    measure_alignment,
    patch_covariance,
    weight_covariance,
)
from lbbt_mm.analysis.curvature import (
    extreme_eigenvalues,
    hessian_trace,
    spectral_density,
)
from lbbt_mm.analysis.json_values import to_plain
from lbbt_mm.analysis.landscape import Landscape, loss_landscape
from lbbt_mm.analysis.language_weights import language_model_weights
from lbbt_mm.analysis.outliers import WeightReport, WeightStatistics, weight_statistics
from lbbt_mm.analysis.perplexity import text_loss
from lbbt_mm.analysis.scalar_loss import Estimate, ScalarLoss, image_error
from lbbt_mm.analysis.sensitivity import (
    gradient_predictiveness,
    noise_sensitivity,
    parameter_sensitivity,
)
from lbbt_mm.analysis.separability import Separability, measure_separability
from lbbt_mm.analysis.spectrum import (
    density_curve,
    eigenvalue_numbers,
    spectral_gap,
    summarise,
)
from lbbt_mm.analysis.synthetic_alignment import synthetic_check
from lbbt_mm.analysis.weight_names import block_path, weight_kind
from lbbt_mm.analysis.word_subspace import Energy, energy_within, word_directions

__all__ = [
    "Alignment",
    "BlockActivation",
    "Covariance",
    "Energy",
    "Estimate",
    "Landscape",
    "ScalarLoss",
    "Separability",
    "WeightReport",
    "WeightStatistics",
    "activation_ratio",
    "block_path",
    "density_curve",
    "eigenvalue_numbers",
    "energy_within",
    "extreme_eigenvalues",
    "gradient_predictiveness",
    "hessian_trace",
    "image_error",
    "language_model_weights",
    "loss_landscape",
    "measure_alignment",
    "measure_separability",
    "noise_sensitivity",
    "parameter_sensitivity",
    "patch_covariance",
    "spectral_density",
    "spectral_gap",
    "summarise",
    "synthetic_check",
    "text_loss",
    "to_plain",
    "weight_covariance",
    "weight_kind",
    "weight_statistics",
    "word_directions",
]
