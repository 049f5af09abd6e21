"""What a language model is made of, and where its weights come from.

Knows no vision and no OpenMMLab model; it could be lifted out and used alone.
"""

from lbbt_mm.language.block import BlockWeights, block_shapes
from lbbt_mm.language.checkpoint import Checkpoint, language_config, open_checkpoint
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.model import LanguageModel
from lbbt_mm.language.presets import preset_names

__all__ = [
    "BlockWeights",
    "Checkpoint",
    "CheckpointError",
    "LanguageConfig",
    "LanguageModel",
    "block_shapes",
    "language_config",
    "open_checkpoint",
    "preset_names",
]
