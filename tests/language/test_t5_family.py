"""T5's encoder (Chronos): what it computes, how it starts, which files are it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from torch.testing import assert_close
from transformers.models.t5.modeling_t5 import T5Attention

from lbbt_mm.language import (
    CheckpointError,
    LanguageModel,
    language_config,
    open_checkpoint,
)
from lbbt_mm.language.layers import relative_bias
from lbbt_mm.language.residual import residual_rms, typical_word_embeddings

import tiny  # isort: skip

T5 = pytest.mark.parametrize("name", ["t5", "t5-gated"])
BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
TOKENS = 50  # more than relative_attention_max_distance


def load(source: str, layers: int | None = None, **options) -> LanguageModel:
    checkpoint = open_checkpoint(source)
    config = checkpoint.config.with_layers(layers)
    model = LanguageModel(config, initialise=False, **options)
    model.load(checkpoint)
    return model.eval()


def stages(model: LanguageModel, x: torch.Tensor) -> list[torch.Tensor]:
    """Run a stack; return its stream after each block, and the result."""
    seen: list[torch.Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(out))
    result = model(x)
    return [*seen, result]


# What it computes ---------------------------------------------------------------------


@T5
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_every_block_is_transformers(name: str, layers: int, tmp_path: Path) -> None:
    """The bias is stored in block 0; the blocks after it use it too."""
    reference = tiny.build(name)
    model = load(tiny.save(reference, tmp_path, "folder"), layers)
    reference.encoder.block = reference.encoder.block[:layers]
    x = torch.randn(2, TOKENS, 32)
    with torch.no_grad():
        expected = reference(inputs_embeds=x, output_hidden_states=True)
        *found, last = stages(model, x)
    # transformers lists the input first, and the normed output in the place of the
    # last block's.
    for ours, theirs in zip(found[:-1], expected.hidden_states[1:-1], strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert_close(last, expected.last_hidden_state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("buckets", "distance"), [(32, 128), (8, 20), (10, 7), (4, 3), (64, 1000)]
)
def test_every_distance_has_transformers_bucket(buckets: int, distance: int) -> None:
    config = hf.T5Config(
        d_model=8,
        d_kv=2,
        num_heads=3,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=distance,
    )
    reference = T5Attention(config, has_relative_attention_bias=True)
    table = reference.relative_attention_bias.weight.detach()
    for tokens in (1, 2, 300):
        expected = reference.compute_bias(tokens, tokens)[0].detach()
        assert_close(relative_bias(table, tokens, distance), expected, rtol=0, atol=0)


@T5
def test_causal_is_the_encoder_under_a_causal_mask(name: str, tmp_path: Path) -> None:
    reference = tiny.build(name)
    model = load(tiny.save(reference, tmp_path, "folder"), attention="causal")
    x = torch.randn(2, TOKENS, 32)
    unseen = torch.full((TOKENS, TOKENS), -math.inf).triu(1)

    def mask(module, args, kwargs):
        return args, {**kwargs, "mask": unseen[None, None]}

    # The first block's mask becomes part of the bias that the others are handed.
    first = reference.encoder.block[0].layer[0].SelfAttention
    first.register_forward_pre_hook(mask, with_kwargs=True)
    with torch.no_grad():
        expected = reference(inputs_embeds=x).last_hidden_state
        assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
        changed = torch.cat([x[:, :-1], torch.randn(2, 1, 32)], dim=1)
        assert_close(model(changed)[:, :-1], expected[:, :-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_the_last_token_alone_is_the_same(causal: bool, tmp_path: Path) -> None:
    model = load(tiny.save(tiny.build("t5"), tmp_path, "folder"))
    x = torch.randn(2, 9, 32)
    relative = model.relative_positions(x)
    block = model.blocks[1]
    whole = block(x, causal, relative)[:, -1:]
    assert_close(block(x, causal, relative, last_only=True), whole)


def test_positions_off_is_transformers_with_a_bias_of_zero(tmp_path: Path) -> None:
    reference = tiny.build("t5")
    model = load(tiny.save(reference, tmp_path, "folder"), use_positions=False)
    assert model.positions is None
    x = torch.randn(2, 9, 32)
    attention = reference.encoder.block[0].layer[0].SelfAttention
    with torch.no_grad():
        attention.relative_attention_bias.weight.zero_()
        expected = reference(inputs_embeds=x).last_hidden_state
        assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@T5
def test_bfloat16_follows_transformers(name: str, tmp_path: Path) -> None:
    reference = tiny.build(name)
    model = load(tiny.save(reference, tmp_path, "folder"))
    x = torch.randn(2, 9, 32)
    with torch.no_grad():
        exact = reference(inputs_embeds=x).last_hidden_state
        theirs = reference.bfloat16()(inputs_embeds=x.bfloat16()).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(x)
        ours = model.bfloat16()(x.bfloat16())
    assert ours.dtype == theirs.dtype == torch.bfloat16
    # As far from the truth as transformers is: eight bits of mantissa.
    error = (theirs.float() - exact).pow(2).mean().sqrt()
    for found in (ours, mixed):
        assert (found.float() - exact).pow(2).mean().sqrt() < 1.5 * error


def test_the_bias_takes_the_dtype_of_its_block(tmp_path: Path, monkeypatch) -> None:
    """Sharding casts block by block, and the bias is in none; torch 2.1 minds it."""
    model = load(tiny.save(tiny.build("t5"), tmp_path, "folder"))
    model.blocks.bfloat16()
    kernel, dtypes = F.scaled_dot_product_attention, []

    def spy(query, key, value, attn_mask, **options):
        dtypes.append((query.dtype, attn_mask.dtype))
        return kernel(query, key, value, attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    model(torch.randn(1, 9, 32, dtype=torch.bfloat16))
    assert dtypes == [(torch.bfloat16, torch.bfloat16)] * 3


@T5
def test_gradients_are_transformers_also_the_bias(name: str, tmp_path: Path) -> None:
    reference = tiny.build(name)
    model = load(tiny.save(reference, tmp_path, "folder"))
    x, weights = torch.randn(2, 9, 32), torch.randn(2, 9, 32)
    (model(x) * weights).sum().backward()
    (reference(inputs_embeds=x).last_hidden_state * weights).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    block, layer = model.blocks[2], reference.encoder.block[2].layer
    attention = layer[0].SelfAttention
    theirs = torch.cat([p.weight.grad for p in (attention.q, attention.k, attention.v)])
    assert_close(block.qkv.weight.grad, theirs, rtol=1e-3, atol=1e-4)
    expected = dict(reference.named_parameters())[BIAS].grad
    assert_close(model.positions.grad, expected, rtol=1e-3, atol=1e-4)


def test_dropout_stands_where_transformers_has_it(tmp_path: Path) -> None:
    """Count the numbers that a training pass asks the dropouts for."""
    reference = tiny.build("t5").train()
    model = load(tiny.save(reference, tmp_path, "folder")).train()

    def dropped(module: torch.nn.Module, run) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout) and part.p == 0.1:
                part.register_forward_hook(
                    lambda m, args, out: shapes.append(tuple(out.shape))
                )
        run()
        return shapes

    x = torch.randn(2, 9, 32)
    theirs = dropped(reference, lambda: reference(inputs_embeds=x))
    assert dropped(model, lambda: model(x)) == theirs
    assert model.config.attn_drop == 0.1
    still = load(tiny.save(reference, tmp_path, "folder"), drop_rate=0.0).train()
    assert_close(still(x), still(x), rtol=0, atol=0)


# How it starts ------------------------------------------------------------------------


@T5
def test_scratch_is_transformers_initialisation(name: str, tmp_path: Path) -> None:
    sizes = dict(d_model=96, d_kv=24, num_heads=8, d_ff=160, num_layers=2)
    fields = {**tiny.CONFIGS[name].to_dict(), **sizes, "initializer_factor": 0.05}
    fields.update(relative_attention_num_buckets=400)  # so many numbers to compare
    fields.update(relative_attention_max_distance=200)
    reference = hf.T5EncoderModel(hf.T5Config(**fields))
    reference.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    model = LanguageModel(checkpoint.config)
    rows = checkpoint.config.qkv_rows
    compared = 0
    for index in range(2):
        stored = checkpoint.block(index)
        drawn = dict(model.blocks[index].named_parameters())
        assert stored.keys() == drawn.keys()
        for part in stored:
            pieces = rows if part == "qkv.weight" else [len(stored[part])]
            pairs = zip(
                stored[part].split(pieces), drawn[part].split(pieces), strict=True
            )
            for theirs, ours in pairs:
                if part.endswith("norm.weight"):
                    assert_close(ours.detach(), theirs, rtol=0, atol=0)
                else:
                    # 15 000 and more numbers: a standard deviation to 0.6 %
                    assert ours.std().item() == pytest.approx(
                        theirs.std().item(), rel=0.03
                    )
                    assert abs(ours.mean()) < 0.05 * ours.std()
                compared += 1
    assert compared == 2 * (8 if name == "t5" else 9)
    theirs = checkpoint.positions().std().item()
    assert model.positions.std().item() == pytest.approx(theirs, rel=0.07)  # of 3200
    assert_close(
        model.final_norm.weight.detach(), checkpoint.norm("final_norm")["weight"]
    )


@pytest.mark.parametrize(
    ("size", "millions"),
    [("tiny", 8.4), ("mini", 20.5), ("small", 46), ("base", 201), ("large", 709)],
)
def test_chronos_presets_have_the_published_sizes(size: str, millions: float) -> None:
    """Of the whole T5: an encoder, a decoder that attends twice, one embedding."""
    config = language_config(f"amazon/chronos-t5-{size}")
    with torch.device("meta"):
        model = LanguageModel(config)
    encoder = sum(parameter.numel() for parameter in model.parameters())
    attention = 4 * config.width * config.qkv_rows[0] + config.width  # and its norm
    decoder = encoder + config.num_layers * attention
    total = encoder + decoder + config.vocab_size * config.width
    assert total / 1e6 == pytest.approx(millions, rel=5e-3)
    assert config.attention == "bidirectional"


def test_the_streams_size_is_measured(tmp_path: Path) -> None:
    source = tiny.save(tiny.build("t5"), tmp_path, "folder")
    model, words = load(source), typical_word_embeddings(open_checkpoint(source))
    assert words.shape[1] == 32
    full = residual_rms(model, words)
    with torch.no_grad():
        model.positions.mul_(50)  # all attend to the nearest few
    assert 0 < full != residual_rms(model, words)


# Which files are it -------------------------------------------------------------------


def refused(source: str, *words: str, read: bool = False) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint = open_checkpoint(source)
        if read:
            LanguageModel(checkpoint.config, initialise=False).load(checkpoint)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert message.isprintable()


def rewrite(folder: Path, change) -> str:
    """Save a folder's tensors again after ``change(tensors)``."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return str(folder)


