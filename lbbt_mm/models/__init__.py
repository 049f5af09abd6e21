"""Modules that a config builds."""

from typing import Any

from lbbt_mm.language import flops
from lbbt_mm.models.backbone.enlarge_on_device import EnlargeOnDevice
from lbbt_mm.models.backbone.feature_head import FeatureHead
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.models.backbone.masked_backbone import MaskedLanguageBackbone
from lbbt_mm.models.backbone.simple_pyramid import SimpleFeaturePyramid
from lbbt_mm.models.backbone.standardize_neck import StandardizeNeck
from lbbt_mm.models.detection.detr_like import DETRLike
from lbbt_mm.models.lazy import LAZY, load
from lbbt_mm.models.multimodal.llava import LLaVA
from lbbt_mm.models.multimodal.projectors import LangBridgeProjector, MLPProjector
from lbbt_mm.models.multimodal.tiles import TilePreprocessor
from lbbt_mm.models.norms import count_all_norms
from lbbt_mm.models.objectives.drop_positions import DropPosObjective
from lbbt_mm.models.objectives.entropy_minimisation import EntropyMinimisation
from lbbt_mm.models.objectives.entropy_objective import EntropyObjective
from lbbt_mm.models.objectives.objectives import (
    ContrastiveObjective,
    LabelObjective,
)
from lbbt_mm.models.objectives.teacher import TeacherObjective
from lbbt_mm.models.trained_backbone import ImageTransform, load_backbone

__all__ = [
    "ContrastiveObjective",
    "DETRLike",
    "DropPosObjective",
    "EnlargeOnDevice",
    "EntropyMinimisation",
    "EntropyObjective",
    "FeatureHead",
    "ImageTransform",
    "LLaVA",
    "LabelObjective",
    "LangBridgeProjector",
    "LanguageBackbone",
    "MLPProjector",
    "MaskedLanguageBackbone",
    "SimpleFeaturePyramid",
    "StandardizeNeck",
    "TeacherObjective",
    "TilePreprocessor",
    "load_backbone",
]


flops.register()
count_all_norms()


def __getattr__(name: str) -> Any:
    """Import a class that needs mmcv or mmdet when it is asked for."""
    if name in LAZY:
        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
