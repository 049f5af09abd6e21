"""A knob changes what it says, in every config that has it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbbt_mm.config import load_config
from lbbt_mm.config.names import changed_keys, effective
from lbbt_mm.config.names import flat as leaves_of

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
BRIDGES = [p for p in LEAVES if p.parent.name in ("bridge", "sharded")]
FEW = [p for p in LEAVES if p.parent.name == "few_labels"]
BOTH = ("train_dataloader", "val_dataloader")
PLACES = {  # one config of each data set that is for no classifier
    path.stem.split("_")[-1]: path
    for path in [*DENSE, *LLAVA]
    if not path.stem.endswith("_test")
}
PAGE = (CONFIGS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CLASSIFIERS, ids=relative)
def test_a_knob_sets_what_it_says(path: Path) -> None:
    """All at once: reading a config takes most of the time."""
    knobs, expected = knobs_of(path)
    cfg = load_config(path, knobs)
    assert {name: cfg[name] for name in knobs} == knobs
    now = dict(leaves_of(effective(cfg)))
    assert {key: now[key] for key in expected} == expected
    reached: dict[str, set[str]] = {}
    for key in changed_keys(effective(load(path)), effective(cfg)):
        part, _, last = key.rpartition(".")
        if last in ("num_classes", "data_root", "batch_size"):  # of many parts
            assert now[key] == knobs[last], key
            reached.setdefault(last, set()).add(part.split(".")[0])
        else:
            assert key in expected, key
    if path in BRIDGES:
        assert reached["num_classes"] == {"model", "data_preprocessor", *BOTH}
        assert reached["batch_size"] == {*BOTH, "test_dataloader"}
    if "data_root" in knobs:
        assert reached["data_root"] == {*BOTH, "test_dataloader"}


def knobs_of(path: Path) -> tuple[dict[str, object], dict[str, object]]:
    """List knobs of a config with other values, and the keys that have to have them."""
    given = load(path)
    part = "model.classifier" if "true+entropy" in path.stem else "model"
    knobs: dict[str, object] = dict(
        pretrained=not given.pretrained,
        trainable_layers="first:1",
        language_model="gpt2",
        num_layers=2,
    )
    expected = {f"{part}.backbone.{name}": value for name, value in knobs.items()}
    if path.parent.name not in ("probe", "retrieval"):  # their heads have another loss
        knobs["label_smoothing"] = 0.3
        expected[f"{part}.head.loss.label_smooth_val"] = 0.3
    if path in BRIDGES:
        labels = dict(random_ratio=0.15, label_seed=7, exclude_true_label=True)
        knobs |= labels
        for loader in BOTH:
            for key, value in zip(
                ("ratio", "seed", "exclude_true_label"), labels.values(), strict=True
            ):
                expected[f"{loader}.dataset.{key}"] = value
        knobs |= dict(lr=0.5, weight_decay=0.25, max_epochs=44, seed=5)
        expected["optim_wrapper.optimizer.lr"] = 0.5
        expected["optim_wrapper.optimizer.weight_decay"] = 0.25
        expected["train_cfg.max_epochs"] = 44
        expected["randomness.seed"] = 5
        knobs |= dict(num_classes=7, batch_size=3)
    if path in FEW:
        knobs |= dict(labels=100, label_seed=3)
        expected["train_dataloader.dataset.labels"] = 100
        expected["train_dataloader.dataset.seed"] = 3
    if path in FEW or path.parent.name in ("probe", "finetune"):
        knobs["bridge_checkpoint"] = "b.pth"
        start = dict(type="Pretrained", checkpoint="b.pth", prefix="backbone.")
        for key, value in start.items():
            expected[f"model.backbone.init_cfg.{key}"] = value
    if path in [*BRIDGES, *FEW] and "mnist5k" not in path.stem:  # a package has them
        knobs["data_root"] = "elsewhere"
    return knobs, expected


@pytest.mark.parametrize("path", PLACES.values(), ids=relative)
def test_where_the_images_lie(path: Path) -> None:
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