@T5
@pytest.mark.parametrize("kind", [hf.T5Model, hf.T5ForConditionalGeneration])
def test_a_whole_t5_opens_and_its_decoder_is_left(name, kind, tmp_path: Path) -> None:
    whole = kind(tiny.CONFIGS[name]).eval()
    whole.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    x = torch.randn(1, 9, 32)
    with torch.no_grad():
        expected = whole.get_encoder()(inputs_embeds=x).last_hidden_state
        assert_close(load(str(tmp_path))(x), expected, rtol=1e-4, atol=1e-5)
    rows = whole.shared.weight[3:9].detach()
    assert_close(checkpoint.embedding_rows(3, 9), rows)
    assert any(key.startswith("decoder.") for key in checkpoint.other_names([0], None))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    hf.T5ForConditionalGeneration(tiny.CONFIGS["t5"]).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "key",
    [
        "decoder.block.1.layer.0.SelfAttention.lora_A.weight",
        "decoder.block.1.layer.3.layer_norm.weight",
        "decoder.blocks.1.layer.0.layer_norm.weight",
        "decoder.adapter.weight",
        "encoder.adapter.weight",
    ],
)
def test_keys_that_no_t5_has_are_refused(whole: Path, key: str) -> None:
    refused(rewrite(whole, lambda t: t.update({key: torch.ones(2)})), key, "adapter")


