"""Schedulers follow the length of a run; mmengine's own runner takes what comes out."""

from __future__ import annotations

from pathlib import Path

import mmdet
import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from lbbt_mm.config import ConfigError, load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BRIDGE = CONFIGS / "bridge/gpt2-medium_language_random100_400e_cifar100.py"
SHORT = CONFIGS / "bridge/minilm_language_random100_6e_fashion-mnist.py"
SCENES = CONFIGS.parent / (
    "projects/fashion_scenes/configs/detr/"
    "detr-r18_small-gpt2_language_1xb8-2k_fashion-scenes.py"
)
COCO = Path(__file__).parent / "detr_50e.py"


def build(cfg: Config, epoch_length: int = 3) -> list:
    """Build the schedulers as Runner.build_param_scheduler does."""
    weights = [torch.nn.Parameter(torch.zeros(1))]
    wrapper = OptimWrapper(torch.optim.SGD(weights, lr=1.0))
    train = cfg.train_cfg
    epochs = train.get("max_epochs", 1)
    iters = train.get("max_iters", epochs * epoch_length)
    listed = cfg.param_scheduler
    built = []
    for one in listed if isinstance(listed, list) else [listed]:
        one = dict(one)
        one.setdefault("end", epochs if one.get("by_epoch", True) else iters)
        built.append(
            PARAM_SCHEDULERS.build(
                one, default_args=dict(optimizer=wrapper, epoch_length=epoch_length)
            )
        )
    return built


def test_the_loops_that_are_stood_in_for() -> None:
    assert EpochBasedTrainLoop is not IterBasedTrainLoop


@pytest.mark.parametrize("config", [BRIDGE, SHORT, COCO], ids=lambda p: p.stem[:20])
@pytest.mark.parametrize("key", ["train_cfg.max_epochs", "max_epochs"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 60])
def test_any_number_of_epochs_can_be_built(config, key, epochs) -> None:
    cfg = load_config(config, {key: epochs})
    assert cfg.train_cfg.max_epochs == cfg.max_epochs == epochs
    build(cfg)
    for one in cfg.param_scheduler:
        assert one.get("end", epochs) <= epochs


@pytest.mark.parametrize("key", ["train_cfg.max_iters", "max_iters"])
@pytest.mark.parametrize("iters", [1, 2, 50, 100, 150, 5000])
def test_any_number_of_iterations_can_be_built(key, iters) -> None:
    cfg = load_config(SCENES, {key: iters})
    build(cfg)
    assert cfg.param_scheduler[-1]["end"] == cfg.max_iters == iters
    if iters >= 150:  # the warm-up fits as it is
        assert cfg.param_scheduler[0]["end"] == 100


def test_the_warm_up_shrinks_only_where_it_does_not_fit(capsys) -> None:
    cfg = load_config(BRIDGE, {"train_cfg.max_epochs": 6})
    assert [s.get("end") for s in cfg.param_scheduler] == [5, None]
    cfg = load_config(BRIDGE, {"train_cfg.max_epochs": 3})
    assert [s.get("end") for s in cfg.param_scheduler] == [1, None]
    assert cfg.param_scheduler[1].begin == 1
    cfg = load_config(BRIDGE, {"train_cfg.max_epochs": 1})
    assert [s.type for s in cfg.param_scheduler] == ["CosineAnnealingLR"]
    assert cfg.param_scheduler[0].begin == 0


def test_one_line_says_so(monkeypatch) -> None:
    said = []
    monkeypatch.setattr("lbbt_mm.config.load.print_log", lambda m, **_: said.append(m))
    load_config(BRIDGE, {"train_cfg.max_epochs": 1})
    load_config(BRIDGE, {"train_cfg.max_epochs": 300})
    load_config(BRIDGE)
    assert said == [
        "train_cfg.max_epochs is 1 instead of 400; the schedulers follow: LinearLR "
        "left out, CosineAnnealingLR.begin 5 -> 0."
    ]


