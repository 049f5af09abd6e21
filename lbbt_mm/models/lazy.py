"""Names that a config may use without every user having to install their library.

mmengine imports :mod:`lbbt_mm.models` for any ``type='lbbt_mm.X'`` and turns an
ImportError there into "X is not in the registry". So what derives from a class of mmcv,
mmdet or mmpretrain is registered as a function that imports it when it is built.
"""

from __future__ import annotations

import importlib
from typing import Any

from lbbt_mm.registry import MODELS
from lbbt_mm.version import require

# class -> (what has to be installed, where it is defined)
LAZY = {
    "BridgeClassifier": (
        "mmpretrain",
        "lbbt_mm.models.objectives.bridge_classifier",
    ),
    "ClsDataPreprocessor": ("mmpretrain", "lbbt_mm.models.cls_data_preprocessor"),
    "FusedAttention": ("mmcv", "lbbt_mm.models.detection.fused_attention"),
    "FusedDETR": ("mmdet", "lbbt_mm.models.detection.fused_detr"),
    "LabelSmoothLoss": ("mmpretrain", "lbbt_mm.models.objectives.label_smooth_loss"),
    "PreNormDETR": ("mmdet", "lbbt_mm.models.detection.pre_norm_detr"),
    "SegmenterHead": ("mmseg", "lbbt_mm.models.segmenter_head"),
}


def load(name: str) -> type:
    """Import one of the classes of :data:`LAZY`.

    Args:
        name: Name of the class.

    Returns:
        The class.

    Raises:
        ImportError: Its library is missing or does not import; says how to get it.
    """
    library, module = LAZY[name]
    require(library, f"lbbt_mm.{name}")
    return getattr(importlib.import_module(module), name)


def _register(name: str) -> None:
    def build(*args: Any, **kwargs: Any) -> Any:
        return load(name)(*args, **kwargs)

    build.__name__ = name
    build.load = lambda: load(name)  # type: ignore[attr-defined]
    MODELS.register_module(name=name, module=build)


for _name in LAZY:
    _register(_name)
