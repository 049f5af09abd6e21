"""Reading the shipped configs."""

from __future__ import annotations

import copy
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
SCENES = ROOT / "projects/fashion_scenes/configs"
# Language blocks copied into detectors and segmenters; the others are classifiers.
DENSE = sorted(CONFIGS.glob("detr*.py")) + sorted(
    p
    for folder in (CONFIGS, SCENES)
    for p in folder.glob("*/*.py")
    if p.parent.name in ("detr", "segmenter")
)
# What the small DETRs' ResNet is trained by: no classifier.
BACKBONE = SCENES / "backbone/resnet18_1xb16-1k_fashion-scenes.py"
# What the small LLaVAs' vision encoders are trained by.
ENCODER = SCENES / "backbone/smollm2-b4_language_1xb16-1200_plain-scenes.py"
# Other objectives of the bridge, whose labels and heads follow rules of their own.
OBJECTIVES = sorted(CONFIGS.glob("objectives/*.py"))
# Bridges with a head that hands features on: for tools/test.py, not for training.
RETRIEVAL = sorted(CONFIGS.glob("retrieval/*.py"))
# Self-supervised baselines on the bridge's backbone, and an outside reference.
SELF_SUPERVISED = sorted(CONFIGS.glob("selfsup/*.py"))
# Models that answer in words.
LLAVA = sorted(CONFIGS.glob("llava/*.py")) + sorted(SCENES.glob("llava/*.py"))
# Plans of sweeps are no configs of mmengine.
LEAVES = sorted(
    p
    for p in CONFIGS.glob("*/**/*.py")
    if not {"_base_", "sweeps"} & set(p.parts)
    and p not in [*DENSE, *OBJECTIVES, *RETRIEVAL, *SELF_SUPERVISED, *LLAVA]
)


@cache
def load(path: Path) -> Config:
    """Read a config, once; nobody may edit it."""
    return Config.fromfile(path)


@cache
def flat(path: Path) -> dict[str, object]:
    """Read a config as ``{'a.0.b': 1}``; nobody may edit it."""
    return flatten(load(path).to_dict())


def relative(path: Path) -> str:
    return str(path.relative_to(SCENES if SCENES in path.parents else CONFIGS))


def build_model(cfg: Config) -> nn.Module:
    """Build the model as a runner does; the config stays as it is."""
    init_default_scope(cfg.default_scope)
    from mmpretrain.registry import MODELS

    model = copy.deepcopy(cfg.model)
    model.data_preprocessor = copy.deepcopy(cfg.data_preprocessor)
    return MODELS.build(model)


def flatten(node, prefix: str = "") -> dict[str, object]:
    """``{'a': [{'b': 1}]}`` -> ``{'a.0.b': 1}``."""
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


def differences(one: Path, other: Path) -> dict[str, tuple[object, object]]:
    """Flattened keys in which two resolved configs differ, and both values."""
    a, b = flat(one), flat(other)
    return {
        key: (a.get(key), b.get(key))
        for key in sorted(a.keys() | b.keys())
        if key not in a or key not in b or a[key] != b[key]
    }


class Name(NamedTuple):
    """The five fields of a config's name, the second taken apart."""

    model: str
    initialisation: str  # language or scratch
    bridged: bool
    part: str  # what trains: '' (all), first5, last1, probe, mlp
    labels: str  # true, random15, labels10
    epochs: int
    dataset: str


def parse_name(path: Path) -> Name:
    model, second, labels, epochs, dataset = path.stem.split("_")
    initialisation, *rest = second.split("-")
    bridged = rest[:1] == ["bridged"]
    rest = rest[bridged:]
    assert initialisation in ("language", "scratch") and len(rest) <= 1, second
    assert re.fullmatch(r"true|(random|labels)\d+", labels), labels
    assert re.fullmatch(r"\d+e", epochs), epochs
    part, length = "".join(rest), int(epochs.rstrip("e"))
    return Name(model, initialisation, bridged, part, labels, length, dataset)
