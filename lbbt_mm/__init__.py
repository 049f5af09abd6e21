"""Language Bias Bridge Training (arXiv 2604.01833) for the OpenMMLab libraries.

A config needs no import by hand: ``type='lbbt_mm.X'`` makes mmengine import
:mod:`lbbt_mm.registry` and the room that defines ``X``. In Python every public class is
here, imported when it is first asked for:

    >>> import lbbt_mm
    >>> backbone = lbbt_mm.LanguageBackbone("gpt2", pretrained=False, num_layers=2)

From the import on mmengine runs no code out of checkpoints:
:mod:`lbbt_mm.safety.checkpoint_guard`.
"""

import importlib
import sys
from typing import Any

from lbbt_mm.moved import keep_old_names
from lbbt_mm.safety.checkpoint_guard import guard_checkpoints
from lbbt_mm.version import __version__, require

try:
    require("mmengine", "lbbt_mm")
except ImportError as error:
    if sys.argv[:1] != ["-m"]:
        raise
    # `python -m lbbt_mm.X`: somebody waits for a sentence, not for a traceback.
    print(
        f"{error}. Or activate the environment that has it: source .venv/bin/activate",
        file=sys.stderr,
    )
    raise SystemExit(2) from None
guard_checkpoints()
keep_old_names()

_ROOMS = {
    "datasets": (
        "ConversationDataset",
        "CorruptImage",
        "FewLabelDataset",
        "FewTrueLabelsDataset",
        "IdxDataset",
        "ImageTiles",
        "InstanceLabelDataset",
        "MNIST5k",
        "PackConversation",
        "RandomAreaCrop",
        "RandomLabelDataset",
        "RotationDataset",
        "SkipDamagedImages",
        "TinyImageNet",
        "VQADataset",
        "collate_views",
    ),
    "hooks": (
        "AtomicCheckpointHook",
        "BridgeMonitorHook",
        "CheckDataHook",
        "CompileHook",
        "ConfigNamesHook",
        "CostHook",
        "DeferredLogHook",
        "FolderLockHook",
        "FreezeBlocksHook",
        "LanguageInitHook",
        "RandomStateHook",
        "TensorFloatHook",
        "TerminationHook",
        "ThroughputHook",
    ),
    "language": (
        "LanguageConfig",
        "LanguageModel",
        "language_config",
        "open_checkpoint",
    ),
    "metrics": (
        "BridgeAccuracy",
        "MMVetSubmission",
        "RetrievalMetric",
        "ScienceQAMetric",
        "VQAMetric",
    ),
    "models": (
        "BridgeClassifier",
        "ClsDataPreprocessor",
        "ContrastiveObjective",
        "DETRLike",
        "DropPosObjective",
        "EnlargeOnDevice",
        "EntropyMinimisation",
        "EntropyObjective",
        "FeatureHead",
        "FusedAttention",
        "FusedDETR",
        "ImageTransform",
        "LLaVA",
        "LabelObjective",
        "LabelSmoothLoss",
        "LangBridgeProjector",
        "LanguageBackbone",
        "MLPProjector",
        "MaskedLanguageBackbone",
        "PreNormDETR",
        "SegmenterHead",
        "SimpleFeaturePyramid",
        "StandardizeNeck",
        "TeacherObjective",
        "TilePreprocessor",
        "load_backbone",
    ),
    "optim": ("AutocastOptimWrapper", "AutocastTestLoop", "AutocastValLoop"),
    "optim.sharded": ("ShardedStrategy",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *_ROOM_OF]


def __getattr__(name: str) -> Any:
    """Import a public class from its room."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
