"""Old module paths, which work until the next release and name the new ones."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# (old room, new room): modules, those with another name now as old>new.
_ROOMS = {
    ("", "safety"): "checkpoint_guard registered_names",
    ("datasets", "datasets"): "instance_label>label_field",
    ("datasets", "datasets.checks"): (
        "categories damaged guard label_maps left_out same_images"
    ),
    ("", ""): "evaluation>metrics",
    ("analysis", ""): "progress",
    ("analysis", "analysis"): "plain>json_values watch>during_training",
    ("analysis", "measure"): "measurements subject>measured_model",
    ("evaluation", "metrics"): (
        "bridge_accuracy constant_baseline retrieval vqa vqa_rules "
        "vqa_blind>constant_baseline"
    ),
    ("evaluation", "models"): "checkpoint_config initial_model",
    ("evaluation", "models.multimodal"): "answering",
    ("evaluation", "probe"): (
        "feature_key features linear_layers linear_probe "
        "probe_grid>grid probe_selection>selection probe_setup>setup"
    ),
    ("language", "models.multimodal"): "shared_vocabulary",
    ("models", "models.backbone"): (
        "backbone_options>options bridge_source enlarge_on_device feature_head "
        "language_backbone late_architecture masked_backbone patch_tokens "
        "standardize_neck trainable"
    ),
    ("models", "models.detection"): (
        "dropout_leak fused_attention fused_detr pre_norm_detr"
    ),
    ("models", "models.multimodal"): (
        "causal_lm chat_template conversation image_tiles>tiles llava "
        "llava_answers>llava_batch llava_batch llava_parts llava_settings projectors "
        "tile_preprocessor>tiles transfer"
    ),
    ("models", "models.objectives"): "bridge_classifier entropy_minimisation",
    ("optim", "optim"): "sharded_llava>sharded",
    ("report", "report"): (
        "answer_sheet>answers captioned_sheet>sheets contact_sheet>sheets"
    ),
    ("report", "safety"): "dumped_config",
    ("report", "runs"): (
        "gather>find reading>files records>measurement shapes logs>log starts>log"
    ),
    ("transplant", "transplant"): "outline>meta_model",
}


def _path(*parts: str) -> str:
    return ".".join(["lbbt_mm", *filter(None, parts)])


MOVED = {
    _path(old_room, old): _path(new_room, new or old)
    for (old_room, new_room), names in _ROOMS.items()
    for old, _, new in (name.partition(">") for name in names.split())
}
"""Old path of a module -> where it is now."""


def keep_old_names() -> None:
    """Let imports of :data:`MOVED` find the modules where they are now."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())


class _Moved(MetaPathFinder, Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: Any = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warnings.warn(
            f"{old} is {MOVED[old]} now; the old path works until the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[old] = importlib.import_module(MOVED[old])
