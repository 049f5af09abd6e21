"""``init_cfg=dict(type='Pretrained', ...)``: exactly, and without running its code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.model import PretrainedInit
from torch import nn

from lbbt_mm.language import CheckpointError
from lbbt_mm.language.storage import load_state_dict

InitCfg = Mapping[str, Any] | list[Mapping[str, Any]] | None


def split_pretrained(init_cfg: InitCfg) -> tuple[list[Mapping[str, Any]], InitCfg]:
    """Part an ``init_cfg`` into what loads a checkpoint and what draws numbers.

    Args:
        init_cfg: As mmengine takes it.

    Returns:
        The dicts of type ``Pretrained``, and an ``init_cfg`` of the others.
    """
    listed = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or ())
    kinds = ("Pretrained", PretrainedInit)
    pretrained = [cfg for cfg in listed if cfg.get("type") in kinds]
    others = [cfg for cfg in listed if cfg.get("type") not in kinds]
    return pretrained, others or None


def load_part(module: nn.Module, checkpoint: str, prefix: str | None = None) -> None:
    """Load a module from the checkpoint of a model that contains it.

    mmengine's own loader takes what fits, leaves the rest as it was drawn, and runs
    whatever code is in the file; this one does neither.

    Args:
        module: Gets the weights, in place.
        checkpoint: A file on this machine.
        prefix: What stands before the module's names, such as ``'backbone.'``; by
            default the checkpoint is of the module alone.

    Raises:
        CheckpointError: The file is missing or unreadable, or holds other tensors than
            the module.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"init_cfg: expected the checkpoint {checkpoint}, found no such file (from "
            f"{os.getcwd()}); train what writes it first (a bridge writes "
            f"work_dirs/NAME_OF_ITS_CONFIG/epoch_N.pth), or name another file: "
            f"--cfg-options model.backbone.init_cfg.checkpoint=FILE."
        )
    state = load_state_dict(path)
    state = {name.removeprefix("module."): value for name, value in state.items()}
    root = f"{prefix.rstrip('.')}." if prefix else ""
    wanted = {
        name[len(root) :]: value
        for name, value in state.items()
        if name.startswith(root)
    }
    if not wanted:
        found = ", ".join(list(state)[:3]) or "none"
        raise CheckpointError(
            f"Expected weights named {root}* in {checkpoint}, got {found}, ... Is it a "
            f"checkpoint of this config?"
        )
    try:
        module.load_state_dict(wanted)
    except RuntimeError as error:
        raise CheckpointError(
            f"The {type(module).__name__} in {checkpoint} is not the one in the "
            f"config: {error}"
        ) from error