def test_what_is_set_itself_is_left_alone() -> None:
    cfg = load_config(BRIDGE, {"max_epochs": 10, "warmup_epochs": 9})
    assert [s.get("end") for s in cfg.param_scheduler] == [9, None]
    options = {"train_cfg.max_epochs": 10, "param_scheduler.0.end": 2}
    cfg = load_config(BRIDGE, options)
    assert cfg.param_scheduler[0].end == 2
    cfg = load_config(COCO, {"max_epochs": 60, "milestone": 59})
    assert cfg.param_scheduler[0].milestones == [59]


def test_milestones() -> None:
    cfg = load_config(COCO, {"train_cfg.max_epochs": 10})
    assert cfg.param_scheduler[0].milestones == [8]  # 40 of 50
    assert cfg.param_scheduler[0].end == 10
    cfg = load_config(COCO, {"train_cfg.max_epochs": 1})
    assert cfg.param_scheduler[0].milestones == []
    build(cfg)[0].step()


def test_a_child_that_shortens_the_run(tmp_path: Path) -> None:
    path = tmp_path / "child.py"
    path.write_text(f"_base_ = {str(BRIDGE)!r}\ntrain_cfg = dict(max_epochs=2)\n")
    cfg = load_config(path)
    build(cfg)
    assert cfg.param_scheduler[0].end == 1


STOCK = [
    (mmpretrain, "vision_transformer/vit-base-p16_64xb64_in1k.py"),
    (mmpretrain, "resnet/resnet18_8xb32_in1k.py"),
    (mmdet, "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"),
    (mmdet, "yolox/yolox_s_8xb8-300e_coco.py"),
    (mmdet, "rtmdet/rtmdet_s_8xb32-300e_coco.py"),
]


@pytest.mark.parametrize(("library", "name"), STOCK, ids=lambda p: str(p)[:30])
@pytest.mark.parametrize("epochs", [1, 4])
def test_other_libraries_configs(library, name: str, epochs: int) -> None:
    path = Path(library.__file__).parent / ".mim/configs" / name
    cfg = load_config(path, {"train_cfg.max_epochs": epochs})
    build(cfg, epoch_length=600)
    every = cfg.param_scheduler
    for one in every if isinstance(every, list) else [every]:
        if one.get("by_epoch", True):
            assert one.get("end", epochs) <= epochs
            assert one.get("T_max", 1) <= epochs


def test_a_variable_that_makes_a_begin_negative() -> None:
    path = Path(mmdet.__file__).parent / ".mim/configs/yolox/yolox_s_8xb8-300e_coco.py"
    cfg = load_config(path, {"max_epochs": 3})  # the last part: max_epochs - 15
    other = load_config(path, {"train_cfg.max_epochs": 3})
    assert cfg.param_scheduler == other.param_scheduler
    assert [s["begin"] for s in cfg.param_scheduler] == [0, 1, 2]


def test_variables_of_the_warm_up() -> None:
    cfg = load_config(BRIDGE, {"warmup_epochs": 0})  # mmengine: end > begin
    assert [s["type"] for s in cfg.param_scheduler] == ["CosineAnnealingLR"]
    build(cfg)
    with pytest.raises(ConfigError, match="begins at 500, .*max_epochs is 400"):
        load_config(BRIDGE, {"warmup_epochs": 500})
    with pytest.raises(ConfigError, match="begins at 500, .*max_epochs is 10"):
        load_config(BRIDGE, {"warmup_epochs": 500, "max_epochs": 10})


def test_parts_in_iterations_of_a_run_in_epochs() -> None:
    path = Path(mmpretrain.__file__).parent / ".mim/configs"
    path /= "shufflenet_v1/shufflenet-v1-1x_16xb64_in1k.py"
    cfg = load_config(path, {"train_cfg.max_epochs": 3})  # of 300; warm-up: 5000
    assert [s.get("begin", 0) for s in cfg.param_scheduler] == [0, 50]
    build(cfg, epoch_length=1251)
    # A warm-up that nothing waits for stays as it is.
    path = Path(mmdet.__file__).parent / ".mim/configs"
    path /= "retinanet/retinanet_r50_fpn_1x_coco.py"
    cfg = load_config(path, {"train_cfg.max_epochs": 1})
    assert cfg.param_scheduler[0]["end"] == 500
