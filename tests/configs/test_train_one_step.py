"""Every shipped config trains one step, cut down to two blocks and two images."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample

from shipped import LEAVES, build_model, load, relative  # isort: skip

# Sharded models train in processes of their own.
OURS = [p for p in LEAVES if not p.parts[-2].startswith("sharded")]


def cut_down(path: Path) -> dict:
    """What one step consists of: a model of two random blocks, optimiser, pixels."""
    cfg = copy.deepcopy(load(path))
    backbone = cfg.model.backbone
    backbone.update(num_layers=2, pretrained=False)  # no language file is at hand
    backbone.pop("init_cfg", None)  # nor a bridge
    trainable = backbone.get("trainable_layers", "all")
    backbone.trainable_layers = re.sub(r"(first|last):\d+", r"\1:1", trainable)
    return dict(
        default_scope=cfg.default_scope,
        model=cfg.model,
        data_preprocessor=cfg.data_preprocessor,
        optim_wrapper=cfg.optim_wrapper,
    )


@pytest.mark.parametrize("path", OURS, ids=relative)
def test_one_step(path: Path) -> None:
    take_step(json.dumps(cut_down(path), sort_keys=True))


@cache  # most configs have their step in common with others
def take_step(text: str) -> None:
    cfg = Config(json.loads(text))
    if "fused" in cfg.optim_wrapper.optimizer:
        cfg.optim_wrapper.optimizer.fused = False  # torch 2.1 cannot on CPU
    model = build_model(cfg)
    model.init_weights()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    backbone = cfg.model.backbone
    side = 32 if "size" in cfg.data_preprocessor else backbone.img_size
    shape = (2, backbone.get("in_channels", 3), side, side)
    classes = cfg.model.head.num_classes
    batch = dict(
        inputs=torch.randint(0, 256, shape, dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(i) for i in (0, classes - 1)],
    )
    log = model.train().train_step(batch, wrapper)

    assert torch.isfinite(log["loss"]) and log["accuracy_top-1"] >= 0
    assert any(p.requires_grad for p in model.head.parameters())
    for name, p in model.named_parameters():
        changed = not torch.equal(p, before[name])
        if p.ndim > 1:  # a bias may have no gradient yet
            assert changed == p.requires_grad, name
        assert not changed or p.requires_grad, name
        assert torch.isfinite(p).all(), name
