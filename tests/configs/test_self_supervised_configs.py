"""Table 7: each baseline has the bridge's backbone, schedule and images."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from shipped import CONFIGS, SELF_SUPERVISED, flat, load, relative  # isort: skip

BASELINES = [path for path in SELF_SUPERVISED if "_language_" in path.stem]
TYPES = {"simclr": "SimCLR", "mae": "MAE"}


def bridge_of(path: Path) -> Path:
    model, kind, _, epochs, dataset = path.stem.split("_")
    return CONFIGS / f"bridge/{model}_{kind}_random100_{epochs}_{dataset}.py"


def test_every_method_is_there_at_both_sizes() -> None:
    names = {path.stem.split("_")[2] for path in BASELINES}
    assert names == {*TYPES} and len(BASELINES) == 4
    for model, dataset in (("minilm", "fashion-mnist"), ("gpt2-medium", "imagenet100")):
        found = CONFIGS.glob(f"objectives/{model}_language_rotation_*_{dataset}.py")
        assert len(list(found)) == 1


@pytest.mark.parametrize("path", SELF_SUPERVISED, ids=relative)
def test_it_builds_and_only_what_is_trained_for_differs(path: Path) -> None:
    if path in BASELINES:
        check_that_the_rest_is_the_bridge(path)
    cfg = load(path)
    init_default_scope(cfg.default_scope)
    from mmpretrain.registry import MODELS

    model_cfg = copy.deepcopy(cfg.model)
    model_cfg.setdefault("data_preprocessor", copy.deepcopy(cfg.data_preprocessor))
    with torch.device("meta"):
        model = MODELS.build(model_cfg)
    assert model.backbone.embed_dims > 0


def check_that_the_rest_is_the_bridge(path: Path) -> None:
    cfg, theirs = load(path), load(bridge_of(path))
    assert cfg.model.type == TYPES[path.stem.split("_")[2]]
    ours = dict(cfg.model.backbone)
    ours.pop("mask_ratio", None)
    ours["type"] = ours["type"].replace("Masked", "")
    assert ours == dict(theirs.model.backbone)
    for key in ("optim_wrapper", "param_scheduler", "train_cfg", "test_dataloader"):
        assert cfg[key] == theirs[key], key
    images, others = (c.train_dataloader for c in (cfg, theirs))
    assert images.batch_size == others.batch_size
    assert images.dataset.dataset.type == others.dataset.dataset.type
    assert any(hook["type"] == "lbbt_mm.CostHook" for hook in cfg.custom_hooks)
    assert not [key for key in flat(path) if "_delete_" in key]


@pytest.mark.parametrize("method", [*TYPES])
def test_the_small_one_takes_a_step(method: str) -> None:
    (path,) = (p for p in BASELINES if p.stem.startswith(f"minilm_language_{method}"))
    cfg = load(path)
    init_default_scope(cfg.default_scope)
    from mmpretrain.registry import MODELS

    model_cfg = copy.deepcopy(cfg.model)
    model_cfg.backbone.update(pretrained=False, num_layers=1)
    model = MODELS.build(model_cfg)
    model.init_weights()
    image = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    inputs = [image, image.flip(3)] if method == "simclr" else image
    batch = model.data_preprocessor(dict(inputs=inputs, data_samples=[]), True)
    loss = model.train()(**batch, mode="loss")["loss"]
    loss.backward()
    assert loss.isfinite() and model.backbone.patch_embed.projection.weight.grad.any()
