"""A work folder says which model and which labels its run has."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbbt_mm.config.run_name import run_name

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BRIDGE = "bridge/gpt2-medium_language_random100_400e_cifar10"
FEW = "few_labels/gpt2-medium_language_labels1_400e_cifar10"
TUNED = "finetune/gpt2-medium_language-bridged_true_100e_cifar10"
DETR = "detr/detr-r50_gpt2-medium_language_8xb2-150e_coco"
QWEN = "sharded/qwen3-8b_language_random100_400e_cifar10"


@pytest.mark.parametrize(
    ("config", "options", "name"),
    [
        (BRIDGE, {}, "gpt2-medium_language_random100_400e_cifar10"),
        (BRIDGE, dict(random_ratio=1), "gpt2-medium_language_random100_400e_cifar10"),
        (BRIDGE, dict(max_epochs=9, lr=1.0, seed=3, data_root="x"), Path(BRIDGE).name),
        (BRIDGE, {"randomness.seed": 1}, Path(BRIDGE).name),
        (BRIDGE, dict(pretrained=False), "gpt2-medium_scratch_random100_400e_cifar10"),
        (
            BRIDGE,
            dict(random_ratio=0.15, pretrained=False),
            "gpt2-medium_scratch_random15_400e_cifar10",
        ),
        (BRIDGE, dict(random_ratio=0), "gpt2-medium_language_true_400e_cifar10"),
        (
            BRIDGE,
            dict(trainable_layers="first:5"),
            "gpt2-medium_language-first5_random100_400e_cifar10",
        ),
        (
            BRIDGE,
            dict(trainable_layers=[0, 3]),
            "gpt2-medium_language-0-3_random100_400e_cifar10",
        ),
        (
            BRIDGE,
            dict(language_model="amazon/chronos-t5-large"),
            "chronos-t5-large_language_random100_400e_cifar10",
        ),
        (
            QWEN,
            dict(language_model="Qwen/Qwen3-14B", num_layers=40, width=5120),
            "qwen3-14b_language_random100_400e_cifar10",
        ),
        (
            FEW,
            dict(labels=0.1, bridge_checkpoint="a/b.pth"),
            "gpt2-medium_language-bridged_labels10_400e_cifar10",
        ),
        (FEW, dict(labels=100), "gpt2-medium_language_100labels_400e_cifar10"),
        (TUNED, dict(bridge_checkpoint="a/b.pth"), Path(TUNED).name),
        (
            TUNED,
            dict(bridge_checkpoint="a/b.pth", trainable_layers="first:5"),
            "gpt2-medium_language-bridged-first5_true_100e_cifar10",
        ),
        (
            DETR,
            dict(pretrained=False),
            "detr-r50_gpt2-medium_scratch_8xb2-150e_coco",
        ),
        ("detr_gpt2init", dict(pretrained=False), "detr_gpt2init_scratch"),
    ],
)
def test_name(config: str, options: dict, name: str) -> None:
    assert run_name(CONFIGS / f"{config}.py", options) == name


def test_a_name_of_ones_own_grows(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = {str(CONFIGS / (BRIDGE + '.py'))!r}\n")
    options = dict(random_ratio=0.3, trainable_layers="last:1", language_model="a/B.c")
    assert run_name(path, options) == "mine_b.c_last1_random30"
    assert run_name(path, dict(random_ratio="x y/z")) == "mine_random-x-y-z"


def test_the_tools_use_it(tool, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    tool("train.py")
    import _launch

    args = argparse.Namespace(
        config=str(CONFIGS / f"{BRIDGE}.py"),
        cfg_options=dict(pretrained=False),
        device=None,
        work_dir=None,
    )
    found = _launch.load_config(args).work_dir
    assert found == "work_dirs/gpt2-medium_scratch_random100_400e_cifar10"
