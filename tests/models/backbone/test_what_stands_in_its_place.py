"""Whatever stands in a module's place is called: adapters, hooks, quantised layers."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.testing import assert_close

from lbbt_mm.models import LanguageBackbone

GPT2 = dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, vocab_size=96)
LLAMA = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=96,
)
# Paths of everything that multiplies, in both families.
LINEAR = re.compile(r"language\.blocks\.\d\.(qkv|out|up|gate|down)")


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    import transformers as hf

    folder = tmp_path_factory.mktemp("models")
    hf.GPT2Model(hf.GPT2Config(**GPT2)).save_pretrained(folder / "gpt2")
    hf.LlamaModel(hf.LlamaConfig(**LLAMA)).save_pretrained(folder / "llama")
    return {name: str(folder / name) for name in ("gpt2", "llama")}


@pytest.fixture(params=["gpt2", "llama"])
def backbone(request, sources) -> LanguageBackbone:
    """A backbone of the default kind, ``out_type='last'``, with visible weights."""
    torch.manual_seed(0)
    model = LanguageBackbone(
        sources[request.param], pretrained=False, img_size=32, patch_size=8
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if LINEAR.match(name) and parameter.ndim == 2:
                parameter.mul_(8)
    return model.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32)


def multiplying(model: nn.Module) -> list[str]:
    names = [n for n, m in model.named_modules() if LINEAR.fullmatch(n)]
    assert len(names) in (8, 10)  # four parts in two blocks; five with a gate
    return names


def test_lora_learns_everywhere_and_merges_exactly(backbone, images) -> None:
    names = multiplying(backbone)
    config = LoraConfig(target_modules=names, r=4, init_lora_weights=False)
    inject_adapter_in_model(config, backbone)
    adapted = backbone(images)[0]
    adapted.pow(2).sum().backward()
    for name in names:
        layer = backbone.get_submodule(name)
        for part in (layer.lora_A, layer.lora_B):
            assert part["default"].weight.grad.abs().max() > 0, name
    for module in backbone.modules():
        if isinstance(module, LoraLayer):
            module.merge()
    assert_close(backbone(images)[0], adapted, rtol=1e-3, atol=1e-4)


def test_forward_hooks_see_every_layer(backbone, images) -> None:
    before, seen = backbone(images)[0], []
    for name in [*multiplying(backbone), "patch_embed.projection"]:
        backbone.get_submodule(name).register_forward_hook(
            lambda module, inputs, out, name=name: seen.append(name) or out * 1.5
        )
    after = backbone(images)[0]
    assert sorted(seen) == sorted([*multiplying(backbone), "patch_embed.projection"])
    assert (after - before).abs().max() > 1e-3


@pytest.mark.parametrize("part", ["qkv", "out", "up", "down"])
def test_every_layers_output_matters_in_the_last_block(backbone, images, part) -> None:
    before = backbone(images)[0]
    layer = backbone.language.blocks[-1].get_submodule(part)
    layer.register_forward_hook(lambda module, inputs, out: torch.zeros_like(out))
    assert (backbone(images)[0] - before).abs().max() > 1e-4


def test_dynamic_quantisation_reaches_every_layer(backbone, images) -> None:
    quantised = torch.ao.quantization.quantize_dynamic(
        copy.deepcopy(backbone), {nn.Linear}, dtype=torch.qint8
    )
    for name in multiplying(backbone):
        assert not isinstance(quantised.get_submodule(name), nn.Linear), name
    exact = backbone(images)[0]
    error = (quantised(images)[0] - exact).norm() / exact.norm()
    assert 0 < error < 0.1


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore")
def test_weight_norm_changes_nothing_and_trains(backbone, images, wrap) -> None:
    exact = backbone(images)[0]
    for name in multiplying(backbone):
        wrap(backbone.get_submodule(name))
    found = backbone(images)[0]
    assert_close(found, exact, rtol=1e-4, atol=1e-4)
    found.pow(2).sum().backward()
    qkv = backbone.language.blocks[-1].qkv
    gradients = [p.grad for name, p in qkv.named_parameters() if "bias" not in name]
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_a_sequence_in_the_place_of_a_layer(backbone, images) -> None:
    exact = backbone(images)[0]
    block = backbone.language.blocks[-1]
    block.qkv = nn.Sequential(block.qkv, nn.Identity())
    assert_close(backbone(images)[0], exact)


def test_recomputing_calls_them_too(backbone, images) -> None:
    backbone.with_cp, calls = True, []
    backbone.language.blocks[-1].qkv.register_forward_hook(lambda *_: calls.append(1))
    backbone.train()(images)[0].sum().backward()
    assert len(calls) == 2
