"""A knob changes what it says, in every config that has it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbbt_mm.config import load_config
from lbbt_mm.config.names import changed_keys, effective

from shipped import (  # isort: skip
    CONFIGS,
    DENSE,
    LEAVES,
    LLAVA,
    OBJECTIVES,
    RETRIEVAL,
    ROOT,
    SCENES,
    SELF_SUPERVISED,
    load,
    relative,
)

CLASSIFIERS = [*LEAVES, *OBJECTIVES, *RETRIEVAL]
BRIDGES = [p for p in LEAVES if p.parent.name in ("bridge", "supervised", "sharded")]
FEW = [p for p in LEAVES if p.parent.name == "few_labels"]
BOTH = ("train_dataloader", "val_dataloader")
PLACES = {  # one config of each data set and task
    (path.parent, path.stem.split("_")[-1]): path
    for path in [*BRIDGES, *FEW, *DENSE, *LLAVA]
    if not path.stem.endswith("_test")
}
PAGE = (CONFIGS / "README.md").read_text(encoding="utf-8")


def changed(path: Path, **options) -> list[str]:
    cfg = load_config(path, options)
    for name, value in options.items():
        assert cfg[name] == value
    return changed_keys(effective(load(path)), effective(cfg))


@pytest.mark.parametrize("path", CLASSIFIERS, ids=relative)
def test_initialisation_and_what_trains(path: Path) -> None:
    """All at once: a config is read for each call."""
    given = load(path)
    known = dict(
        pretrained=not given.pretrained,
        trainable_layers="first:1",
        language_model="gpt2",
        num_layers=2,
        label_smoothing=0.3,
    )
    if path.parent.name in ("probe", "retrieval"):  # their heads have another loss
        del known["label_smoothing"]
    part = "model.classifier" if "+entropy" in path.stem else "model"
    names = ("pretrained", "trainable_layers", "language_model", "num_layers")
    expected = {f"{part}.backbone.{name}" for name in names}
    if "label_smoothing" in known:
        expected.add(f"{part}.head.loss.label_smooth_val")
    assert set(changed(path, **known)) == expected


@pytest.mark.parametrize("path", BRIDGES, ids=relative)
def test_labels_of_the_bridge(path: Path) -> None:
    keys = changed(path, random_ratio=0.15, label_seed=7, exclude_true_label=True)
    names = ("ratio", "seed", "exclude_true_label")
    assert keys == sorted(f"{loader}.dataset.{n}" for loader in BOTH for n in names)


@pytest.mark.parametrize("path", FEW, ids=relative)
def test_few_labels(path: Path) -> None:
    keys = changed(path, labels=100, label_seed=3)
    assert keys == [f"train_dataloader.dataset.{name}" for name in ("labels", "seed")]


@pytest.mark.parametrize(
    "path", [*FEW, *(p for p in LEAVES if p.parent.name in ("probe", "finetune"))],
    ids=relative,
)  # fmt: skip
def test_the_bridge_that_a_model_starts_from(path: Path) -> None:
    cfg = load_config(path, {"bridge_checkpoint": "b.pth"})
    start = dict(type="Pretrained", checkpoint="b.pth", prefix="backbone.")
    assert cfg.model.backbone.init_cfg == start
    keys = changed_keys(effective(load(path)), effective(cfg))
    assert {key.rpartition(".")[0] for key in keys} == {"model.backbone.init_cfg"}


@pytest.mark.parametrize(
    "path", [p for p in BRIDGES if p.parent.name != "supervised"], ids=relative
)
def test_classes_rate_length_and_place(path: Path) -> None:
    options = dict(num_classes=7, lr=0.5, weight_decay=0.25, max_epochs=44, seed=5)
    keys = set(changed(path, **options))
    where = [k for k in keys if k.endswith("num_classes")]
    assert {k.split(".")[0] for k in where} == {"model", "data_preprocessor", *BOTH}
    assert keys - set(where) == {
        "optim_wrapper.optimizer.lr",
        "optim_wrapper.optimizer.weight_decay",
        "train_cfg.max_epochs",
        "randomness.seed",
    }


@pytest.mark.parametrize("path", PLACES.values(), ids=relative)
def test_where_the_images_lie(path: Path) -> None:
    if "data_root" not in load(path):
        assert "mnist5k" in path.stem  # a package carries them
        return
    options = dict(data_root="elsewhere", batch_size=3)
    cfg = load_config(path, options)
    assert cfg.train_dataloader.batch_size == 3
    parts = ("train_dataloader", "test_dataloader", "val_evaluator")
    text = [str(cfg.get(part)) for part in parts]
    assert "elsewhere" in text[0]
    assert repr(load(path).data_root) not in "".join(text)


def test_every_knob_of_the_page_is_one() -> None:
    table = PAGE.partition("## Knobs")[2].partition("\n## ")[0]
    names = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in row.split("|")[1].replace("`", "").replace(" ", "").split(",")
    }
    every = [*CLASSIFIERS, *SELF_SUPERVISED, *DENSE, *LLAVA]
    assert len(names) >= 15
    assert names <= {name for path in every for name in load(path)}


def test_every_folder_has_its_page() -> None:
    """What each config is stands in the README of its folder."""
    folders = {path.parent for path in [*CLASSIFIERS, *SELF_SUPERVISED, *DENSE, *LLAVA]}
    for folder in folders:
        page = folder / "README.md"
        if SCENES in folder.parents:
            page = SCENES.parent / "README.md"
        text = page.read_text(encoding="utf-8")
        missing = [p.stem for p in folder.glob("*.py") if p.stem not in text]
        assert SCENES in folder.parents or not missing, page.relative_to(ROOT)
