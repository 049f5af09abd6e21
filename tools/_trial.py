"""A short trial of any config: --images, --epochs, --iterations, --blocks.

They become settings of the config by dotted key, as --cfg-options gives them, so that
schedulers follow and the run's own config says what was run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from _launch import fail
from mmengine.registry import DATASETS, HOOKS

from lbbt_mm.models.checkpoint_config import LANGUAGE_BACKBONES
from lbbt_mm.registry import MODELS, names_of

#: Data sets that list their images class by class: the first ones would be one class.
_SORTED = {"CustomDataset", "TinyImageNet", "CUB", "Caltech101", "Flowers102", "SUN397"}
_SORTED |= {"Food101", "StanfordCars", "OxfordIIITPet", "DTD", "FGVCAircraft"}
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def trial_options(cfg: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Turn the options of a trial into settings of a config.

    Args:
        cfg: The config as it is without them.
        args: The command line, with ``images``, ``epochs``, ``iterations``, ``blocks``.

    Returns:
        Values by dotted key; empty if none of the options was given.
    """
    found = dict[str, Any]()
    if args.blocks:
        found |= _blocks(cfg, args.blocks)
    if args.epochs or args.iterations:
        found |= _length(cfg, args)
    if args.images:
        found |= _images(cfg, args.images)
    return found | _log_interval(cfg, args)


def _length(cfg: Any, args: argparse.Namespace) -> dict[str, Any]:
    by_epoch = cfg.train_cfg.get("max_epochs") is not None
    if by_epoch and args.iterations:
        fail(f"--iterations: {args.config} counts in epochs; use --epochs.")
    if not by_epoch and args.epochs:
        fail(f"--epochs: {args.config} counts in iterations; use --iterations.")
    key = "max_epochs" if by_epoch else "max_iters"
    return {f"train_cfg.{key}": args.epochs or args.iterations}


def _log_interval(cfg: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Show a few lines of what is a short run now, not none at all."""
    steps = args.iterations
    if args.images and cfg.train_cfg.get("max_epochs") is not None:
        steps = args.images // (cfg.train_dataloader.get("batch_size") or 1)
    hooks = cfg.get("default_hooks") or {}
    logger = hooks.get("logger") or {}
    if not steps or logger.get("interval", 10) <= steps // 2:
        return {}
    keys = {"logger": logger, "runtime_info": hooks.get("runtime_info") or {}}
    interval = max(1, steps // 5)
    return {
        f"default_hooks.{name}.interval": interval
        for name, hook in keys.items()
        if hook.get("interval") or name == "logger" and "logger" in hooks
    }


# ----------------------------------------------------------------------------- images


def _images(cfg: Any, number: int) -> dict[str, Any]:
    """The first images, or some of each class, of the training and evaluation sets."""
    found = dict[str, Any]()
    for loader in _LOADERS:
        if not (cfg.get(loader) or {}).get("dataset"):
            continue
        evaluator = cfg.get(loader.replace("dataloader", "evaluator"))
        if loader != "train_dataloader" and _has_its_own_list(evaluator):
            if loader == "val_dataloader":
                print(
                    "--images: all images are evaluated on, because the metric reads "
                    "the truth from a file of its own; --no-validate leaves it out."
                )
            continue
        found |= _images_of(cfg, loader, number)
    train = cfg.train_dataloader
    size = train.get("batch_size") or 1
    if train.get("drop_last") and number < size:
        fail(
            f"--images expects at least {size}, one batch, because train_dataloader "
            f"drops what is no whole batch; got {number}. Smaller batches: "
            f"--cfg-options train_dataloader.batch_size={number}."
        )
    return found


def _has_its_own_list(evaluator: Any) -> bool:
    every = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    return any(isinstance(one, Mapping) and one.get("ann_file") for one in every)


def _images_of(cfg: Any, loader: str, number: int) -> dict[str, Any]:
    scope, key = cfg.get("default_scope"), f"{loader}.dataset"
    dataset = cfg[loader].dataset
    while True:
        kinds = names_of(dataset, DATASETS, scope)
        if "FewLabelDataset" in kinds:
            return {f"{key}.labels": number}
        if not isinstance(dataset.get("dataset"), Mapping):
            break
        dataset, key = dataset["dataset"], f"{key}.dataset"
    if dataset.get("datasets") or "ConcatDataset" in kinds:
        fail(
            f"--images expects one data set in {loader}, got several; set `indices` of "
            "each with --cfg-options."
        )
    if kinds & _SORTED and dataset.get("with_label", True):
        plain = dataset.to_dict() if hasattr(dataset, "to_dict") else dict(dataset)
        few = dict(type="lbbt_mm.FewLabelDataset", labels=number, dataset=plain)
        return {key: dict(few, _delete_=True)}
    return {f"{key}.indices": number}


# ----------------------------------------------------------------------------- blocks


def _blocks(cfg: Any, number: int) -> dict[str, Any]:
    """Fewer blocks of the backbone, or of the layers that a hook fills."""
    scope = cfg.get("default_scope")
    found = {
        f"model.{path}.num_layers": number
        for path, node in _dicts(cfg.model)
        if names_of(node, MODELS, scope) & LANGUAGE_BACKBONES
    }
    for i, hook in enumerate(cfg.get("custom_hooks") or []):
        if "LanguageInitHook" in names_of(hook, HOOKS, scope):
            for j, copy in enumerate(hook.get("copies") or []):
                where = f"custom_hooks.{i}.copies.{j}"
                found |= _layers(cfg, copy, where, number)
    if not found:
        fail(
            "--blocks expects a LanguageBackbone or a LanguageInitHook in the config; "
            f"{cfg.filename} has neither: set the depth of its model with "
            "--cfg-options."
        )
    return found


def _layers(cfg: Any, copy: Any, where: str, number: int) -> dict[str, Any]:
    """Set the depth of the layers that a copy fills, and which blocks it takes."""
    way = copy["module"].split(".")[:-1]
    node: Any = cfg.model
    for step in way:
        node = node.get(step) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(node.get("num_layers"), int):
        fail(
            f"--blocks expects num_layers beside {copy['module']}, which the config of "
            "the model has not: set its depth with --cfg-options."
        )
    found: dict[str, Any] = {".".join(["model", *way, "num_layers"]): number}
    blocks = copy.get("blocks")
    if isinstance(blocks, str):
        ends = blocks.split(":")
        if len(ends) < 2 or not all(end.strip().isdigit() for end in ends):
            fail(f"--blocks cannot shorten blocks={blocks!r}: set {where}.blocks.")
        blocks = list(range(*map(int, ends)))
    if isinstance(blocks, (list, tuple)):
        found[f"{where}.blocks"] = list(blocks)[:number]
    return found


def _dicts(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """List the dicts of a config with their dotted keys."""
    if not isinstance(node, Mapping):
        return
    yield path, node
    for key, value in node.items():
        yield from _dicts(value, f"{path}.{key}" if path else str(key))
