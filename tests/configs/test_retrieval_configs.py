"""Table 11: the bridge's own config, with another head and another metric."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.registry import METRICS, init_default_scope

from shipped import (  # isort: skip
    CONFIGS,
    LEAVES,
    RETRIEVAL,
    build_model,
    differences,
    flat,
    load,
    parse_name,
    relative,
)

every_config = pytest.mark.parametrize("path", RETRIEVAL, ids=relative)


def bridge_of(path: Path) -> Path:
    return CONFIGS / "bridge" / path.name.replace("-bridged-retrieval", "")


@every_config
def test_it_is_its_bridge_with_another_head_and_metric(path: Path) -> None:
    name = parse_name(path)
    assert name.bridged and name.part == "retrieval"
    assert bridge_of(path) in LEAVES
    changed = {key.rpartition(".")[0] for key in differences(bridge_of(path), path)}
    heads = {key for key in changed if key.startswith("model.head")}
    metric = {"", "topk", "test_evaluator", "test_evaluator.topk"}
    assert heads and changed - heads == metric
    assert not [key for key in flat(path) if "_delete_" in key]


@every_config
def test_the_checkpoint_of_the_bridge_fits(path: Path) -> None:
    with torch.device("meta"):
        model, bridge = build_model(load(path)), build_model(load(bridge_of(path)))
    # A record of the language model is no tensor and compares by itself.
    states = [
        {k: v.shape for k, v in one.state_dict().items() if hasattr(v, "shape")}
        for one in (model, bridge)
    ]
    head = {key for key in states[1] if key.startswith("head.")}
    assert head and states[0].items() <= states[1].items()
    assert states[1].keys() - states[0].keys() == head


@every_config
def test_what_is_measured(path: Path) -> None:
    cfg = load(path)
    images = cfg.test_dataloader.dataset
    assert (images.type, images.split) == ("lbbt_mm.TinyImageNet", "val")
    init_default_scope(cfg.default_scope)
    metric = METRICS.build(dict(cfg.test_evaluator))
    assert type(metric).__name__ == "RetrievalMetric"
    assert tuple(metric.topk) == (1, 5)
