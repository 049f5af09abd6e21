"""fit='select': evenly spaced channels of a block in a layer of another size."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import shapes
import torch
import transformers as hf
from shapes import BERT, FFN, GPT2, HEADS, WIDTH, Coded
from test_same_function import Stack, run, torch_layers
from torch import Tensor, nn
from torch.testing import assert_close

from lbbt_mm.language import open_checkpoint
from lbbt_mm.transplant import TransplantError, make_plan
from lbbt_mm.transplant.width import Selection, head_rows, uniform

NARROW, FEWER, HIDDEN = 24, 3, 80  # of shapes' 32, 4 and 128


def paper(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """uniform_element_selection of the authors' weight_selection.py."""
    for dim in range(tensor.dim()):
        if tensor.shape[dim] % shape[dim] == 0:
            step = tensor.shape[dim] // shape[dim]
            indices = torch.arange(shape[dim]) * step
        else:
            ends = torch.linspace(0, tensor.shape[dim] - 1, shape[dim])
            indices = torch.round(ends).long()
        tensor = torch.index_select(tensor, dim, indices)
    return tensor


@pytest.mark.parametrize(("length", "wanted"), [(768, 256), (768, 192), (3072, 2048)])
def test_the_channels_are_the_papers(length, wanted) -> None:
    assert (
        list(uniform(length, wanted)) == paper(torch.arange(length), (wanted,)).tolist()
    )
    assert len(set(uniform(length, wanted))) == wanted
    whole = torch.randn(length, 2)
    chosen = Selection((0, 1), hidden=uniform(length, wanted))
    assert_close(chosen.of("up.weight", whole), paper(whole, (wanted, 2)))


