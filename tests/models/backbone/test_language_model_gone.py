"""A trained model on another machine: its language model's folder is not there."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language.errors import CheckpointError, MissingCheckpoint
from lbbt_mm.models import LanguageBackbone, MaskedLanguageBackbone
from lbbt_mm.probe.setup import build_frozen_model

SIZE = dict(img_size=16, patch_size=8)
IMAGE = np.random.RandomState(0).randint(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A small LLaMA that is no preset."""
    torch.manual_seed(0)
    config = hf.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=64,
        rope_theta=500.0,
    )
    hf.LlamaModel(config).save_pretrained(tmp_path / "llama")
    return str(tmp_path / "llama")


def backbone(folder: str, **options) -> dict:
    return dict(
        type="lbbt_mm.LanguageBackbone", language_model=folder, **(SIZE | options)
    )


def classifier(folder: str, **options) -> Config:
    pipeline = [dict(type="PackInputs")]
    return Config(
        dict(
            default_scope="mmpretrain",
            data_preprocessor=dict(num_classes=3),
            model=dict(
                type="ImageClassifier",
                backbone=backbone(folder, **options),
                head=dict(
                    type="LinearClsHead",
                    num_classes=3,
                    in_channels=32,
                    loss=dict(type="CrossEntropyLoss"),
                ),
            ),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )


def segmenter(folder: str) -> Config:
    pipeline = [dict(type="LoadImageFromFile"), dict(type="PackSegInputs")]
    return Config(
        dict(
            default_scope="mmseg",
            model=dict(
                type="EncoderDecoder",
                data_preprocessor=dict(type="SegDataPreProcessor"),
                backbone=backbone(folder, out_type="featmap"),
                decode_head=dict(
                    type="FCNHead",
                    in_channels=32,
                    channels=8,
                    num_classes=3,
                    num_convs=1,
                    norm_cfg=dict(type="BN"),
                ),
                test_cfg=dict(mode="whole"),
            ),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
            test_pipeline=pipeline,
            visualizer=dict(type="SegLocalVisualizer"),
        )
    )


def train(cfg: Config, folder: str, path: Path) -> dict:
    """Save what training would: weights, config and classes; the folder goes."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    model = MODELS.build(copy.deepcopy(cfg.model))
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    state = model.state_dict()
    classes = dict(classes=("a", "b", "c"), palette=[[0, 0, 0]] * 3)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=classes)
    torch.save(dict(state_dict=state, meta=meta), path)
    shutil.rmtree(folder)
    return state


def same(model: nn.Module, state: dict) -> None:
    found = model.state_dict()
    assert [*found] == [*state]
    for name, value in state.items():
        assert_close(found[name], value, rtol=0, atol=0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "epoch_1.pth"


def test_mmpretrain(folder, checkpoint, tmp_path) -> None:
    from mmpretrain import ImageClassificationInferencer, get_model

    cfg = classifier(folder)
    state = train(cfg, folder, checkpoint)
    model = get_model(copy.deepcopy(cfg), pretrained=str(checkpoint))
    same(model, state)
    assert model.backbone.language.config.rope_theta == 500.0
    cfg.dump(tmp_path / "config.py")
    inferencer = ImageClassificationInferencer(
        str(tmp_path / "config.py"), str(checkpoint), device="cpu"
    )
    same(inferencer.model, state)
    (found,) = inferencer(IMAGE)
    assert len(found["pred_scores"]) == 3


def test_mmseg(folder, checkpoint, tmp_path) -> None:
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    cfg = segmenter(folder)
    state = train(cfg, folder, checkpoint)
    model = init_model(copy.deepcopy(cfg), str(checkpoint), device="cpu")
    same(model, state)
    wanted = inference_model(model, IMAGE).pred_sem_seg.data
    cfg.dump(tmp_path / "config.py")
    inferencer = MMSegInferencer(
        str(tmp_path / "config.py"), str(checkpoint), device="cpu"
    )
    same(inferencer.model, state)
    found = inferencer(IMAGE, return_datasamples=True)
    assert torch.equal(found.pred_sem_seg.data, wanted)


def test_the_frozen_model_of_a_probe(folder, checkpoint) -> None:
    cfg = classifier(folder)
    state = train(cfg, folder, checkpoint)
    prefix = "backbone."
    wanted = {n[len(prefix) :]: v for n, v in state.items() if n.startswith(prefix)}
    same(build_frozen_model(cfg, str(checkpoint)).backbone, wanted)


def test_a_start_from_a_bridge(folder, checkpoint) -> None:
    state = train(classifier(folder), folder, checkpoint)
    start = dict(type="Pretrained", checkpoint=str(checkpoint), prefix="backbone.")
    model = LanguageBackbone(folder, **SIZE, init_cfg=start)
    model.init_weights()
    prefix = "backbone."
    same(model, {n[len(prefix) :]: v for n, v in state.items() if n.startswith(prefix)})


@pytest.mark.parametrize("kind", [LanguageBackbone, MaskedLanguageBackbone])
def test_mode_device_and_precision_of_the_empty_one_hold(folder, kind) -> None:
    options = dict(SIZE, position="sincos2d", trainable_layers="last:1")
    full = kind(folder, **options)
    full.init_weights()
    shutil.rmtree(folder)
    late = kind(folder, **options).eval().to(torch.float64)
    late.load_state_dict(full.state_dict())
    assert not late.language.training and late.embed_dims == 32
    assert {p.dtype for p in late.parameters()} == {torch.float64}
    frozen = [not p.requires_grad for p in full.parameters()]
    assert [not p.requires_grad for p in late.parameters()] == frozen
    image = torch.randn(1, 3, 16, 16)
    wanted = full.eval()(image)
    assert_close(late.float()(image), wanted)


def test_until_then_every_use_is_one_sentence(folder) -> None:
    shutil.rmtree(folder)
    late = LanguageBackbone(folder, **SIZE)
    late.load_state_dict({}, strict=False)
    for use in (
        late.init_weights,
        lambda: late(torch.zeros(1, 3, 16, 16)),
        lambda: late.embed_dims,
        lambda: late.language,
    ):
        with pytest.raises(MissingCheckpoint, match=r"There is no file.*load_from"):
            use()
    with pytest.raises(AttributeError):
        late.no_such_name  # noqa: B018
    assert copy.deepcopy(late).eval().state_dict() == {}


def test_a_checkpoint_without_a_record_says_what_helps(folder, checkpoint) -> None:
    state = train(classifier(folder), folder, checkpoint)
    late = LanguageBackbone(folder, **SIZE)
    bare = {
        name.removeprefix("backbone."): value
        for name, value in state.items()
        if not name.endswith("_extra_state")
    }
    with pytest.raises(CheckpointError, match="no record of their architecture"):
        late.load_state_dict(bare, strict=False)


def test_options_are_checked_against_the_checkpoint(folder, checkpoint) -> None:
    cfg = classifier(folder)
    train(cfg, folder, checkpoint)
    from mmengine.registry import MODELS

    cfg.model.backbone.out_indices = 5
    model = MODELS.build(cfg.model)
    with pytest.raises(ValueError, match="out_indices must name blocks"):
        load_checkpoint(model, str(checkpoint))


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What is logged while a backbone is built and filled."""
    from lbbt_mm.models.backbone import first_weights, late_architecture

    lines: list[str] = []
    for module in (first_weights, late_architecture):
        monkeypatch.setattr(module, "print_log", lambda text, **_: lines.append(text))
    return lines


def test_the_log_says_what_blocks_started_from(folder, said) -> None:
    """Also of a checkpoint that is loaded, whatever the config would start from."""
    scratch = LanguageBackbone(folder, **SIZE, pretrained=False)
    assert not any("scratch" in line for line in said)  # nothing has started yet
    scratch.init_weights()
    assert "start from scratch" in said[-1]
    language = LanguageBackbone(folder, **SIZE)
    language.init_weights()
    assert f"start from the weights of {folder}" in said[-1]

    said.clear()
    scratch.load_state_dict(language.state_dict())
    assert f"started from the weights of {folder}" in said[-1]
    assert not any("scratch" in line for line in said)
    language.language.reset_parameters()
    scratch.load_state_dict(language.state_dict())
    assert "started from scratch" in said[-1]


def test_a_folder_with_its_configuration_alone_serves_the_scratch_arm(folder) -> None:
    for path in Path(folder).glob("*.safetensors"):
        path.unlink()
    scratch = LanguageBackbone(folder, **SIZE, pretrained=False)
    scratch.init_weights()
    assert scratch.eval()(torch.zeros(1, 3, 16, 16))[0].shape == (1, 32)
    language = LanguageBackbone(folder, **SIZE)
    with pytest.raises(CheckpointError, match="config.json alone serves"):
        language.init_weights()
    language.load_state_dict(scratch.state_dict())
    language.require_weights()
