"""A backbone out of its checkpoint alone, as a program of torch, and for timm."""

from __future__ import annotations

import json
import re
import runpy
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

import lbbt_mm
from lbbt_mm.export.__main__ import main
from lbbt_mm.language import CheckpointError

LLAMA = dict(
    model_type="llama",
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
    max_position_embeddings=32,
    vocab_size=32,
)
GPT2 = dict(
    model_type="gpt2", n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=32
)
NEOX = dict(  # over transformers' own layers
    model_type="gpt_neox",
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=32,
    vocab_size=32,
)
PIPELINE = [dict(type="LoadImageFromFile")]


def write(
    folder: Path, model: dict = GPT2, to_rgb: bool = True, **options: object
) -> Path:
    """Write a checkpoint as a run does; its language model is gone afterwards."""
    (folder / "lm").mkdir(parents=True)
    (folder / "lm/config.json").write_text(json.dumps(model))
    options = dict(patch_size=4, img_size=(8, 16), pretrained=False) | options
    options["language_model"] = str(folder / "lm")
    torch.manual_seed(0)
    backbone = lbbt_mm.LanguageBackbone(**options)
    backbone.init_weights()
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = {f"backbone.{n}": t for n, t in backbone.state_dict().items()}
    backbone = dict(type="lbbt_mm.LanguageBackbone", **options)
    cfg = Config(
        dict(
            model=dict(type="Their", backbone=backbone),
            data_preprocessor=dict(mean=[9, 10, 12], std=[50, 60, 70], to_rgb=to_rgb),
            test_dataloader=dict(dataset=dict(pipeline=PIPELINE)),
        )
    )
    file = folder / "epoch_1.pth"
    torch.save(dict(state_dict=state, meta=dict(cfg=cfg.pretty_text)), file)
    (folder / "lm/config.json").unlink()
    return file


def picture(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def export(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["export", *map(str, words)])
    main()


def test_features_of_an_own_image_in_three_lines(tmp_path: Path) -> None:
    file = write(tmp_path, out_type="avg")
    picture(30, 40).save(tmp_path / "cat.png")
    backbone = lbbt_mm.load_backbone(file)
    features = backbone(backbone.transform(tmp_path / "cat.png")[None])[-1]
    assert features.shape == (1, 16) and not backbone.training
    state = torch.load(file)["state_dict"]
    for name, tensor in backbone.state_dict().items():
        assert_close(tensor, state[f"backbone.{name}"], rtol=0, atol=0)
    whole = lbbt_mm.load_backbone(str(file), out_type="raw", img_size=16)
    assert whole(whole.transform(picture(9, 50))[None])[0].shape == (1, 16, 16)


def test_a_transform_is_the_one_of_training(tmp_path: Path) -> None:
    backbone = lbbt_mm.load_backbone(write(tmp_path))
    image = picture(8, 16)
    pixels = torch.from_numpy(np.array(image)).float()
    mean, std = torch.tensor([9, 10, 12]), torch.tensor([50, 60, 70])
    expected = ((pixels - mean) / std).permute(2, 0, 1)
    assert_close(backbone.transform(image), expected)
    assert_close(backbone.transform(np.array(image)), expected)
    # Without to_rgb a model sees files as mmcv reads them: blue first.
    other = lbbt_mm.load_backbone(write(tmp_path / "bgr", to_rgb=False))
    expected = ((pixels.flip(-1) - mean) / std).permute(2, 0, 1)
    assert_close(other.transform(image), expected)
    grey = lbbt_mm.models.trained_backbone.ImageTransform((4, 4), channels=1)
    assert grey(image).shape == (1, 4, 4)


def test_other_checkpoints_are_one_sentence(tmp_path: Path) -> None:
    file = write(tmp_path)
    content = torch.load(file)
    torch.save(dict(state_dict=content["state_dict"]), tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match="carries no config"):
        lbbt_mm.load_backbone(tmp_path / "bare.pth")
    torch.save(dict(state_dict={"a": torch.zeros(1)}), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="holds no LanguageBackbone"):
        lbbt_mm.load_backbone(tmp_path / "other.pth")
    with pytest.raises(ValueError, match="patch_sise"):
        lbbt_mm.load_backbone(file, patch_sise=4)
    with pytest.raises(CheckpointError, match="set patch_size and in_channels"):
        lbbt_mm.load_backbone(file, patch_size=8)
    asks = content["meta"]["cfg"].replace("lbbt_mm.LanguageBackbone", "os.system", 1)
    content["meta"]["cfg"] = asks
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="has no LanguageBackbone"):
        lbbt_mm.load_backbone(tmp_path / "evil.pth")
    inner = asks.replace("os.system", "lbbt_mm.LanguageBackbone").replace(
        "patch_size=4", "patch_size=4, init_cfg=dict(type='os.system', command='ls')"
    )
    content["meta"]["cfg"] = inner
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="asks for 'os.system'"):
        lbbt_mm.load_backbone(tmp_path / "evil.pth")


