"""A language model's blocks, compiled."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.neighbours.mmengine import model_of
from lbbt_mm.registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the blocks of a :class:`lbbt_mm.LanguageBackbone` before training.

    For a GPU: norms, activations, dropout and residual sums of a block become a few
    kernels, which read and write memory less often. All blocks share one compilation
    (torch 2.5), which takes a minute at the first step; names of weights and
    checkpoints stay the same. A CPU trains slower with it. mmengine's own ``compile``
    compiles the step around the model instead.

    Args:
        enabled: ``False`` does nothing.
        **options: Of ``torch.compile``, such as ``mode`` or ``backend``.

    Raises:
        ValueError: The model has no such backbone.

    Example::

        custom_hooks = [dict(type="lbbt_mm.CompileHook")]
    """

    def __init__(self, enabled: bool = True, **options: Any) -> None:
        self.enabled = enabled
        self.options = {"fullgraph": True, "dynamic": False, **options}

    def before_train(self, runner: Runner) -> None:
        """Compile; nothing happens before the first step."""
        if not self.enabled:
            return
        backbones = [
            module
            for module in model_of(runner).modules()
            if isinstance(module, LanguageBackbone)
        ]
        if not backbones:
            raise ValueError(
                "CompileHook compiles the blocks of a LanguageBackbone, and the model "
                "has none: leave the hook out (compile_blocks=False)."
            )
        for backbone in backbones:
            for block in backbone.language.blocks:
                block.compile(**self.options)