def test_keys_of_old_t5_files_are_known(whole: Path) -> None:
    """The first T5s carried copies of the embedding and an unused bias."""

    def old(tensors: dict) -> None:
        for stack in ("encoder", "decoder"):
            tensors[f"{stack}.embed_tokens.weight"] = torch.ones(96, 32)
        attention = "decoder.block.0.layer.1.EncDecAttention"
        tensors[f"{attention}.relative_attention_bias.weight"] = torch.ones(8, 4)
        tensors["lm_head.weight"] = torch.ones(96, 32)

    assert load(rewrite(whole, old)).config.num_layers == 3


def test_the_bias_belongs_to_the_first_block_only(whole: Path) -> None:
    key = BIAS.replace("block.0", "block.1")
    refused(
        rewrite(whole, lambda t: t.update({key: torch.ones(8, 4)})),
        "block 1",
        "relative_attention_bias",
        "not a part",
    )


def test_a_missing_or_misshapen_bias(whole: Path) -> None:
    refused(rewrite(whole, lambda t: t.pop(BIAS)), BIAS, "nothing", read=True)
    other = rewrite(whole, lambda t: t.update({BIAS: torch.ones(8, 5)}))
    refused(other, BIAS, "[8, 4]", "[8, 5]", read=True)


@pytest.mark.parametrize(
    ("key", "tensor", "words"),
    [
        ("layer.0.SelfAttention.v.weight", None, ["qkv.weight", "missing"]),
        ("layer.0.SelfAttention.k.weight", torch.ones(32, 48), ["(48, 32)"]),
        ("layer.0.SelfAttention.o.weight", torch.ones(48, 32), ["[32, 48]"]),
        ("layer.0.SelfAttention.q.bias", torch.ones(48), ["not a part"]),
        ("layer.1.layer_norm.weight", torch.ones(31), ["expected [32]", "got [31]"]),
        ("layer.1.layer_norm.bias", torch.ones(32), ["not a part"]),
        ("layer.1.DenseReluDense.wi_0.weight", torch.ones(40, 32), ["not a part"]),
        ("layer.2.layer_norm.weight", torch.ones(32), ["not a part"]),
    ],
)
def test_a_block_is_exact_or_refused(whole: Path, key, tensor, words) -> None:
    name = f"encoder.block.2.{key}"

    def change(tensors: dict) -> None:
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor

    refused(rewrite(whole, change), "block 2", *words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(num_heads=2), ["q.weight", "(24, 32)", "(48, 32)"]),
        # The same inner width: only the bias tells.
        (dict(num_heads=2, d_kv=24), [BIAS, "[8, 2]", "[8, 4]"]),
        (dict(d_kv=0), ["head_dim=0", "positive whole number"]),
        (dict(d_model=64), ["q.weight", "(48, 64)"]),
        (dict(num_layers=4), ["blocks 0 to 3", "3 blocks"]),
        (dict(d_ff=41), ["expected [41, 32], got [40, 32]"]),
        (dict(dropout_rate=1.5), ["embed_drop=1.5"]),
        (dict(initializer_factor=0.0), ["init_std=0.0", "above 0"]),
        (dict(relative_attention_num_buckets=16), [BIAS, "[16, 4]"]),
        (dict(relative_attention_num_buckets=3), ["relative_buckets=3", "4 or more"]),
        (dict(relative_attention_num_buckets=None), ["relative_buckets=None"]),
        (dict(relative_attention_num_buckets="8"), ["relative_buckets='8'"]),
        (dict(relative_attention_max_distance=2), ["relative_max_distance=2"]),
        (dict(feed_forward_proj="gated-gelu"), ["is_gated_act=False"]),
        (
            dict(feed_forward_proj="gated-gelu", is_gated_act=True),
            ["dense_act_fn='relu'", "'gelu_new'"],
        ),
        (dict(feed_forward_proj="glu-relu"), ["'glu-relu'", "'gated-' before it"]),
        (
            dict(feed_forward_proj="mish", dense_act_fn="mish"),
            ["'mish'", "the stack computes"],
        ),
        (dict(feed_forward_proj=["relu"]), ["of another kind"]),
        (dict(model_type="umt5"), ["'umt5'", "supported families"]),
    ],
)
def test_a_config_that_does_not_fit_a_t5(whole: Path, changes, words) -> None:
    path = whole / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refused(str(whole), *words, read=True)


