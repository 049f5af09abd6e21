"""One initial model: what the training of a config starts from, for every tool."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import transformers as hf
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.testing import assert_close

from lbbt_mm.hooks import LanguageInitHook
from lbbt_mm.measure.measured_model import MeasuredModel
from lbbt_mm.models.initial_model import build_initial_model
from lbbt_mm.probe.setup import build_frozen_model
from lbbt_mm.registry import HOOKS


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    """A ViT whose two layers are filled with GPT-2's blocks."""
    torch.manual_seed(0)
    gpt2 = hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=16, vocab_size=64)
    hf.GPT2Model(gpt2).save_pretrained(tmp_path / "gpt2")
    arch = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=128)
    return Config(
        dict(
            default_scope="mmpretrain",
            work_dir=str(tmp_path / "work"),
            randomness=dict(seed=5),
            model=dict(
                type="ImageClassifier",
                backbone=dict(
                    type="VisionTransformer", arch=arch, img_size=16, patch_size=8
                ),
                head=dict(
                    type="VisionTransformerClsHead", num_classes=2, in_channels=32
                ),
            ),
            data_preprocessor=dict(num_classes=2, mean=[0.0], std=[1.0]),
            custom_hooks=[
                dict(
                    type="lbbt_mm.LanguageInitHook",
                    language_model=str(tmp_path / "gpt2"),
                    copies=[dict(module="backbone.layers", blocks="0:2")],
                    accept=["activation", "norm_eps"],
                )
            ],
        )
    )


def differences(model: torch.nn.Module, other: torch.nn.Module) -> list[str]:
    found, wanted = model.state_dict(), other.state_dict()
    assert [*found] == [*wanted]
    return [name for name in found if not torch.equal(found[name], wanted[name])]


class Start(Exception):
    """The first batch would come now."""


class Stop(Hook):
    priority = "LOWEST"

    def before_train(self, runner) -> None:
        raise Start


def training_starts_from(cfg: Config) -> torch.nn.Module:
    images = [dict(inputs=torch.zeros(3, 16, 16), data_samples=None)] * 2
    runner = Runner.from_cfg(
        Config(
            dict(
                copy.deepcopy(cfg.to_dict()),
                train_cfg=dict(by_epoch=True, max_epochs=1),
                optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
                train_dataloader=dict(
                    batch_size=2,
                    dataset=images,
                    sampler=dict(type="DefaultSampler", shuffle=False),
                ),
            )
        )
    )
    runner.register_hook(Stop())
    with pytest.raises(Start):
        runner.train()
    return runner.model


def test_probe_analysis_and_training_have_the_same_one(cfg: Config) -> None:
    initial = build_initial_model(cfg)
    assert differences(initial, build_frozen_model(cfg, seed=5)) == []
    assert differences(initial, MeasuredModel(cfg).model) == []
    assert differences(initial, training_starts_from(cfg)) == []
    scratch = copy.deepcopy(cfg)
    scratch.custom_hooks[0].pretrained = False
    changed = differences(initial, build_initial_model(scratch))
    assert changed and all(name.startswith("backbone.layers.") for name in changed)


def test_a_subclass_of_the_hook_and_its_priority(cfg: Config) -> None:
    class MyStart(LanguageInitHook):
        """Of a user's."""

    HOOKS.register_module(module=MyStart)
    try:
        other = copy.deepcopy(cfg)
        other.custom_hooks[0].update(type="lbbt_mm.MyStart", priority="LOW")
        other.custom_hooks.append(dict(type="EMAHook"))
        assert differences(build_initial_model(cfg), build_initial_model(other)) == []
    finally:
        HOOKS.module_dict.pop("MyStart")


def test_load_from_is_said_by_all(cfg: Config) -> None:
    cfg.load_from = "start.pth"
    for build in (
        build_initial_model,
        build_frozen_model,
        lambda c: MeasuredModel(c).model,
    ):
        with pytest.raises(ValueError, match=r"has load_from='start.pth'.*checkpoint"):
            build(cfg)
    assert cfg.load_from == "start.pth"


def test_a_self_supervised_model_starts_as_in_training(cfg: Config) -> None:
    backbone = dict(
        type="lbbt_mm.MaskedLanguageBackbone", language_model="distilgpt2",
        pretrained=False, num_layers=1, img_size=16, patch_size=8, out_type="avg",
        position="sincos2d", attention="bidirectional",
    )  # fmt: skip
    neck = dict(
        type="MAEPretrainDecoder", num_patches=4, patch_size=8, embed_dim=768,
        decoder_embed_dim=32, decoder_depth=1, decoder_num_heads=4,
    )  # fmt: skip
    head = dict(
        type="MAEPretrainHead", patch_size=8,
        loss=dict(type="PixelReconstructionLoss", criterion="L2"),
    )  # fmt: skip
    cfg.model = dict(type="MAE", backbone=backbone, neck=neck, head=head)
    cfg.data_preprocessor = dict(mean=[0.0], std=[1.0])
    cfg.custom_hooks = []
    initial, probed = build_initial_model(cfg).backbone, build_frozen_model(cfg, seed=5)
    assert type(probed).__name__ == "ImageClassifier"
    for name, value in initial.named_parameters():
        assert_close(
            dict(probed.backbone.named_parameters())[name], value, rtol=0, atol=0
        )


def test_the_kernel_before_training_is_the_one_of_load_from(tmp_path: Path) -> None:
    backbone = dict(
        type="lbbt_mm.LanguageBackbone", language_model="distilgpt2", pretrained=False,
        num_layers=1, img_size=16, patch_size=8,
    )  # fmt: skip
    cfg = Config(dict(model=dict(type="ImageClassifier", backbone=backbone)))
    for name, seed in (("start", 1), ("end", 2)):
        model = build_initial_model(cfg, seed)
        torch.save(model.state_dict(), tmp_path / f"{name}.pth")
        if name == "start":
            kernel = model.backbone.patch_embed.projection.weight
    cfg.load_from = str(tmp_path / "start.pth")
    measured = MeasuredModel(cfg, str(tmp_path / "end.pth"))
    assert_close(measured.initial_kernel, kernel.detach(), rtol=0, atol=0)
