"""Configs are read from runs' folders without being run."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from lbbt_mm.datasets import RandomLabelDataset
from lbbt_mm.datasets.wrapper import DatasetWrapper
from lbbt_mm.registry import DATASETS, HOOKS, find_type
from lbbt_mm.safety import dumped_config
from lbbt_mm.safety.dumped_config import (
    at,
    describe_dataset,
    describe_labels,
    innermost_dataset,
    plain_name,
    read_dumped_config,
)

IMAGES = dict(type="lbbt_mm.IdxDataset", classes="fashion_mnist", indices=100)


def config(**wrapper) -> dict:
    return dict(train_dataloader=dict(dataset=dict(dataset=IMAGES, **wrapper)))


def test_what_mmengine_dumps_is_read_back(tmp_path: Path) -> None:
    whole = dict(
        model=dict(backbone=dict(num_layers=8, pretrained=False), topk=(1, 5)),
        custom_hooks=[dict(type="A", x=-1.5e-3)],
        nothing=None,
    )
    Config(whole).dump(tmp_path / "config.py")
    assert read_dumped_config(tmp_path / "config.py") == whole


def test_nothing_in_a_config_is_run(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text(f"import os\nx = os.remove({str(path)!r})\ny = dict(z=[1, open])\n")
    assert read_dumped_config(path) == {}
    assert path.exists()
    path.write_text("x = (")
    with pytest.raises(ValueError, match="not a config as a run dumps it"):
        read_dumped_config(path)


@pytest.mark.parametrize(
    ("wrapper", "labels"),
    [
        (dict(type="lbbt_mm.RandomLabelDataset", ratio=1.0), "random"),
        (dict(type="lbbt_mm.RandomLabelDataset"), "random"),
        (dict(type="lbbt_mm.RandomLabelDataset", ratio=0.0), "true"),
        (dict(type="lbbt_mm.RandomLabelDataset", ratio=0.15), "15 % random"),
        (dict(type="RepeatDataset"), "true"),
        (dict(type="lbbt_mm.RotationDataset"), "self-made"),
        (dict(type="lbbt_mm.FewLabelDataset"), "true"),
        # A class of the user's: nobody can say what it does, without running it.
        (dict(type="MyRandomLabelDataset", ratio=0.5), "of MyRandomLabelDataset"),
        (dict(type="mine.Noisy", ratio=0.5), "of Noisy"),
    ],
)
def test_labels_and_images(wrapper: dict, labels: str) -> None:
    for found in (config(**wrapper), Config(config(**wrapper))):
        assert describe_labels(found) == labels
        assert describe_dataset(found) == "fashion-mnist"
        assert innermost_dataset(found, "train_dataloader")["indices"] == 100
        assert at(found, "train_dataloader", "no", "such") is None


def test_a_users_class_says_it_itself_where_it_can_be_looked_up() -> None:
    class Drawn(RandomLabelDataset):
        pass

    class Cleaned(DatasetWrapper):
        label_source = "kept"

    class Noisy(DatasetWrapper):
        pass

    classes = dict(Drawn=Drawn, Cleaned=Cleaned, Noisy=Noisy)

    def labels(name: str) -> str:
        found = config(type=name, ratio=0.5)
        return describe_labels(found, lambda node: classes.get(node["type"]))

    said = [labels(name) for name in (*classes, "lbbt_mm.RotationDataset")]
    assert said == ["50 % random", "true", "of Noisy", "self-made"]


def test_the_names_say_what_the_classes_say() -> None:
    """Of a config that is data, nothing is imported."""
    for name, source in dumped_config._LABELS.items():
        kind = find_type(f"lbbt_mm.{name}", DATASETS)
        assert getattr(kind, "label_source", source) == source
    assert find_type("lbbt_mm.LanguageInitHook", HOOKS).copies_language_blocks


def test_a_config_without_images_says_nothing() -> None:
    assert describe_labels({}) == describe_dataset({}) == ""


def test_one_spelling_for_a_dataset() -> None:
    names = ("fashion_mnist", "FashionMnist", "fashion-mnist", "Fashion MNIST")
    assert {plain_name(name) for name in names} == {"fashion-mnist"}