def test_a_config_without_a_size(whole: Path) -> None:
    path = whole / "config.json"
    content = json.loads(path.read_text())
    del content["d_kv"]
    path.write_text(json.dumps(content))
    refused(str(whole), "lacks 'd_kv'", "t5 model needs")


def test_a_truncated_file(whole: Path) -> None:
    path = whole / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(str(whole), str(path), "cannot be read")


def test_gguf_is_refused_by_name(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(str(path), "t5")
    writer.add_block_count(3)
    writer.add_tensor("token_embd.weight", torch.ones(96, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused(str(path), "gguf file of a t5 model", "safetensors")


@T5
def test_a_checkpoint_of_ours_needs_no_other_file(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "t5"
    model = load(tiny.save(tiny.build(name), folder, "folder"), layers=2)
    stack = torch.nn.ModuleDict({"language": model})
    torch.save({"state_dict": stack.state_dict()}, tmp_path / "epoch_1.pth")
    (folder / "model.safetensors").unlink()
    again = load(str(tmp_path / "epoch_1.pth"))
    x = torch.randn(1, 9, 32)
    assert_close(again(x), model(x), rtol=0, atol=0)
    assert again.config == model.config


def test_a_state_dict_of_a_scaled_twin_is_refused() -> None:
    """The same shapes, another function: the record tells."""
    import dataclasses

    config = language_config("amazon/chronos-t5-tiny").with_layers(1)
    scaled = LanguageModel(dataclasses.replace(config, attn_scaled=True))
    with pytest.raises(CheckpointError, match="attn_scaled: False != True"):
        LanguageModel(config).load_state_dict(scaled.state_dict())
