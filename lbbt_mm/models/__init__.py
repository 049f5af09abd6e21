"""Modules that a config builds."""

from typing import Any

from lbbt_mm.language import flops
from lbbt_mm.models.enlarge_on_device import EnlargeOnDevice
from lbbt_mm.models.entropy_minimisation import EntropyMinimisation
from lbbt_mm.models.feature_head import FeatureHead
from lbbt_mm.models.language_backbone import LanguageBackbone
from lbbt_mm.models.lazy import LAZY, load
from lbbt_mm.models.llava import LLaVA
from lbbt_mm.models.masked_backbone import MaskedLanguageBackbone
from lbbt_mm.models.objectives import ContrastiveObjective, LabelObjective
from lbbt_mm.models.projectors import LangBridgeProjector, MLPProjector
from lbbt_mm.models.standardize_neck import StandardizeNeck
from lbbt_mm.models.tile_preprocessor import TilePreprocessor

__all__ = [
    "ContrastiveObjective",
    "EnlargeOnDevice",
    "EntropyMinimisation",
    "FeatureHead",
    "LLaVA",
    "LabelObjective",
    "LangBridgeProjector",
    "LanguageBackbone",
    "MLPProjector",
    "MaskedLanguageBackbone",
    "StandardizeNeck",
    "TilePreprocessor",
]


flops.register()


def __getattr__(name: str) -> Any:
    """Import a class that needs mmcv or mmdet when it is asked for."""
    if name in LAZY:
        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
