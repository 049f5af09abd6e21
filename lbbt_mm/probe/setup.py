"""From a classification config to the features that a linear probe needs."""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, init_default_scope
from mmengine.runner import Runner, set_random_seed
from torch import nn
from torch.utils.data import DataLoader

from lbbt_mm.datasets.checks.guard import build_guarded
from lbbt_mm.models.initial_model import build_initial_model, build_model
from lbbt_mm.models.pretrained import load_part
from lbbt_mm.probe.feature_key import (
    UnknownContentError,
    feature_key,
    file_sha256,
    images_sha256,
    sources_sha256,
    weights_sha256,
)
from lbbt_mm.probe.features import (
    Features,
    cached_features,
    extract_readouts,
    of_output,
)
from lbbt_mm.probe.readouts import READOUTS, choose_outputs
from lbbt_mm.registry import builds, find_type
from lbbt_mm.version import require


def true_label_dataset(dataset: Any, pipeline: list | None = None) -> Any:
    """Take labels that are not the true ones off a dataset config.

    Args:
        dataset: Config of a dataset, in any wrappers; not changed.
        pipeline: What the dataset at the bottom shall run; its own by default.

    Returns:
        The config without ``RandomLabelDataset``, ``RotationDataset`` and the like, at
        whatever depth they were.
    """
    if "dataset" in dataset and pipeline is None:  # a wrapper may exchange it
        pipeline = dataset.get("pipeline")
    if getattr(find_type(dataset, DATASETS), "gives_other_labels", False):
        return true_label_dataset(dataset["dataset"], pipeline)
    dataset = copy.deepcopy(dataset)
    if "dataset" in dataset:
        dataset.pop("pipeline", None)
        dataset["dataset"] = true_label_dataset(dataset["dataset"], pipeline)
    elif "datasets" in dataset:
        dataset["datasets"] = [
            true_label_dataset(part, pipeline) for part in dataset["datasets"]
        ]
    elif pipeline is not None:
        dataset["pipeline"] = copy.deepcopy(pipeline)
    return dataset


def find_pipeline(dataset: Mapping) -> list:
    """Find the pipeline of a dataset config, in any wrappers.

    Args:
        dataset: Config of a dataset.

    Returns:
        The pipeline of the first dataset at the bottom, unless a wrapper exchanges it;
        empty if it has none.
    """
    if dataset.get("pipeline") is not None:
        return dataset["pipeline"]
    if "dataset" in dataset:
        return find_pipeline(dataset["dataset"])
    if "datasets" in dataset:
        return find_pipeline(dataset["datasets"][0])
    return dataset.get("pipeline", [])


def clean_pipeline(dataset: Mapping) -> list:
    """Find the pipeline of test images without what corrupts them.

    Args:
        dataset: Config of the test images, in any wrappers.

    Returns:
        What training images go through to be looked at.
    """
    return [
        step
        for step in find_pipeline(dataset)
        if not getattr(find_type(step, TRANSFORMS), "of_test_images", False)
    ]


def probe_dataloaders(cfg: Any) -> dict[str, dict]:
    """Configs of the loaders that show each image once, in order, with its true label.

    Args:
        cfg: A config with ``train_dataloader`` and ``test_dataloader``.

    Returns:
        Of ``'train'`` and ``'test'``, both through the test pipeline (training images
        uncorrupted), with the batch size and workers of ``test_dataloader``.

    Raises:
        ValueError: One of the loaders is missing.
    """
    for name in ("train_dataloader", "test_dataloader"):
        if not cfg.get(name):
            raise ValueError(
                f"A linear probe expects {name} in the config, got none. It trains on "
                "the images of train_dataloader and tests on those of test_dataloader."
            )
    test_set = cfg.test_dataloader["dataset"]
    pipeline = clean_pipeline(test_set)
    loader = copy.deepcopy(dict(cfg.test_dataloader))
    loader.pop("batch_sampler", None)
    loader.update(
        sampler=dict(type="DefaultSampler", shuffle=False),
        drop_last=False,
        persistent_workers=False,
    )
    if cfg.get("default_scope") == "mmpretrain":  # a default of mmpretrain's tools
        loader.setdefault("collate_fn", dict(type="default_collate"))
    train_set = cfg.train_dataloader["dataset"]
    return dict(
        train=dict(loader, dataset=true_label_dataset(train_set, pipeline)),
        test=dict(loader, dataset=true_label_dataset(test_set)),
    )