@pytest.mark.parametrize(
    ("sizes", "owners"),
    [
        ((12, 4, 8, 2), [0, 2, 3, 5, 6, 8, 9, 11]),  # GPT-2 in DETR: whole heads
        ((12, 4, 3, 4), [0, 4, 8]),  # in a ViT-T
        ((4, 4, 8, 2), [0, 0, 1, 1, 2, 2, 3, 3]),  # more heads share one
        ((4, 4, 6, 2), [0, 0, 1, 2, 2, 3]),
    ],
)
def test_whole_heads_first(sizes, owners) -> None:
    rows = head_rows(*sizes)
    assert [head[0] // sizes[1] for head in rows] == owners
    assert all(
        row // sizes[1] == owner
        for h, owner in zip(rows, owners, strict=True)
        for row in h
    )
    flat = [row for head in rows for row in head]
    assert len(flat) == len(set(flat)) == sizes[2] * sizes[3]


def test_wider_heads_take_several_and_too_many_are_none() -> None:
    assert head_rows(4, 2, 2, 4) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert head_rows(2, 4, 4, 2) == ((0, 2), (1, 3), (4, 6), (5, 7))
    assert head_rows(4, 4, 8, 4) is None
    assert head_rows(4, 2, 3, 4) is None


class Vision(nn.Module):
    """Decoder layers, a norm and positions, narrower than the language model."""

    def __init__(self, width=NARROW, heads=FEWER, hidden=HIDDEN, depth=3) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(width, heads, hidden, norm_first=True)
        layer.activation = nn.GELU(approximate="tanh")
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.positions = nn.Parameter(torch.zeros(1, 10, width))
        self.queries = nn.Embedding(10, width)


ACCEPT = ["width", "activation"]  # torch's inference kernel knows no tanh
SELECT = dict(module="layers", final_norm="norm", positions="positions", fit="select")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return shapes.make(GPT2, tmp_path_factory.mktemp("gpt2"))


def test_one_residual_stream_in_all_layers(gpt2) -> None:
    model = Vision()
    make_plan(model, Coded(gpt2[1].config), [SELECT], ACCEPT).apply(model)
    streams = [model.norm.weight, model.norm.bias, *model.positions[0] % 4096]
    for layer in model.layers:
        streams += [norm.weight for norm in (layer.norm1, layer.norm2, layer.norm3)]
        streams += [*layer.linear1.weight % 4096, *(layer.linear2.weight // 4096).T]
        for attention in (layer.self_attn, layer.multihead_attn):
            streams += [*attention.in_proj_weight % 4096, attention.out_proj.bias]
            streams += list((attention.out_proj.weight // 4096).T)
    expected = torch.tensor(uniform(WIDTH, NARROW)).float()
    assert {tuple(one.tolist()) for one in streams} == {tuple(expected.tolist())}


def test_queries_keys_values_and_output_agree_on_heads(gpt2) -> None:
    model = Vision()
    make_plan(model, Coded(gpt2[1].config), [SELECT], ACCEPT).apply(model)
    for attention in (model.layers[0].self_attn, model.layers[2].multihead_attn):
        rows = (attention.in_proj_weight[:, 0] // 4096).view(3, FEWER, -1)
        for third, n in zip(rows, range(3), strict=True):
            assert_close(third, rows[0] + n * WIDTH)
        assert_close(attention.in_proj_bias, rows.flatten())
        assert_close(attention.out_proj.weight[0] % 4096, rows[0].flatten())
        heads = rows[0] // (WIDTH // HEADS)
        assert heads[:, 0].tolist() == [0, 2, 3] and (heads == heads[:, :1]).all()
    hidden = model.layers[1].linear1.weight[:, 0] // 4096
    assert hidden.tolist() == list(uniform(FFN, HIDDEN))
    assert_close(model.layers[1].linear2.weight[0] % 4096, hidden)


def test_the_full_width_is_the_exact_copy(gpt2) -> None:
    exact, selected = Vision(WIDTH, HEADS, FFN), Vision(WIDTH, HEADS, FFN)
    accept = ["activation"]
    make_plan(exact, gpt2[1], [{**SELECT, "fit": "exact"}], accept).apply(exact)
    plan = make_plan(selected, gpt2[1], [SELECT], accept)
    report = plan.apply(selected)
    assert "width" not in plan.inexact and not report.selections
    got, expected = selected.state_dict(), exact.state_dict()
    del got["queries.weight"], expected["queries.weight"]
    assert_close(got, expected, rtol=0, atol=0)
    assert torch.equal(selected.positions[0].data, gpt2[1].positions()[:10])
    whole = Selection(
        tuple(range(WIDTH)), head_rows(HEADS, 8, HEADS, 8), uniform(FFN, FFN)
    )
    for part, tensor in gpt2[1].block(1).items():
        assert_close(whole.of(part, tensor), tensor, rtol=0, atol=0)


def _smaller(model: nn.Module, x: Tensor) -> Tensor:
    """Run transformers' own GPT-2 of the smaller sizes with the channels put in."""
    config = hf.GPT2Config(
        n_embd=NARROW, n_layer=3, n_head=FEWER, n_inner=HIDDEN, vocab_size=64,
        n_positions=64,
    )  # fmt: skip
    small = hf.GPT2Model(config).eval()
    stream = torch.linspace(0, WIDTH - 1, NARROW).round().long()
    inner = torch.linspace(0, FFN - 1, HIDDEN).round().long()
    rows = torch.cat([torch.arange(8) + 8 * head for head in (0, 2, 3)])
    qkv = torch.cat([rows, rows + WIDTH, rows + 2 * WIDTH])
    axes = {  # Conv1D keeps (in, out)
        "attn.c_attn.weight": (stream, qkv), "attn.c_attn.bias": (qkv,),
        "attn.c_proj.weight": (rows, stream), "mlp.c_fc.weight": (stream, inner),
        "mlp.c_fc.bias": (inner,), "mlp.c_proj.weight": (inner, stream),
    }  # fmt: skip
    for name, parameter in small.h.named_parameters():
        value = model.h.get_parameter(name)
        for axis, index in enumerate(axes.get(name.partition(".")[2], (stream,))):
            value = value.index_select(axis, index)
        parameter.data.copy_(value)
    small.config._attn_implementation = "sdpa"
    return shapes.run_blocks(small, x)


def test_it_computes_what_transformers_smaller_model_computes(gpt2) -> None:
    stack = Stack(torch_layers())
    stack.layers = nn.ModuleList(
        nn.TransformerEncoderLayer(
            NARROW, FEWER, HIDDEN, activation=stack.layers[0].activation,
            norm_first=True, batch_first=True,
        )
        for _ in range(3)
    )  # fmt: skip
    make_plan(stack, gpt2[1], [dict(module="layers", fit="select")], ["width"]).apply(
        stack
    )
    x = torch.randn(2, 7, NARROW)
    with torch.no_grad():
        expected = _smaller(gpt2[0], x)
    assert_close(run(stack.layers, x), expected, rtol=1e-4, atol=1e-5)


def test_the_report_says_which_channels(gpt2) -> None:
    model = Vision()
    plan = make_plan(model, gpt2[1], [SELECT], ACCEPT)
    report = plan.apply(model)
    assert (
        "24 (0, 1, 3, 4, ..., 31) of 32 channels; heads 0, 2, 3 of 4;"
        in (report.inexact["width"])
    )
    assert "80 (0, 2, 3, 5, ..., 127) of 128 hidden channels" in report.to_text()
    name = "24 channels, 3 heads of 8, 80 hidden channels"
    stored = report.to_dict()["selections"]
    assert list(stored[name]["stream"]) == list(uniform(WIDTH, NARROW))
    assert list(stored[name]["heads"][1]) == list(range(16, 24))
    used = {row["selection"] for row in report.copied}
    assert used == set(stored) == {name, "24 channels"}
    assert report.skipped == ["wte.weight"] and "positions" in report.to_text()
    # The hash is of the language model's parts, whatever is taken of them.
    wide = Vision(WIDTH, HEADS, FFN)
    whole = make_plan(wide, gpt2[1], [SELECT], ["activation"]).apply(wide)
    assert whole.sha256 == report.sha256


def refusal(model, checkpoint, **fields) -> str:
    with pytest.raises(TransplantError) as caught:
        make_plan(model, checkpoint, [{**SELECT, **fields}], ACCEPT)
    return str(caught.value)


def test_selection_is_asked_for_and_accepted(gpt2) -> None:
    said = refusal(Vision(), gpt2[1], fit="exact")
    assert "num_heads: expected 4" in said and said.count("fit='select'") == 1
    with pytest.raises(TransplantError, match="add 'width' to accept"):
        make_plan(Vision(), gpt2[1], [SELECT], ["activation"])
    assert "should be 'exact' or 'select'" in refusal(Vision(), gpt2[1], fit="any")


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (dict(width=40, heads=4), "width: 40 channels in the layer, 32 in the block"),
        (
            dict(hidden=200),
            "in the layer, 128 in the block; parts without 'ffn' fill the rest",
        ),
        (dict(width=32, heads=32), None),  # four share a head
    ],
)
def test_selection_makes_nothing_larger(sizes, words, gpt2) -> None:
    model = Vision(**sizes)
    if words is None:
        make_plan(model, gpt2[1], [SELECT], ACCEPT)
        return
    said = refusal(model, gpt2[1])
    assert words in said and "fit='select' in copies" not in said
    assert "fit='select' in copies" not in refusal(model, gpt2[1], fit="exact")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("norms", "an embedding of rows of at most 32 channels, got none"),
        ("norm.weight", r"got \[24\]"),
        (3, "positions .* should be the path"),
    ],
)
def test_positions_that_are_none(path, words, gpt2) -> None:
    assert re.search(words, refusal(Vision(), gpt2[1], positions=path))


def test_positions_of_an_embedding(gpt2) -> None:
    model = Vision()
    plan = make_plan(model, gpt2[1], [{**SELECT, "positions": "queries"}], ACCEPT)
    plan.apply(model)
    expected = gpt2[1].positions()[:10][:, list(uniform(WIDTH, NARROW))]
    assert torch.equal(model.queries.weight.data, expected)
    assert not model.positions.any()


def test_more_positions_than_the_language_model_has_are_interpolated(gpt2) -> None:
    model = Vision()
    model.queries = nn.Embedding(127, NARROW)
    said = refusal(model, gpt2[1], positions="queries")
    assert "queries.weight: 64 rows in" in said and "127 in the model" in said
    assert "add 'positions' to accept" in said
    copies = [{**SELECT, "positions": "queries"}]
    plan = make_plan(model, gpt2[1], copies, [*ACCEPT, "positions"])
    plan.apply(model)
    table = gpt2[1].positions()[:, list(uniform(WIDTH, NARROW))]
    assert_close(model.queries.weight[::2].data, table)
    assert_close(model.queries.weight[1::2].data, (table[1:] + table[:-1]) / 2)


# --------------------------------------------------------- how large activations stay


def _variances(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Of what ``linear1``, ``linear2`` and the whole layer put out, layer by layer."""
    found: list[float] = []
    hooks = [
        module.register_forward_hook(lambda m, i, out: found.append(out.var().item()))
        for layer in layers
        for module in (layer.linear1, layer.linear2, layer)
    ]
    run(layers, x)
    for hook in hooks:
        hook.remove()
    return torch.tensor(found).view(len(layers), 3)


@pytest.mark.parametrize("config", [GPT2, BERT], ids=["gpt2", "bert"])
def test_the_variance_of_activations(config, tmp_path) -> None:
    """Of a linear layer it falls with the share of inputs; the stream's stays.

    Random weights: a third of the channels leaves a third of the variance after the
    first layer of an FFN, a ninth after the second, and all of it in the stream.
    """
    options = dict(n_embd=192, n_head=6, hidden_size=192, intermediate_size=768)
    config = type(config)(**{**config.to_dict(), **options, "num_attention_heads": 6})
    torch.manual_seed(0)
    hf.AutoModel.from_config(config).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    kinds = dict(
        norm_first=config.model_type == "gpt2", batch_first=True, activation="gelu"
    )
    variances = []
    for width, heads, ffn in ((192, 6, 768), (64, 4, 256)):
        layer = nn.TransformerEncoderLayer(width, heads, ffn, dropout=0.0, **kinds)
        model = nn.Sequential(nn.ModuleList(copy.deepcopy(layer) for _ in range(3)))
        accept = [*ACCEPT, "norm_eps", "norm_order"]
        copies = [dict(module="0", fit="select")]
        make_plan(model, checkpoint, copies, accept).apply(model)
        with torch.no_grad():
            variances.append(_variances(model[0], torch.randn(8, 16, width)))
    ratios = variances[1] / variances[0] * torch.tensor([3, 9, 1])
    assert (ratios > 0.8).all() and (ratios < 1.25).all(), ratios


# ---------------------------------------------------------------- other families' FFNs


def _t5(folder: Path, **options) -> hf.PreTrainedModel:
    config = hf.T5Config(
        vocab_size=64, d_model=WIDTH, d_kv=8, num_heads=HEADS, d_ff=FFN, num_layers=3,
        **options,
    )  # fmt: skip
    model = hf.T5EncoderModel(config).eval()
    model.save_pretrained(folder)
    return model


def test_a_plain_ffn_without_biases_is_exact(tmp_path) -> None:
    """T5's is down(relu(up x)): with biases of zero, a stock layer computes it."""
    original = _t5(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    model = Vision(WIDTH, HEADS, FFN)
    for layer in model.layers:
        layer.activation = nn.ReLU()
        layer.activation_relu_or_gelu = 1
    with pytest.raises(TransplantError, match=r"RMSNorm.*parts=\['ffn'\] can be"):
        make_plan(model, checkpoint, [dict(module="layers")])
    plan = make_plan(model, checkpoint, [dict(module="layers", parts=["ffn"])])
    plan.apply(model)
    assert not plan.inexact and len(plan.rows) == 12
    x = torch.randn(4, WIDTH)
    for layer, block in zip(model.layers, original.encoder.block, strict=True):
        expected = block.layer[-1].DenseReluDense(x)
        got = layer.linear2(layer.linear1(x).relu())
        assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [None, ["ffn"], ["ffn", "norms"]])
def test_a_gated_ffn_is_refused_with_the_reason(parts, tmp_path) -> None:
    config = hf.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, vocab_size=64,
    )  # fmt: skip
    hf.LlamaModel(config).save_pretrained(tmp_path)
    fields = dict(parts=parts, positions=None, final_norm=None)
    said = refusal(Vision(), open_checkpoint(str(tmp_path)), **fields)
    assert "a product of two functions of x, which no plain FFN" in said
    assert ("rotary" in said) == (parts is None)


def test_nothing_of_a_gated_t5_remains(tmp_path) -> None:
    _t5(tmp_path, feed_forward_proj="gated-gelu")
    fields = dict(parts=["ffn"], positions=None, final_norm=None)
    said = refusal(Vision(), open_checkpoint(str(tmp_path)), **fields)
    assert "gated FFN" in said and "can be copied" not in said
