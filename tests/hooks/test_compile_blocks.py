"""Compiled blocks compute the same, without a break in their graph."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import lbbt_mm
from lbbt_mm.hooks import CompileHook

SIZES = dict(pretrained=False, num_layers=2, img_size=16, patch_size=8)
FAMILIES = ["gpt2", "HuggingFaceTB/SmolLM2-135M"]


def backbone(language_model: str = "gpt2", **options) -> lbbt_mm.LanguageBackbone:
    torch.manual_seed(0)
    built = lbbt_mm.LanguageBackbone(language_model, **SIZES, **options)
    built.init_weights()
    return built


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("language_model", FAMILIES)
def test_a_backbone_is_one_graph_in_training_and_in_evaluation(language_model) -> None:
    model = backbone(language_model, drop_path_rate=0.2)
    whole = torch.compile(model, fullgraph=True, backend="aot_eager")
    images = torch.randn(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        whole(images)[0].float().sum().backward()
    # Of the last block only the last token's queries are asked for.
    assert all(p.grad is not None for p in model.language.blocks.parameters())
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(whole(images)[0], model(images)[0])


def test_the_hook_compiles_blocks_and_renames_no_weight() -> None:
    compiled, plain = backbone(drop_rate=0.0), backbone(drop_rate=0.0)
    names = list(compiled.state_dict())
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    hook = CompileHook(backend=count)
    hook.before_train(SimpleNamespace(model=nn.ModuleList([compiled])))
    images = torch.randn(2, 3, 16, 16)
    for model in (compiled, plain):
        model.train()
        model(images)[0].sum().backward()
    assert graphs and list(compiled.state_dict()) == names
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_model_without_blocks_is_refused_unless_it_is_off() -> None:
    runner = SimpleNamespace(model=nn.Linear(2, 2))
    CompileHook(enabled=False).before_train(runner)
    with pytest.raises(ValueError, match="leave the hook out .compile_blocks=False"):
        CompileHook().before_train(runner)
