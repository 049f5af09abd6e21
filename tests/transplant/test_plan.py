"""What a plan refuses, and what it says; nothing is copied before all is checked."""

from __future__ import annotations

import hashlib
import json

import pytest
import shapes
import torch
import transformers as hf
from shapes import BERT, DEPTH, FFN, GPT2, HEADS, WIDTH
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language import open_checkpoint
from lbbt_mm.transplant import LayerTarget, TransplantError, activations, make_plan
from lbbt_mm.transplant.selection import choose_blocks

MAPPING = dict(
    norm_order="pre",
    attn_norm="before",
    qkv=["q", "k", "v"],
    out="o",
    ffn_norm="between",
    up="ffn.0",
    activation="ffn.1",
    down="ffn.2",
    num_heads=HEADS,
)


class Layer(nn.Module):
    """A layer of nobody's, with its projections in three pieces."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        act = nn.GELU(approximate="tanh")
        self.ffn = nn.Sequential(nn.Linear(width, FFN), act, nn.Linear(FFN, width))


class Model(nn.Module):
    def __init__(self, depth: int = DEPTH, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(3, 4, 1)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return shapes.make(GPT2, tmp_path_factory.mktemp("gpt2"))[1]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return shapes.make(BERT, tmp_path_factory.mktemp("bert"))[1]


def entry(**fields):
    return dict(dict(module="layers", mapping=MAPPING), **fields)


def refusal(model, checkpoint, *copies, **options) -> str:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(TransplantError) as caught:
        make_plan(model, checkpoint, copies, **options)
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    message = str(caught.value)
    assert "\n" not in message and ".." not in message.replace("...", "")
    return message


def test_a_mapping_fills_a_layer_of_nobodys(gpt2) -> None:
    model = Model()
    report = make_plan(model, gpt2, [entry(final_norm="norm")]).apply(model)
    for index, layer in enumerate(model.layers):
        block = gpt2.block(index)
        rows = torch.cat([layer.q.weight, layer.k.weight, layer.v.weight])
        assert_close(rows.data, block["qkv.weight"], rtol=0, atol=0)
        assert_close(layer.ffn[2].bias.data, block["down.bias"], rtol=0, atol=0)
    assert_close(model.norm.weight.data, gpt2.norm("final_norm")["weight"])
    assert len(report.copied) == 16 * DEPTH + 2 and not report.left


def _hash_one_by_one(checkpoint) -> str:
    norm = checkpoint.norm("final_norm")
    named = {f"-1.final_norm.{kind}": tensor for kind, tensor in norm.items()}
    for index in range(DEPTH):
        block = checkpoint.block(index)
        named |= {f"{index}.{part}": block[part] for part in block}
    digest = hashlib.sha256()
    for name, tensor in sorted(named.items()):  # of fewer than ten blocks
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_each_block_is_read_once_however_many_layers_take_it(gpt2, monkeypatch):
    read: list[int] = []
    block = gpt2.block
    monkeypatch.setattr(gpt2, "block", lambda i: read.append(i) or block(i))
    cycled = entry(blocks=[0, 1, 2], cycle=True)
    make_plan(Model(4 * DEPTH), gpt2, [cycled]).apply(Model(4 * DEPTH))
    assert read == [0, 1, 2]


def test_the_report(gpt2) -> None:
    model = Model()
    plan = make_plan(model, gpt2, [entry(blocks=[2, 0, 1], final_norm="norm")])
    assert plan.report().sha256 is None and "to be copied" in plan.report().to_text()
    report = plan.apply(model)
    text = report.to_text()
    assert "layers.0  " in text and "block 2" in text and "last norm" in text
    assert "50 tensors copied" in text and report.sha256 in text
    stored = json.loads(json.dumps(report.to_dict()))
    row = stored["copied"][0]
    assert row["parameter"] == "layers.0.before.weight" and row["block"] == 2
    assert row["shape"] == [WIDTH] and stored["source"] == gpt2.source
    assert stored["skipped"] == ["wpe.weight", "wte.weight"]
    assert "2 of the language model's skipped" in text
    # The hash is of the language model: the same blocks, the same hash.
    straight = make_plan(model, gpt2, [entry(final_norm="norm")])
    assert straight.apply(Model()).sha256 == report.sha256
    without_norm = make_plan(model, gpt2, [entry()])
    assert without_norm.apply(Model()).sha256 != report.sha256
    assert report.sha256 == _hash_one_by_one(gpt2)
    skipped = make_plan(Model(1), gpt2, [entry(blocks=1)]).report().skipped
    assert {name.rpartition(".")[0] for name in skipped} > {"ln_f", "h.0.ln_1", "wte"}
    assert not any(name.startswith("h.1.") for name in skipped)


def test_the_checksum_is_of_the_model(gpt2) -> None:
    one, other = Model(), Model()
    plan = make_plan(one, gpt2, [entry()])
    plan.apply(one)
    assert plan.checksum(one) != plan.checksum(other)
    plan.apply(other)
    assert plan.checksum(one) == plan.checksum(other)


def test_every_problem_is_named_at_once(gpt2) -> None:
    narrow = Model(width=16)
    wrong = [entry(), entry(module="norm", mapping=None), entry(module="layer")]
    message = refusal(narrow, gpt2, *wrong)
    assert (
        "layers.0 to layers.2: qkv.weight: expected [96, 32], got [48, 16]" in message
    )
    assert "norm: LayerNorm is a class that no table describes" in message
    assert "no module 'layer'; did you mean layers" in message


@pytest.mark.parametrize(
    ("copies", "words"),
    [
        ([], "copies is empty"),
        ([dict(modules="layers")], "should be a dict with module, and may have others"),
        ([dict(mapping=MAPPING)], "should be a dict with module"),
        (["layers"], "should be a dict with module.*got 'layers'"),
        ([entry(module=0)], "module .* should be the path of a module.*got 0"),
        ([entry(final_norm=True)], "final_norm .* should be the path of a module"),
        ([entry(blocks="0:2")], "has 3 layers and blocks='0:2' are 2 blocks"),
        ([entry(blocks="0:4")], "chooses blocks that are not there"),
        ([entry(blocks="all")], "is no slice"),
        ([entry(blocks=[0, 1, 3])], "has blocks 0 to 2"),
        ([entry(blocks=[0, 1, 1.5])], "whole numbers"),
        ([entry(), entry(module="layers.1", blocks=0)], "layers.1.before.weight would"),
        ([entry(final_norm="conv")], "should be a LayerNorm of 32 channels"),
        ([entry(final_norm="layers.0.before")], "would be filled twice"),
        ([entry(cross_attention="yes")], "should be 'self'"),
        ([entry(mapping=dict(MAPPING, up="ffn.9"))], "has no ffn.9"),
        ([entry(mapping=dict(MAPPING, up="ffn.1"))], "no weight of its own there"),
        ([entry(mapping=3)], "should be a dict of a block's parts"),
        ([entry(mapping=dict(qkv="q"))], "missing: activation, attn_norm"),
        ([entry(mapping=dict(MAPPING, gate="q"))], "unknown: gate"),
        ([entry(mapping=dict(MAPPING, norm_order="both"))], "'pre' or 'post'"),
        ([entry(mapping=dict(MAPPING, num_heads=None))], "how many heads"),
        ([entry(mapping=dict(MAPPING, num_heads=8))], "expected 4.*got 8"),
    ],
)  # fmt: skip
def test_what_is_refused(copies, words, gpt2) -> None:
    import re

    assert re.search(words, refusal(Model(), gpt2, *copies))


@pytest.mark.parametrize("copies", [dict(module="layers"), "layers", None])
def test_copies_are_a_list(copies, gpt2) -> None:
    with pytest.raises(TransplantError, match=r"should be a list of dict\(module="):
        make_plan(Model(), gpt2, copies)


def test_a_last_norm_without_a_bias(gpt2) -> None:
    model = Model()
    model.norm.register_parameter("bias", None)
    message = refusal(model, gpt2, entry(final_norm="norm"))
    assert "should be a LayerNorm of 32 channels with a bias" in message


def test_an_unknown_word_in_accept(gpt2) -> None:
    message = refusal(Model(), gpt2, entry(), accept=["norms"])
    assert "a list of some of norm_order, activation" in message


def test_accepting_more_than_needed_is_noted(gpt2) -> None:
    plan = make_plan(Model(), gpt2, [entry()], accept=["activation"])
    assert not plan.inexact
    assert "accepted and not needed: activation" in plan.notes


def test_bert_has_no_last_norm(bert) -> None:
    mapping = dict(MAPPING, norm_order="post")
    message = refusal(
        Model(), bert, entry(mapping=mapping, final_norm="norm"),
        accept=["activation", "norm_eps"],
    )  # fmt: skip
    assert "does not have" in message


def test_families_of_another_function(tmp_path) -> None:
    config = hf.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, vocab_size=64,
    )  # fmt: skip
    hf.LlamaModel(config).save_pretrained(tmp_path)
    message = refusal(Model(), open_checkpoint(str(tmp_path)), entry())
    for reason in ("rotary", "gated", "RMSNorm"):
        assert reason in message
    assert "lbbt_mm.LanguageBackbone" in message


def test_more_layers_than_blocks(gpt2) -> None:
    message = refusal(Model(depth=5), gpt2, entry())
    assert "has 5 layers and the language model has 3 blocks" in message
    assert "cycle=True" in message
    plan = make_plan(Model(depth=5), gpt2, [entry(cycle=True)])
    assert [row.block for row in plan.rows[::16]] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (None, [0, 1, 2]),
        ("0:3", [0, 1, 2]),
        ("-3:", [9, 10, 11]),
        ("::4", [0, 4, 8]),
        ("2::-1", [2, 1, 0]),
        ([0, 4, -1], [0, 4, 11]),
    ],
)
def test_blocks(blocks, expected) -> None:
    assert choose_blocks(blocks, 12, 3, False, "layers") == expected


def test_layers_under_a_class_that_overrides_forward() -> None:
    class Other(nn.TransformerEncoderLayer):
        def forward(self, x):
            return x

    layer = Other(WIDTH, HEADS, FFN)
    with pytest.raises(TransplantError, match="computes something else than"):
        LayerTarget("encoder.0", layer)


def test_attention_with_a_token_of_its_own(gpt2) -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, FFN)
    layer.self_attn.add_zero_attn = True
    assert "add_zero_attn=True" in refusal(
        nn.Sequential(layer), gpt2, dict(module="0", blocks=0)
    )


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (lambda x: x * torch.sigmoid(x), "silu"),
        (nn.Tanh(), None),
        (len, None),
        (nn.Softmax(0), None),
    ],
)
def test_activations_are_known_by_their_values(activation, name) -> None:
    assert activations.name_of(activation) == name


def test_what_stands_around_the_blocks_of_a_bridge_is_named(tmp_path) -> None:
    """Only blocks are copied: its patch embedding has no place in a layer."""
    from lbbt_mm.models import LanguageBackbone

    bridge = LanguageBackbone("distilgpt2", False, num_layers=1, img_size=16)
    bridge.init_weights()
    saved = {f"backbone.{name}": value for name, value in bridge.state_dict().items()}
    torch.save(saved, tmp_path / "bridge.pth")
    model = Model(1, 768)
    model.layers[0].ffn = nn.Sequential(
        nn.Linear(768, 3072), nn.GELU(approximate="tanh"), nn.Linear(3072, 768)
    )
    copies = [dict(module="layers", mapping=dict(MAPPING, num_heads=12))]
    source = open_checkpoint(str(tmp_path / "bridge.pth"))
    report = make_plan(model, source, copies).apply(model)
    assert "patch_embed.projection.weight" in report.skipped
    assert "note: its patch_embed is not copied" in report.to_text()
