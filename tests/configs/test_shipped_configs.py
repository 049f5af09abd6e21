"""Every shipped config builds; the two arms of an experiment differ in one key."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[2]
LEAVES = sorted(p for p in ROOT.glob("configs/**/*.py") if "_base_" not in p.parts)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs"))


def flatten(node, prefix: str = "") -> dict[str, object]:
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, (list, tuple)):
        pairs = enumerate(node)
    else:
        return {prefix: node}
    flat: dict[str, object] = {}
    for key, value in pairs:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def test_there_are_configs() -> None:
    assert len(LEAVES) >= 6


@pytest.mark.parametrize("path", LEAVES, ids=relative)
def test_model_builds_on_the_meta_device(path: Path) -> None:
    from mmpretrain.registry import MODELS

    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert model.head.in_channels == model.backbone.embed_dims
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes
    dataset = cfg.train_dataloader.dataset
    assert cfg.model.head.num_classes == dataset.get("num_classes")


@pytest.mark.parametrize("path", LEAVES, ids=relative)
def test_names_have_five_fields(path: Path) -> None:
    _, arm, labels, epochs, _ = path.stem.split("_")
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.pretrained == (arm == "language")
    assert f"{cfg.train_cfg.max_epochs}e" == epochs
    assert f"random{100 * cfg.train_dataloader.dataset.ratio:.0f}" == labels


@pytest.mark.parametrize(
    "path", [p for p in LEAVES if "_language_" in p.name], ids=relative
)
def test_arms_differ_in_one_key(path: Path) -> None:
    language = flatten(Config.fromfile(path).to_dict())
    twin = path.with_name(path.name.replace("_language_", "_scratch_"))
    scratch = flatten(Config.fromfile(twin).to_dict())
    assert language.keys() == scratch.keys()
    differing = [key for key in language if language[key] != scratch[key]]
    assert differing == ["model.backbone.pretrained"]


@pytest.mark.parametrize("path", LEAVES, ids=relative)
def test_clean_pass_has_the_labels_that_are_trained(path: Path) -> None:
    cfg = Config.fromfile(path)
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    for key in ("type", "num_classes", "ratio", "seed"):
        assert train[key] == val[key]
