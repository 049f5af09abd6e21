"""A backbone that starts from a bridge: all of its weights, or one clear sentence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.model import PretrainedInit
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language import CheckpointError
from lbbt_mm.models import LanguageBackbone
from lbbt_mm.models.pretrained import (
    load_part,
    require_same_blocks,
    split_pretrained,
)

TINY = dict(num_layers=1, img_size=16, patch_size=8, pretrained=False)


def backbone(checkpoint: Path, prefix: str | None = "backbone.", **options):
    init_cfg = dict(type="Pretrained", checkpoint=str(checkpoint))
    if prefix is not None:
        init_cfg["prefix"] = prefix
    return LanguageBackbone("distilgpt2", init_cfg=init_cfg, **{**TINY, **options})


def save(path: Path, state: dict, prefix: str = "backbone.") -> Path:
    head = {"head.fc.weight": torch.zeros(2, 768)}
    state = {f"{prefix}{name}": value for name, value in state.items()} | head
    torch.save(dict(state_dict=state, meta=dict(epoch=3)), path)
    return path


@pytest.fixture(scope="module")
def bridged() -> LanguageBackbone:
    model = LanguageBackbone("distilgpt2", **TINY)
    model.init_weights()
    return model


@pytest.mark.parametrize("saved_as", ["backbone.", "module.backbone."])
@pytest.mark.parametrize("prefix", ["backbone.", "backbone"])
def test_every_weight_comes_over(bridged, tmp_path, saved_as, prefix) -> None:
    path = save(tmp_path / "epoch_3.pth", bridged.state_dict(), saved_as)
    # Language weights need no language file either: there is none here.
    model = backbone(path, prefix, pretrained=True, trainable_layers="none")
    model.init_weights()
    for name, value in bridged.state_dict().items():
        assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    model.eval()(torch.zeros(1, 3, 16, 16))
    assert not any(p.requires_grad for p in model.parameters())


def test_a_checkpoint_of_the_backbone_alone(bridged, tmp_path) -> None:
    torch.save(bridged.state_dict(), tmp_path / "alone.pth")
    model = backbone(tmp_path / "alone.pth", prefix=None)
    model.init_weights()
    for name, value in bridged.state_dict().items():
        assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_missing_file_says_what_writes_it(tmp_path) -> None:
    with pytest.raises(CheckpointError) as caught:
        backbone(tmp_path / "epoch_400.pth").init_weights()
    said = str(caught.value)
    assert (
        "epoch_400.pth, found no such file" in said and "train what writes it" in said
    )
    assert "--cfg-options model.backbone.init_cfg.checkpoint=FILE" in said
    assert "\n" not in said


def test_nothing_is_left_as_it_was_drawn(bridged, tmp_path) -> None:
    state = bridged.state_dict()
    state.pop("language.blocks.0.qkv.weight")
    path = save(tmp_path / "torn.pth", state)
    with pytest.raises(
        CheckpointError,
        match=r"The LanguageBackbone in .*torn.* is not(.|\n)*0.qkv.weight",
    ):
        backbone(path).init_weights()
    deeper = save(tmp_path / "whole.pth", bridged.state_dict())
    with pytest.raises(CheckpointError, match="blocks.1"):
        backbone(deeper, num_layers=2).init_weights()


def test_wrong_prefix_shows_what_is_there(bridged, tmp_path) -> None:
    path = save(tmp_path / "b.pth", bridged.state_dict(), "encoder.")
    with pytest.raises(CheckpointError, match=r"named backbone\.\* in .*encoder\.pat"):
        backbone(path).init_weights()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list; expected a state dict"):
        backbone(tmp_path / "list.pth").init_weights()


@pytest.mark.parametrize("saved_as", ["backbone.", "_orig_mod.backbone.", "a.b."])
def test_a_prefix_that_was_forgotten_is_found(bridged, tmp_path, saved_as) -> None:
    path = save(tmp_path / "epoch_3.pth", bridged.state_dict(), saved_as)
    model = backbone(path, prefix=None)
    model.init_weights()
    for name, value in bridged.state_dict().items():
        assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_which_of_two_is_asked(bridged, tmp_path) -> None:
    both = {
        f"{who}.{name}": value
        for who in ("student", "teacher")
        for name, value in bridged.state_dict().items()
    }
    path = save(tmp_path / "two.pth", both, "")
    with pytest.raises(CheckpointError, match=r"student\.\*, teacher\.\*; say which"):
        backbone(path, prefix=None).init_weights()


def test_a_wrong_prefix_names_the_right_one(bridged, tmp_path) -> None:
    path = save(tmp_path / "b.pth", bridged.state_dict(), "encoder.")
    with pytest.raises(CheckpointError, match="One is there with prefix='encoder.'"):
        backbone(path).init_weights()


def test_the_checkpoint_of_another_model_in_few_words(bridged, tmp_path) -> None:
    path = save(tmp_path / "whole.pth", bridged.state_dict())
    for prefix in (None, "backbone."):
        with pytest.raises(CheckpointError, match="blocks.1") as caught:
            backbone(path, prefix, num_layers=3).init_weights()
        assert "21 more" in str(caught.value) and len(str(caught.value)) < 700


def test_an_address_is_loaded_as_mmengine_does(bridged, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = save(tmp_path / "epoch_3.pth", bridged.state_dict())
    address = "https://example.org/bridges/epoch_3.pth"
    fetched = []

    def fetch(url: str, target: str, **_) -> None:
        fetched.append(url)
        shutil.copy(path, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    model = backbone(address)
    model.init_weights()
    assert fetched == [address]
    wanted = bridged.patch_embed.projection.weight
    assert_close(model.patch_embed.projection.weight, wanted, rtol=0, atol=0)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_the_file_is_not_run(bridged, tmp_path) -> None:
    state = {f"backbone.{k}": v for k, v in bridged.state_dict().items()}
    bad = dict(state_dict=state, meta=Evil(tmp_path / "ran"))
    torch.save(bad, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="mkdir, which could run code"):
        backbone(tmp_path / "evil.pth").init_weights()
    assert not (tmp_path / "ran").exists()


def test_other_initialisers_go_first(tmp_path) -> None:
    pretrained = dict(type=PretrainedInit, checkpoint="a.pth")
    drawn = dict(type="Constant", layer="Conv2d", val=1.0)
    assert split_pretrained([pretrained, drawn]) == ([pretrained], [drawn])
    assert split_pretrained(pretrained) == ([pretrained], None)
    assert split_pretrained(None) == ([], None)

    source = LanguageBackbone("distilgpt2", **TINY)
    source.init_weights()
    path = save(tmp_path / "b.pth", source.state_dict())
    init_cfg = [
        dict(type="Pretrained", checkpoint=str(path), prefix="backbone."),
        drawn,
    ]
    model = LanguageBackbone("distilgpt2", init_cfg=init_cfg, **TINY)
    model.init_weights()
    kernel = model.patch_embed.projection.weight
    assert_close(kernel, source.patch_embed.projection.weight, rtol=0, atol=0)


def test_any_module() -> None:
    with pytest.raises(CheckpointError, match="found no such file"):
        load_part(nn.Linear(1, 1), "~/no/such/file.pth")


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("root", ["", "backbone."])
def test_a_checkpoint_of_another_depth_is_no_checkpoint_of_the_model(root, prefix):
    def model(depth):
        inner = nn.Module()
        inner.language = nn.Module()
        inner.language.blocks = nn.ModuleList(nn.Linear(1, 1) for _ in range(depth))
        return nn.ModuleDict({"backbone": inner}) if root else inner

    for depth in (1, 3):
        state = [f"{prefix}{name}" for name in model(depth).state_dict()]
        with pytest.raises(CheckpointError, match=f"builds 2: set num_layers={depth}"):
            require_same_blocks(model(2), state)
    require_same_blocks(model(2), [prefix + name for name in model(2).state_dict()])
    require_same_blocks(model(2), ["head.weight"])