def build_frozen_model(
    cfg: Any,
    checkpoint: str | None = None,
    reinit_patch_embed: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Build the classifier of a config with the weights to be probed.

    Args:
        cfg: A config whose ``model`` is an mmpretrain classifier; not changed.
        checkpoint: Its backbone is loaded, exactly. Without one, the model is what a
            training starts from: see
            :func:`lbbt_mm.models.initial_model.build_initial_model`.
        reinit_patch_embed: Draw the patch embedding anew afterwards, as the authors'
            released code does.
        seed: Of everything that is drawn.

    Raises:
        ValueError: The model cannot be probed, or starts from ``load_from``.
        CheckpointError: The checkpoint cannot be read, holds more than tensors and
            plain types, or does not fit the backbone.
    """
    require("mmpretrain", "A linear probe")
    init_default_scope(cfg.get("default_scope") or "mmpretrain")
    model: Any
    if checkpoint:
        model = build_model(_classifier_config(cfg), seed)
    elif _is_self_supervised(cfg.model):
        # It alone knows its start; images are given to the classifier.
        whole = copy.deepcopy(cfg)
        whole.data_preprocessor = None
        initial: Any = build_initial_model(whole, seed)
        model = build_model(_classifier_config(cfg), seed)
        model.backbone = initial.backbone
    else:
        model = build_initial_model(cfg, seed)
    if not hasattr(model, "extract_feat") or not hasattr(model, "backbone"):
        raise ValueError(
            "A linear probe expects a classifier with a backbone and extract_feat(), "
            f"such as mmpretrain's ImageClassifier, got {type(model).__name__}."
        )
    if checkpoint:
        # The backbone exactly; the head, which is not probed, may be any.
        load_part(model.backbone, checkpoint, "backbone.")
    if reinit_patch_embed:
        if not hasattr(model.backbone, "reset_patch_embed"):
            raise ValueError(
                "reinit_patch_embed expects a backbone with reset_patch_embed(), such "
                f"as lbbt_mm.LanguageBackbone, got {type(model.backbone).__name__}."
            )
        set_random_seed(seed)  # the same draw, whatever was drawn before
        model.backbone.reset_patch_embed()
    return model


def _is_self_supervised(model: Any) -> bool:
    """Whether its extract_feat() is no classifier's, as those of MAE and SimCLR."""
    from mmpretrain.models import BaseSelfSupervisor

    return builds(model, MODELS, BaseSelfSupervisor)


def _classifier_config(cfg: Any) -> Any:
    """Put the backbone of a self-supervised model into a classifier: it is probed."""
    if not _is_self_supervised(cfg.model):
        return cfg
    cfg = copy.deepcopy(cfg)
    given = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    # Both kinds of preprocessor normalise alike, but a classifier takes its own only.
    shared = ("mean", "std", "to_rgb", "pad_size_divisor", "pad_value")
    cfg.model = dict(
        type="ImageClassifier",
        backbone=cfg.model.backbone,
        data_preprocessor={key: given[key] for key in shared if key in given},
    )
    return cfg


@dataclass(frozen=True)
class ProbeData:
    """Everything :func:`~lbbt_mm.probe.linear_probe.linear_probe` needs.

    Attributes:
        train: Features of the training images.
        test: Features of the test images.
        num_classes: Number of true classes.
        weights: SHA-256 of the checkpoint file, or of the initialised backbone.
        cached: Whether the train and the test features came from the disk.
        seconds: How long reading or extracting took for each.
    """

    train: Features
    test: Features
    num_classes: int
    weights: str
    cached: dict[str, bool]
    seconds: dict[str, float]


def probe_features(
    cfg: Any,
    checkpoint: str | None = None,
    *,
    cache_dir: str | os.PathLike | None,
    device: str | torch.device = "cpu",
    amp: bool = False,
    reinit_patch_embed: bool = False,
    seed: int = 0,
) -> ProbeData:
    """Get the features of all training and test images, from the disk if possible.

    The cache's key hashes whatever decides them: configs, every data info with its
    label, the identity of every image file, the content of the checkpoint file (or the
    weights of the initialised backbone), precision, device, the sources of the classes
    that the config names, and versions. What cannot be hashed, such as images that
    are not on this machine, is extracted anew each time.

    Args:
        cfg: A classification config; not changed.
        checkpoint: What to probe; the unbridged model if not given.
        cache_dir: Folder of the cache; ``None`` neither reads nor writes one.
        device: Where the model runs.
        amp: Run it under bfloat16 autocast.
        reinit_patch_embed: See :func:`build_frozen_model`.
        seed: See :func:`build_frozen_model`.

    Raises:
        ValueError: See :func:`build_frozen_model`, :func:`probe_dataloaders` and
            :func:`~lbbt_mm.probe.features.extract_features`.
    """
    options: dict[str, Any] = dict(device=device, amp=amp, seed=seed)
    options |= dict(cache_dir=cache_dir, reinit_patch_embed=reinit_patch_embed)
    return probe_readouts(cfg, checkpoint, **options)[""]


def probe_readouts(
    cfg: Any,
    checkpoint: str | None = None,
    readouts: Sequence[str] = (),
    block: int | None = None,
    *,
    cache_dir: str | os.PathLike | None,
    device: str | torch.device = "cpu",
    amp: bool = False,
    reinit_patch_embed: bool = False,
    seed: int = 0,
) -> dict[str, ProbeData]:
    """Get the features of several read-outs in one pass over the images.

    Args:
        cfg: See :func:`probe_features`, as the others.
        checkpoint: What to probe.
        readouts: ``'last'`` token, ``'avg'`` over tokens, raw ``'pixels'``, or some of
            them; the config's own, named ``''``, if there are none.
        block: Whose outputs are read, in place of the config's; negative numbers count
            from the end. The final norm applies to the last one's only.
        cache_dir: Folder of the cache.
        device: Where the model runs.
        amp: Run it under bfloat16 autocast.
        reinit_patch_embed: See :func:`build_frozen_model`.
        seed: See :func:`build_frozen_model`.

    Raises:
        ValueError: See :func:`probe_features`; or a read-out or block is chosen that is
            not there, or of a backbone that has none.
    """
    require("mmpretrain", "A linear probe")
    init_default_scope(cfg.get("default_scope") or "mmpretrain")
    loader_cfgs = probe_dataloaders(cfg)
    built: list[Any] = []

    def model() -> Any:  # not built at all if everything is cached
        if not built:
            built.append(build_frozen_model(cfg, checkpoint, reinit_patch_embed, seed))
            choose_outputs(built[0].backbone, readouts, block)
        return built[0]

    if checkpoint:
        weights = file_sha256(os.path.expanduser(checkpoint))
    else:
        weights = weights_sha256(model().backbone)

    pools = {name: READOUTS[name] for name in readouts} or {"": of_output}
    found: dict[str, dict[str, Features]] = {name: {} for name in pools}
    cached: dict[str, dict[str, bool]] = {name: {} for name in pools}
    seconds: dict[str, dict[str, float]] = {name: {} for name in pools}
    classes = 0
    for split, loader_cfg in loader_cfgs.items():
        start = time.perf_counter()
        loader = build_guarded(
            partial(Runner.build_dataloader, loader_cfg, seed=seed), loader_cfg
        )
        classes = max(classes, len(loader.dataset.metainfo.get("classes") or ()))

        both: dict[str, Features] = {}  # one pass, when the first of them is missing

        def extract(
            name: str, loader: DataLoader, title: str, both: dict[str, Features]
        ) -> Features:
            if not both:
                both |= extract_readouts(model(), loader, pools, device, amp, title)
            return both[name]

        key = None
        if cache_dir is not None:
            decides = dict(
                weights=weights,
                reinit_patch_embed=reinit_patch_embed,
                seed=seed if reinit_patch_embed else None,  # else `weights` says it all
                amp=amp,
                device=torch.device(device).type,
                block=block,
            )
            key = _key(cfg, loader_cfg, loader, decides)
        for name in pools:
            get = partial(extract, name, loader, f"{split} features", both)
            if key is None or cache_dir is None:
                found[name][split], cached[name][split] = get(), False
            else:
                stem = f"{split}-{name}-{key}" if name else f"{split}-{key}"
                path = Path(cache_dir) / f"{stem}.safetensors"
                found[name][split], cached[name][split] = cached_features(path, get)
            classes = max(classes, int(found[name][split].labels.max()) + 1)
            seconds[name][split] = time.perf_counter() - start
            start = time.perf_counter()
    return {
        name: ProbeData(
            of["train"], of["test"], classes, weights, cached[name], seconds[name]
        )
        for name, of in found.items()
    }


def _key(
    cfg: Any, loader_cfg: Mapping, loader: DataLoader, decides: dict[str, Any]
) -> str | None:
    """Name the features to keep; None, with a warning, where that would be unsafe."""
    configs = dict(
        model=cfg.model,
        data_preprocessor=cfg.get("data_preprocessor"),
        dataset=loader_cfg["dataset"],
        collate_fn=loader_cfg.get("collate_fn"),
    )
    try:
        return feature_key(
            **configs,
            **decides,
            images=images_sha256(loader.dataset),
            sources=sources_sha256(configs.values(), loader.collate_fn),
        )
    except UnknownContentError as error:
        warnings.warn(
            f"These features are extracted each time and not kept: {error}.",
            stacklevel=3,
        )
        return None
