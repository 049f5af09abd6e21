"""A short trial of any config, by options that know nothing of its nesting."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BRIDGE = "bridge/smollm2-b8_language_random100_6e_mnist5k.py"
SORTED = "bridge/gpt2-medium_language_random100_400e_imagenet100.py"
FEW = "few_labels/gpt2-medium_language_labels1_400e_cifar10.py"
DETR = "detr/detr-r50_gpt2-medium_language_8xb2-150e_coco.py"
SEGMENTER = "segmenter/segmenter-vit-t_gpt2_language_8xb1-160k_ade20k.py"
LLAVA = "llava/llava-1.5-7b_language_stage1_llava-558k.py"


@pytest.fixture
def shortened(tool: Callable) -> Callable:
    """Read a shipped config as tools/train.py does with some options."""

    def read(name: str, *options: str):
        module = tool("train.py", str(CONFIGS / name), *options)
        return module._launch.load_config(module.parse_args(), may_be_trial=True)

    return read


def test_a_bridge(shortened) -> None:
    cfg = shortened(BRIDGE, "--images", "320", "--epochs", "2", "--blocks", "3")
    assert cfg.model.backbone.num_layers == cfg.num_layers == 3
    assert cfg.train_cfg.max_epochs == cfg.max_epochs == 2
    # Random labels are a function of the number of images: both passes see the same.
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert loader.dataset.dataset.indices == 320
    assert cfg.test_dataloader.dataset.indices == 320
    assert cfg.default_hooks.logger.interval == 2
    assert cfg.default_hooks.runtime_info.interval == 2
    assert cfg.work_dir.endswith("mnist5k_trial")


def test_images_that_are_sorted_by_class_and_few_labels(shortened) -> None:
    cfg = shortened(SORTED, "--images", "2000", "--epochs", "1")
    for dataset in (cfg.train_dataloader.dataset, cfg.val_dataloader.dataset):
        few = dataset.dataset
        assert (few.type, few.labels) == ("lbbt_mm.FewLabelDataset", 2000)
        assert (
            few.dataset.data_root == "data/imagenet100" and "dataset" not in few.dataset
        )
    assert [part.type for part in cfg.param_scheduler] == ["CosineAnnealingLR"]
    assert shortened(FEW, "--images", "90").train_dataloader.dataset.labels == 90


def test_layers_that_a_hook_fills(shortened, capsys) -> None:
    cfg = shortened(DETR, "--images", "64", "--epochs", "3", "--blocks", "2")
    assert cfg.model.encoder.num_layers == cfg.model.decoder.num_layers == 2
    assert [copy.blocks for copy in cfg.custom_hooks[-1].copies] == [[0, 1]] * 2
    assert cfg.train_dataloader.dataset.indices == 64
    assert cfg.param_scheduler[0].milestones == [2]
    # COCO's metric would count the images that nobody looked at.
    assert "indices" not in cfg.val_dataloader.dataset
    assert "all images are evaluated on" in capsys.readouterr().out


def test_iterations(shortened) -> None:
    cfg = shortened(SEGMENTER, "--images", "8", "--iterations", "40", "--blocks", "1")
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == 40
    assert cfg.val_dataloader.dataset.indices == 8
    assert cfg.model.decode_head.num_layers == 1
    assert cfg.default_hooks.logger.interval == 8


def test_a_longer_run_may_go_on_from_a_shorter_one(shortened) -> None:
    assert shortened(BRIDGE, "--epochs", "2").work_dir.endswith("_6e_mnist5k")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (SEGMENTER, ["--epochs", "1"], "counts in iterations; use --iterations"),
        (BRIDGE, ["--iterations", "1"], "counts in epochs; use --epochs"),
        (LLAVA, ["--images", "8"], r"at least 32, one batch.*batch_size=8"),
        (BRIDGE, ["--images", "0"], "expected a whole number above 0, got '0'"),
        ("../tiny.py", ["--blocks", "1"], "expects a LanguageBackbone or a LanguageI"),
    ],
)
def test_what_has_no_meaning_is_refused(
    shortened, project, capsys, name, options, message
) -> None:
    if name == "../tiny.py":
        name = str(project.config)
    with pytest.raises(SystemExit) as ended:
        shortened(name, *options)
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_trial_runs(ended, project) -> None:
    done = ended("train.py", "tiny.py", "--images", "4", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "4 images of custom, random labels" in done.stdout
    assert (project.root / "work_dirs/tiny_trial/epoch_1.pth").exists()
