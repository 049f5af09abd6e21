"""Images, weights, a library that are not there: one sentence says what to get."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

PASCAL = "segmenter/segmenter-vit-t_gpt2_language_8xb1-160k_pascal-context59.py"
SHIPPED = {  # config -> the first thing that it misses, where to get it, where it goes
    "detr_gpt2init.py": (
        "data/coco/annotations/instances_train2017.json",
        "annotations_trainval2017.zip of https://cocodataset.org",
    ),
    PASCAL.replace("pascal-context59", "ade20k"): (
        "data/ade/ADEChallengeData2016/images/training",
        "places/ADEchallenge/ADEChallengeData2016.zip",
    ),
    PASCAL: (
        "data/VOCdevkit/VOC2010/ImageSets/SegmentationContext/train.txt",
        "2_dataset_prepare.md#pascal-context",
    ),
    PASCAL.replace("59", "60"): (
        "data/VOCdevkit/VOC2010/ImageSets/SegmentationContext/train.txt",
        "VOCtrainval_03-May-2010.tar",
    ),
}


@pytest.mark.parametrize("config", SHIPPED)
def test_images_that_are_not_there(config: str, project, failing) -> None:
    missing, source = SHIPPED[config]
    message = failing("train.py", config=project.repo / "configs" / config)
    assert f"train_dataloader expects {missing}, which does not exist" in message
    assert source in message and f"so that {missing} is there" in message
    assert not project.work_dir.exists(), "nothing was begun"


def test_scenes_are_made_not_downloaded(project, failing) -> None:
    name = "detr/detr-r18-postnorm_minilm_language_1xb8-2k_fashion-scenes.py"
    configs = project.repo / "projects/fashion_scenes/configs"
    message = failing("train.py", config=configs / name)
    assert "data/fashion_scenes/detection/train.json, which does not" in message
    assert "make these images with projects/fashion_scenes/make_scenes.py" in message
    assert not project.work_dir.exists(), "nothing was begun"


def test_images_to_test_on(project, failing) -> None:
    message = failing(
        "test.py", project.config, config=project.repo / "configs/detr_gpt2init.py"
    )
    assert "test_dataloader expects data/coco/annotations/instances_val2017" in message


def test_a_library_that_does_not_import(project, failing, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)
    message = failing("train.py", config=project.repo / "configs/detr_gpt2init.py")
    assert "detr_gpt2init.py needs mmdet>=3.2.0,<4.0, which does not import" in message
    assert message.endswith("bash tools/build_mmcv.sh && pip install onedl-mmdetection")
    assert not project.work_dir.exists(), "nothing was begun"


CLASSIFICATION = {  # config -> what it misses, where to get it
    "bridge/gpt2-medium_language_random100_400e_cifar10.py": (
        "data/cifar10/cifar-10-batches-py",
        "cifar-10-python.tar.gz elsewhere (from here: unplugged)",
    ),
    "bridge/gpt2-medium_language_random100_400e_cifar100.py": (
        "data/cifar100/cifar-100-python",
        "cifar-100-python.tar.gz",
    ),
    "bridge/minilm_language_random100_6e_fashion-mnist.py": (
        "data/fashion-mnist/train-images-idx3-ubyte.gz",
        "the four idx files of https://github.com/zalandoresearch",
    ),
    "bridge/gpt2-medium_language_random100_400e_tiny-imagenet.py": (
        "data/tiny-imagenet-200/wnids.txt",
        "tiny-imagenet-200.zip",
    ),
    "bridge/gpt2-medium_language_random100_100e_imagenet1k.py": (
        "data/imagenet/train",
        "ILSVRC2012_img_train.tar",
    ),
    "bridge/gpt2-medium_language_random100_400e_imagenet100.py": (
        "data/imagenet100/train",
        "make or copy these images",
    ),
    "../projects/fashion_scenes/configs/llava/"
    "llava-smollm2_language_stage1_plain-questions.py": (
        "data/plain_questions/captions.json",
        "make these images with projects/fashion_scenes/make_questions.py",
    ),
}


@pytest.fixture
def no_web(monkeypatch) -> None:
    def urlopen(*args, **kwargs):
        raise URLError("unplugged")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


@pytest.mark.parametrize("config", CLASSIFICATION)
@pytest.mark.parametrize("name", ["train.py", "linear_probe.py"])
def test_other_images_that_are_not_there(
    config: str, name: str, project, failing, no_web
) -> None:
    if name == "linear_probe.py" and "llava" in config:
        return
    missing, source = CLASSIFICATION[config]
    message = failing(name, config=project.repo / "configs" / config)
    assert f"train_dataloader expects {missing}, which does not exist" in message
    assert source.replace("unplugged", "<urlopen error unplugged>") in message
    assert not project.work_dir.exists(), "nothing was begun"


def test_stock_configs_with_three_lines_more(project, failing, no_web) -> None:
    import mmpretrain

    stock = Path(mmpretrain.__file__).parent / ".mim/configs/resnet"
    path = project.root / "three.py"
    path.write_text(
        f"_base_ = {str(stock / 'resnet50_8xb32_in1k.py')!r}\n"
        'backbone = dict(type="lbbt_mm.LanguageBackbone", language_model="gpt2")\n'
        "model = dict(backbone=dict(_delete_=True, **backbone), neck=None,\n"
        "             head=dict(in_channels=768))\n"
    )
    message = failing("train.py", config=path)
    assert "train_dataloader expects data/imagenet/train, which does not" in message


def test_what_downloads_itself_may(tool, project, monkeypatch) -> None:
    import contextlib

    module = tool("train.py", project.config)
    answer = contextlib.nullcontext()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: answer)
    images = dict(type="mmpretrain.CIFAR10", data_root="data/cifar10")
    cfg = dict(train_dataloader=dict(dataset=images))
    module._launch.check_images(cfg, "train_dataloader")
    images["download"] = False
    with pytest.raises(SystemExit, match="cifar-10-python.tar.gz, and unpack"):
        module._launch.check_images(cfg, "train_dataloader")
    (project.root / "data/cifar10/cifar-10-batches-py").mkdir(parents=True)
    module._launch.check_images(cfg, "train_dataloader")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            "../projects/fashion_scenes/configs/detr/"
            "detr-r18_small-gpt2_language_1xb8-2k_fashion-scenes.py",
            "work_dirs/small_gpt2, which .* make it with projects/small_gpt2/pretrain",
        ),
        (
            "../projects/fashion_scenes/configs/detr/"
            "detr-r18-postnorm_minilm_language_1xb8-2k_fashion-scenes.py",
            "tools/train.py projects/fashion_scenes/configs/backbone/resnet18_1xb16",
        ),
        (
            "finetune/gpt2-medium_language-bridged_true_100e_cifar10.py",
            "configs/bridge/gpt2-medium_language_random100_400e_cifar10.py",
        ),
    ],
)
def test_what_our_own_tools_make(tool, project, config: str, message: str) -> None:
    module = tool("train.py", project.config)
    cfg = Config.fromfile(project.repo / "configs" / config)
    for hook in [h for h in cfg.custom_hooks if "small" in config and "copies" in h]:
        cfg = dict(custom_hooks=[hook])
    with pytest.raises(SystemExit, match=message):
        module._launch.check_prerequisites(cfg)
    module._launch.check_prerequisites(dict(model=dict(checkpoint="gpt2")))


def test_images_of_ones_own_are_not_on_the_web(project, failing) -> None:
    options = [
        f"{loader}_dataloader.dataset.{key}"
        for loader in ("train", "val")
        for key in ("data_root=mine", "ann_file=boxes.json", "data_prefix.img=a")
    ]
    config = project.repo / "configs/detr_gpt2init.py"
    message = failing("train.py", "--cfg-options", *options, config=config)
    assert "mine/boxes.json, which does not exist" in message
    assert "http" not in message and "set train_dataloader.dataset.data_root" in message


def test_images_that_are_there_are_not_missed(tool, project) -> None:
    from mmengine.config import Config

    module = tool("train.py", project.config)
    cfg = Config.fromfile(project.repo / "configs/detr_gpt2init.py")
    for split in ("train2017", "val2017"):
        (project.root / "data/coco" / split).mkdir(parents=True)
    annotations = project.root / "data/coco/annotations"
    annotations.mkdir()
    for split in ("train", "val"):
        (annotations / f"instances_{split}2017.json").write_text(json.dumps({}))
    module._launch.prepare_dataloaders(cfg, "train_dataloader", "val_dataloader")
    # Elsewhere is not ours to look.
    cfg.train_dataloader.dataset.data_root = "s3://bucket/coco"
    module._launch.prepare_dataloaders(cfg, "train_dataloader")


@pytest.fixture
def unplugged(monkeypatch, tmp_path) -> Path:
    """No network, and nothing in the cache; returns the folder of the cache."""

    def download(url: str, path: str, progress: bool) -> None:
        raise URLError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return tmp_path / "hub" / "checkpoints"


def test_weights_that_are_not_there(project, failing, unplugged) -> None:
    url = "https://example.org/pretrain/vit_tiny.pth"
    message = failing(
        "train.py",
        "--cfg-options",
        "model.backbone.init_cfg.type=Pretrained",
        f"model.backbone.init_cfg.checkpoint={url}",
    )
    assert f"The weights {url} are not on this machine" in message
    assert "Network is unreachable" in message
    assert f"put it at {unplugged / 'vit_tiny.pth'}" in message
    assert message.endswith("--cfg-options model.backbone.init_cfg.checkpoint=FILE.")


def test_weights_by_the_name_of_torchvision(unplugged) -> None:
    with pytest.raises(RuntimeError) as caught:
        CheckpointLoader.load_checkpoint("torchvision://resnet50")
    assert "https://download.pytorch.org/models/resnet50-" in str(caught.value)
    assert f"put it at {unplugged / 'resnet50-'}" in str(caught.value)


def test_weights_that_were_put_there_are_taken(unplugged) -> None:
    unplugged.mkdir(parents=True)
    torch.save(dict(a=torch.ones(2)), unplugged / "vit.pth")
    loaded = CheckpointLoader.load_checkpoint("https://example.org/x/vit.pth")
    assert torch.equal(loaded["a"], torch.ones(2))
