"""LoRA in the blocks: alone and beside blocks that train, saved, resumed and merged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.testing import assert_close

from lbbt_mm.language import CheckpointError, open_checkpoint
from lbbt_mm.models import LanguageBackbone
from lbbt_mm.models.backbone import lora
from lbbt_mm.models.pretrained import load_part

SMALL = dict(img_size=16, patch_size=8, out_type="avg", drop_rate=0.0)
ALONE = dict(lora=dict(r=2, lora_alpha=6), trainable_layers="patch_embed")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    import transformers as hf

    torch.manual_seed(0)
    config = hf.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=96,
    )
    path = tmp_path_factory.mktemp("llama")
    hf.LlamaModel(config).save_pretrained(path)
    return str(path)


def make(source: str, **options) -> LanguageBackbone:
    torch.manual_seed(1)
    backbone = LanguageBackbone(source, **(SMALL | options))
    backbone.init_weights()
    return backbone


def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def trained(backbone: LanguageBackbone, steps: int = 3) -> LanguageBackbone:
    weights = [p for p in backbone.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        (backbone.train()(images())[0] - 1).square().mean().backward()
        optimizer.step()
    return backbone.eval()


def test_it_starts_as_the_language_model_and_computes_as_peft(source) -> None:
    ours, plain = make(source, **ALONE).eval(), make(source).eval()
    checkpoint = open_checkpoint(source)
    for index, block in enumerate(ours.language.blocks):
        stored = checkpoint.block(index)
        assert_close(block.qkv.base_layer.weight.detach(), stored["qkv.weight"])
        assert block.qkv.lora_B["default"].weight.abs().sum() == 0
    plain.patch_embed.load_state_dict(ours.patch_embed.state_dict())
    assert_close(ours(images()), plain(images()))
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["qkv", "out"])
    inject_adapter_in_model(config, plain.language.blocks)
    learnt = trained(ours)
    assert (learnt(images())[0] - plain(images())[0]).abs().max() > 1e-3
    plain.load_state_dict(learnt.state_dict())
    assert_close(plain.eval()(images()), learnt(images()))


@pytest.mark.parametrize("distribution", ["family", "mimetic"])
def test_from_scratch_the_layers_inside_are_drawn(source, distribution) -> None:
    options = dict(pretrained=False, initial_distribution=distribution)
    block = make(source, **options, **ALONE).language.blocks[0]
    wanted = make(source, **options).language.blocks[0]
    assert block.qkv.lora_B["default"].weight.abs().sum() == 0
    assert float(block.qkv.base_layer.weight.detach().std()) == pytest.approx(
        float(wanted.qkv.weight.detach().std()), rel=0.1
    )


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        (dict(trainable_layers="patch_embed"), set()),
        (dict(trainable_layers="last:1"), {2}),
        (dict(trainable_layers="none+lora"), set()),
        (dict(trainable_layers="patch_embed", out_indices=1), set()),
        (dict(trainable_layers="last:1", with_cp=True), {2}),
    ],
)
def test_what_trains(source, options, blocks) -> None:
    backbone = make(source, lora=dict(r=2, blocks=[0, 1]), **options).train()
    backbone(images())[0].square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if ".blocks." in name:
            number = int(name.split(".")[2])
            assert parameter.requires_grad == (".lora_" in name or number in blocks)
    assert not any(
        ".lora_" in n for n, _ in backbone.language.blocks[2].named_parameters()
    )
    assert backbone.patch_embed.projection.weight.requires_grad == (
        "none" not in options["trainable_layers"]
    )


def test_none_freezes_it_too(source) -> None:
    backbone = make(source, lora=dict(r=2), trainable_layers="none")
    assert not any(p.requires_grad for p in backbone.parameters())


def saved(backbone: LanguageBackbone, path: Path) -> str:
    state = {f"backbone.{name}": v for name, v in backbone.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(epoch=3)), path)
    return str(path)


def test_a_checkpoint_goes_on_and_is_merged(source, tmp_path) -> None:
    bridge = trained(make(source, **ALONE))
    wanted = bridge(images())
    path = saved(bridge, tmp_path / "bridge.pth")
    again = make(source, **ALONE).eval()
    load_part(again, path, "backbone.")
    assert_close(again(images()), wanted, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="holds LoRA.*merge it first"):
        open_checkpoint(path)
    with pytest.raises(CheckpointError, match="LoRA in .*merge it: python -m lbbt_mm"):
        make(source).load_state_dict(bridge.state_dict())

    target = tmp_path / "merged.pth"
    command = [
        sys.executable,
        "-m",
        "lbbt_mm.models.backbone.merge_lora",
        path,
        str(target),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "without LoRA" in said.stdout
    plain = make(str(target)).eval()  # as a language model, with its patch embedding
    assert_close(plain(images()), wanted, rtol=1e-4, atol=1e-5)
    assert "lora" not in open_checkpoint(str(target)).record["use"]
    assert torch.load(target, weights_only=True)["meta"] == dict(epoch=3)
    with pytest.raises(CheckpointError, match="no LanguageBackbone with LoRA"):
        lora.merged(plain.state_dict(), "it")
    # A plain bridge starts one with LoRA.
    further = make(source, **ALONE).eval()
    further.load_state_dict(plain.state_dict())
    assert_close(further(images()), wanted, rtol=1e-4, atol=1e-5)


def test_scale_is_pefts(source, tmp_path) -> None:
    options = dict(lora=dict(r=4, lora_alpha=6, use_rslora=True))
    bridge = trained(make(source, trainable_layers="patch_embed", **options))
    plain = make(source).eval()
    plain.load_state_dict(lora.merged(bridge.state_dict(), "it"))
    assert_close(plain(images()), bridge(images()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(lora=dict(r=2)), "trains all: set it to 'patch_embed'"),
        (ALONE | dict(lora=8), "lora must be a dict"),
        (ALONE | dict(lora=dict(rank=2)), "arguments of peft.LoraConfig"),
        (ALONE | dict(lora=dict(r=2, blocks=[5])), "blocks from 0 to 2"),
        (ALONE | dict(lora=dict(target_modules=["nix"])), "target_modules among qkv"),
        (ALONE | dict(lora=dict(r=2, use_dora=True)), "are not merged here"),
    ],
)
def test_what_does_not_fit_is_one_sentence(source, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(source, **options)


def test_without_peft_one_sentence_says_so(source, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"LanguageBackbone\(lora=.*needs peft"):
        make(source, **ALONE)
    make(source)
