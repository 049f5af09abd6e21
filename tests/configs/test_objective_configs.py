"""Configs of other objectives: one shape, one line apart, and each trains."""

from __future__ import annotations

import copy
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from test_dataset_bases import COUNT, _small_data, data, point_to  # noqa: F401

from shipped import (  # isort: skip
    CONFIGS,
    LEAVES,
    OBJECTIVES,
    build_model,
    differences,
    load,
    relative,
)

NAMES = {  # what the third field says -> the names of the objectives
    "random": ["random"],
    "instance": ["instance"],
    "rotation": ["rotation"],
    "random+rotation": ["random", "rotation"],
    "random+instance": ["random", "instance"],
    "random+simclr": ["random", "contrastive"],
    "random+labels": ["random", "labels"],
    "random+entropy": ["random", "entropy"],
    "random+droppos": ["random", "droppos"],
    "random+teacher": ["random", "teacher"],
}
HEADLESS = ("entropy", "droppos", "teacher")  # of mmpretrain's heads
IMAGES = {"fashion-mnist": 60000}
CLASSES = {"fashion-mnist": 10, "imagenet100": 100}
BRIDGES = [p for p in OBJECTIVES if "true+entropy" not in p.stem]
ENTROPY = [p for p in OBJECTIVES if "true+entropy" in p.stem]


def fields(path: Path) -> list[str]:
    return path.stem.split("_")


@pytest.mark.parametrize("path", BRIDGES, ids=relative)
def test_it_builds_and_is_what_its_name_says(path: Path) -> None:
    check_model_and_labels(path)
    check_heads(load(path))


def check_model_and_labels(path: Path) -> None:
    model, kind, objective, epochs, dataset = fields(path)
    cfg = load(path)
    assert cfg.model.type == "lbbt_mm.BridgeClassifier"
    assert [o.name for o in cfg.model.objectives] == NAMES[objective]
    (bridge,) = CONFIGS.glob(f"bridge/{model}_{kind}_random100_{epochs}_{dataset}.py")
    theirs = load(bridge)
    # The same backbone, schedule, test images: only what is trained for differs.
    assert cfg.model.backbone == theirs.model.backbone
    for key in ("optim_wrapper", "param_scheduler", "train_cfg", "test_dataloader"):
        assert cfg[key] == theirs[key], key
    assert cfg.train_dataloader.batch_size == theirs.train_dataloader.batch_size
    widths = {o.name: o.get("num_classes") for o in cfg.model.objectives}
    expected = dict(
        random=CLASSES[dataset],
        labels=CLASSES[dataset],
        instance=IMAGES.get(dataset),
        rotation=4,
        contrastive=None,
        **dict.fromkeys(HEADLESS),
    )
    assert widths == {name: expected[name] for name in widths}


def test_random_labels_are_the_bridge_itself() -> None:
    ours = CONFIGS / "objectives/minilm_language_random_6e_fashion-mnist.py"
    bridge = CONFIGS / "bridge/minilm_language_random100_6e_fashion-mnist.py"
    keys = differences(bridge, ours)
    assert all(re.match(r"(model\.)?objectives\.|model\.type$", k) for k in keys)


def check_heads(cfg: Config) -> None:
    with torch.device("meta"):
        model = build_model(cfg)
    for name, objective in model.objectives.items():
        (wanted,) = [o for o in cfg.model.objectives if o.name == name]
        if name in HEADLESS:
            continue
        if name == "contrastive":
            width = objective.neck.fc0.in_features
        else:
            width = objective.head.fc.in_features
            assert objective.head.fc.out_features == wanted.num_classes
            assert objective.head.cal_acc and objective.head.loss_module
        assert width == model.backbone.embed_dims


@pytest.mark.parametrize("path", ENTROPY, ids=relative)
def test_entropy_is_minimised_around_the_classifier_that_was_trained(path) -> None:
    model, kind, labels, epochs, dataset = fields(path)
    stem = "_".join([model, kind, "random100", epochs, dataset])
    (theirs,) = [p for p in LEAVES if p.stem == stem]
    cfg = load(path)
    assert labels == "true+entropy" and cfg.train_dataloader.dataset.ratio == 0
    assert cfg.model.classifier == load(theirs).model
    assert cfg.test_dataloader == load(theirs).test_dataloader
    with torch.device("meta"):
        assert build_model(cfg).adapted


# ------------------------------------------------------------------- on real images


