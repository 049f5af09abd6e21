"""The model that a training starts from: one builder for every tool."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from mmengine.registry import HOOKS as RUN_HOOKS
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed
from torch import nn

from lbbt_mm.registry import HOOKS, find_type


def seed_of(cfg: Any) -> int:
    """Read the seed of a config's ``randomness``; 0 if it sets none."""
    return (cfg.get("randomness") or {}).get("seed") or 0


def build_model(cfg: Any, seed: int) -> nn.Module:
    """Build the model of a config as a runner does, without its weights.

    Args:
        cfg: With ``model``; not changed.
        seed: Of what is drawn while building.

    Returns:
        The model, on the CPU.

    Raises:
        ValueError: The config has no model.
    """
    if not cfg.get("model"):
        raise ValueError("Expected a config with a model, got none.")
    init_default_scope(cfg.get("default_scope") or "mmpretrain")
    model = copy.deepcopy(cfg.model)
    if cfg.get("data_preprocessor"):
        model.setdefault("data_preprocessor", copy.deepcopy(cfg.data_preprocessor))
    set_random_seed(seed)
    return MODELS.build(model)


def build_initial_model(cfg: Any, seed: int | None = None) -> nn.Module:
    """Build what a training with this config starts from.

    The model is initialised, with language weights or what ``init_cfg`` names, and
    then filled by the config's ``LanguageInitHook``, as on a runner.

    Args:
        cfg: A config; not changed.
        seed: Of everything that is drawn; the config's own by default.

    Returns:
        The model, on the CPU.

    Raises:
        ValueError: The config has no model, or ``load_from``: training starts from that
            file then, which is a checkpoint like any other.
        CheckpointError: A file cannot be read or does not fit.
        TransplantError: A hook's language model does not fit.
    """
    if cfg.get("load_from"):
        raise ValueError(
            f"The config has load_from={cfg.load_from!r}, from which its training "
            f"starts: give that file as the checkpoint, or see the model before it "
            f"with --cfg-options load_from=None."
        )
    model: Any = build_model(cfg, seed_of(cfg) if seed is None else seed)
    if hasattr(model, "init_weights"):  # as a runner asks
        model.init_weights()
    for hook in _copying_hooks(cfg):
        hook.copy_into(model)
    return model


def _copying_hooks(cfg: Any) -> Iterator[Any]:
    """Build the hooks that fill a model before it trains: those with `copy_into`."""
    for hook in cfg.get("custom_hooks") or ():
        if not hasattr(find_type(hook, HOOKS), "copy_into"):
            continue
        built = not hasattr(hook, "get")
        options = {} if built else {k: hook[k] for k in hook if k != "priority"}
        yield hook if built else RUN_HOOKS.build(options)