@pytest.mark.slow  # torch.export takes its time
@pytest.mark.parametrize("model", [LLAMA, NEOX], ids=["ours", "transformers"])
def test_a_program_needs_torch_only(
    model: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, model)
    out = tmp_path / "backbone.pt2"
    export(monkeypatch, file, out, "--to", "torch")
    backbone = lbbt_mm.load_backbone(file)
    images = torch.randn(5, 3, 8, 16)
    extra = {"transform.json": ""}
    program = torch.export.load(out, extra_files=extra)
    with torch.no_grad():
        assert_close(program.module()(images)[-1], backbone(images)[-1])
    assert json.loads(extra["transform.json"])["mean"] == [9, 10, 12]
    called = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert {getattr(op, "namespace", op.__module__) for op in called} <= {
        *("aten", "_operator")
    }


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(
            F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        )


class Block(nn.Module):
    def __init__(self, width: int, heads: int, ratio: float, norm: partial) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(width)
        self.attn = Attention(width, heads)
        hidden = int(width * ratio)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        inner = F.gelu(self.mlp.fc1(self.norm2(x)), approximate="tanh")
        return x + self.mlp.fc2(inner)


class VisionTransformer(nn.Module):
    """timm's, as far as it is asked for: its names, its order of operations."""

    def __init__(self, img_size, patch_size, in_chans, num_classes, global_pool,
                 embed_dim, depth, num_heads, mlp_ratio, class_token, fc_norm,
                 act_layer, norm_layer) -> None:  # fmt: skip
        super().__init__()
        assert not class_token and not fc_norm and act_layer == "gelu_tanh"
        self.pool = global_pool
        count = img_size[0] * img_size[1] // patch_size**2
        self.pos_embed = nn.Parameter(torch.zeros(1, count, embed_dim))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)
        self.blocks = nn.Sequential(
            *(Block(embed_dim, num_heads, mlp_ratio, norm_layer) for _ in range(depth))
        )
        self.norm = norm_layer(embed_dim)
        self.head = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2) + self.pos_embed
        x = self.norm(self.blocks(x))
        return self.head(x.mean(1) if self.pool == "avg" else x)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("timm", "timm.models", "timm.models.vision_transformer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[name].VisionTransformer = VisionTransformer


@pytest.mark.parametrize("position", ["language", "learned", "sincos2d", "none"])
@pytest.mark.parametrize("out_type", ["avg", "last"])
def test_timm_computes_the_same(
    position: str,
    out_type: str,
    tmp_path: Path,
    timm: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = dict(position=position, out_type=out_type, attention="bidirectional")
    file = write(tmp_path, **options)
    export(monkeypatch, file, tmp_path / "vit", "--to", "timm")
    model = runpy.run_path(str(tmp_path / "vit/load.py"))["load_model"]()
    images = torch.randn(2, 3, 8, 16)
    with torch.no_grad():
        expected = lbbt_mm.load_backbone(file)(images)[-1]
        found = model(images)
    assert_close(found if out_type == "avg" else found[:, -1], expected)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "its attention is causal"),
        (dict(model=NEOX), "its layers are transformers' own"),
        (dict(model=LLAMA, attention="bidirectional"), "RMSNorm.*gated.*silu.*rotary"),
        (dict(attention="bidirectional", out_indices=0), "not the last alone"),
        (dict(attention="bidirectional", img_size=(9, 16)), "4 does not divide"),
        (dict(attention="bidirectional", prefix_tokens="new"), "in front"),
        (
            dict(attention="bidirectional", window_size=1, global_blocks=1),
            "in windows",
        ),
    ],
)
def test_what_timm_would_compute_otherwise_is_refused(
    options: dict,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    file = write(tmp_path, **options)
    with pytest.raises(SystemExit) as ended:
        export(monkeypatch, file, tmp_path / "vit", "--to", "timm")
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert re.search(reason, said), said
    assert not (tmp_path / "vit").exists()