@cache
def cut_down(path: Path, folder: Path) -> Config:
    """One random block, and the few images of the folder."""
    cfg = copy.deepcopy(load(path))
    cfg.model.backbone.update(num_layers=1, pretrained=False)
    for name in ("train_dataloader", "val_dataloader"):
        loader = cfg[name]
        point_to(loader, folder)
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        if loader.dataset.type == "lbbt_mm.InstanceLabelDataset":
            loader.dataset.num_classes = COUNT
    for objective in cfg.model.objectives:
        if objective.name == "instance":  # a head of 50 000 takes a gigabyte
            objective.num_classes = COUNT
        if objective.name == "labels":
            cfg.train_dataloader.dataset.labels = 0.5
    cfg.optim_wrapper.optimizer.fused = False  # torch 2.1 cannot on CPU
    return cfg


@pytest.mark.parametrize("path", BRIDGES, ids=relative)
def test_one_step_on_its_own_images(path, data, write_idx_images) -> None:  # noqa: F811
    if "fashion" in path.stem and not (data / "fashion-mnist").exists():
        (data / "fashion-mnist").mkdir()
        write_idx_images(data / "fashion-mnist", COUNT)
    cfg = cut_down(path, data)
    init_default_scope("mmpretrain")
    loader = Runner.build_dataloader(copy.deepcopy(cfg.train_dataloader), seed=0)
    batch = next(iter(loader))
    views = 2 if "simclr" in path.stem else 1
    assert len(batch["inputs"]) == 4 * views and len(batch["data_samples"]) == 4
    model = build_model(cfg)
    if "teacher" in path.stem:
        taught = model.objectives.teacher
        stem = Path(taught.checkpoint).parent.name
        assert taught.checkpoint == f"work_dirs/{stem}/epoch_6.pth"
        bridge = build_model(cut_down(CONFIGS / f"objectives/{stem}.py", data))
        taught.checkpoint = str(data / "bridge.pth")
        torch.save(dict(state_dict=bridge.state_dict()), taught.checkpoint)
    model.init_weights()
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    log = model.train().train_step(batch, wrapper)
    assert torch.isfinite(log["loss"])
    assert {f"loss_{o.name}" for o in cfg.model.objectives} <= log.keys()
    for name, p in model.named_parameters():
        if p.ndim > 1:
            assert torch.equal(p, before[name]) != p.requires_grad, name
    # A clean pass over the same images, with the label of the head that predicts.
    val = Runner.build_dataloader(copy.deepcopy(cfg.val_dataloader), seed=0)
    assert len(val.dataset) == len(loader.dataset) == COUNT
    assert val.dataset.get_gt_labels().tolist() == truth_of(loader.dataset).tolist()
    with torch.no_grad():
        found = model.eval().val_step(next(iter(val)))
    classes = next(o.num_classes for o in cfg.model.objectives if "num_classes" in o)
    assert found[0].pred_score.shape == (classes,)


def truth_of(dataset):
    """What is in gt_label, whatever stands beside it."""
    while hasattr(dataset, "dataset"):
        if getattr(dataset, "field", "gt_label") == "gt_label":
            return dataset.get_gt_labels()
        dataset = dataset.dataset
    raise AssertionError("true labels are trained")


# ---------------------------------------------------------------------------- the page


def test_the_page_names_what_there_is() -> None:
    text = (CONFIGS.parent / "docs/objectives.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w+]+)` \|(?: [^|]+\|){3}$", text, flags=re.M)
    assert set(rows) == set(NAMES)
    for path in re.findall(r"(?:configs|projects|tools)/[\w./+-]+\.py", text):
        assert (CONFIGS.parent / path).is_file(), path


def test_a_mix_of_your_own_as_the_page_writes_it() -> None:
    text = (CONFIGS.parent / "docs/objectives.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(images = .*?)```", text, flags=re.S)
    found: dict = {}
    exec(code.replace("..., ", ""), found)
    base = load(CONFIGS / "_base_/models/minilm_28px.py")
    cfg = Config(dict(base.to_dict(), data_preprocessor={}, default_scope="mmpretrain"))
    cfg.model.update(type="lbbt_mm.BridgeClassifier", objectives=found["objectives"])
    cfg.model.backbone.update(num_layers=1, pretrained=False)
    with torch.device("meta"):
        model = build_model(cfg)
    assert list(model.objectives) == ["random", "rotation"]
    assert model.objectives.rotation.label == found["dataset"]["field"]
    keys = found["images"]["pipeline"][-1]["algorithm_keys"]
    assert found["dataset"]["field"] in keys
