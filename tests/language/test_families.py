"""Every family by table: each block computes what transformers computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch.testing import assert_close

from lbbt_mm.analysis.language_weights import language_model_weights
from lbbt_mm.language import (
    CheckpointError,
    LanguageModel,
    language_config,
    open_checkpoint,
)
from lbbt_mm.language.errors import NotComputed
from lbbt_mm.language.families import FAMILIES, SAME_FAMILY
from lbbt_mm.language.hf_config import config_from_hf
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone

import tiny  # isort: skip

# 16 patches and more: beyond the original length of phi3-long, windows are shorter.
IMAGES = torch.rand(2, 3, 40, 32)


def compare(backbone: LanguageBackbone, reference: hf.PreTrainedModel) -> None:
    language = backbone.language
    with torch.no_grad():
        tokens, _ = backbone.patch_embed(IMAGES)
        theirs = reference(inputs_embeds=tokens, output_hidden_states=True)
        x = language.embed(tokens)
        relative = language.relative_positions(x)
        # The last of theirs is normed.
        for block, before in zip(
            language.blocks, theirs.hidden_states[:-1], strict=True
        ):
            assert_close(x, before, rtol=1e-4, atol=1e-4)
            x = block(x, language.causal, relative)
        expected = theirs.last_hidden_state
        assert_close(language.finish(x), expected, rtol=1e-4, atol=1e-4)
        assert_close(backbone(IMAGES)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_every_block_equals_transformers(name: str, tmp_path: Path) -> None:
    reference = tiny.build(name)
    for storage in ("folder", "bin"):
        source = tiny.save(reference, tmp_path / storage, storage)
        backbone = LanguageBackbone(source, out_type="raw", img_size=32, patch_size=8)
        backbone.init_weights()
        assert isinstance(backbone.language, LanguageModel)
        compare(backbone.eval(), reference)
    assert all(p.requires_grad for p in backbone.parameters())
    names = {f"language.{n}" for n, _ in backbone.language.named_parameters()}
    assert names == {n for n, _ in language_model_weights(source)}


@pytest.mark.parametrize("name", ["electra", "phi3-long", "opt-post-norm"])
def test_a_checkpoint_of_ours_is_enough_by_itself(name: str, tmp_path: Path) -> None:
    source = tiny.save(tiny.build(name), tmp_path, "folder")
    model = LanguageBackbone(source, out_type="raw", img_size=32, patch_size=8)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "ours.pth")
    again = LanguageBackbone(
        str(tmp_path / "ours.pth"), out_type="raw", img_size=32, patch_size=8
    )
    again.init_weights()
    with torch.no_grad():
        assert_close(again.eval()(IMAGES), model.eval()(IMAGES), rtol=0, atol=0)


def test_every_family_is_compared() -> None:
    kinds = {config.model_type for config in tiny.CONFIGS.values()}
    assert {*FAMILIES, *SAME_FAMILY} <= kinds


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("roberta", dict(pad_token_id=0), "pad_token_id=0"),
        ("electra", dict(position_embedding_type="relative_key"), "'absolute' only"),
        ("opt", dict(word_embed_proj_dim=16), "word_embed_proj_dim=16"),
        ("opt", dict(layer_norm_elementwise_affine=False), "elementwise_affine=False"),
        ("opt", dict(_remove_final_layer_norm=True), "_remove_final_layer_norm=True"),
        ("gpt_bigcode", dict(multi_query=False), "multi_query=False"),
        ("gpt_bigcode", dict(scale_attn_weights=False), "scale_attn_weights=False"),
        ("starcoder2", dict(partial_rotary_factor=0.5), "partial_rotary_factor=0.5"),
        ("phi3", dict(hidden_act="mish"), "'mish'"),
    ],
)
def test_what_a_table_does_not_compute_goes_to_the_fallback(
    name: str, changes: dict, words: str
) -> None:
    fields = {**tiny.CONFIGS[name].to_dict(), **changes}
    with pytest.raises(NotComputed, match=words):
        config_from_hf(fields, "it")


def test_a_tensor_of_two_parts_that_does_not_fit(tmp_path: Path) -> None:
    source = tiny.save(tiny.build("phi3"), tmp_path, "bin")
    path = tmp_path / "pytorch_model.bin"
    tensors = torch.load(path)
    tensors["layers.1.mlp.gate_up_proj.weight"] = torch.zeros(97, 32)
    torch.save(tensors, path)
    with pytest.raises(CheckpointError, match=r"gate.weight: expected \[48, 32\]"):
        open_checkpoint(source)


def test_positions_are_as_many_as_tokens_can_be(tmp_path: Path) -> None:
    """Of 64 rows RoBERTa's tokens get those from the third on, OPT has two more."""
    for name, rows in (("roberta", 62), ("opt", 64)):
        source = tiny.save(tiny.build(name), tmp_path / name, "folder")
        assert open_checkpoint(source).positions().shape == (rows, 32)
        path = tmp_path / name / "config.json"
        fields = json.loads(path.read_text())
        path.write_text(json.dumps({**fields, "max_position_embeddings": 60}))
        with pytest.raises(
            CheckpointError, match="position_embeddings|embed_positions"
        ):
            open_checkpoint(source)


@pytest.mark.parametrize(
    ("preset", "millions"),
    [
        ("roberta-base", 124.1),
        ("FacebookAI/xlm-roberta-base", 277.5),
        ("distilbert-base-uncased", 66.4),
        ("google/electra-small-discriminator", 13.5),
        ("google/electra-base-discriminator", 108.9),
        ("facebook/opt-125m", 125.2),
        ("google/mt5-small", 146.9),
        ("bigcode/starcoder2-3b", 3030.4),
        ("microsoft/Phi-3-mini-4k-instruct", 3722.6),
    ],
)
def test_presets_have_the_published_sizes(preset: str, millions: float) -> None:
    """With the words, without heads, poolers and decoders."""
    config = language_config(preset)
    with torch.device("meta"):
        model = LanguageModel(config, initialise=False)
    count = sum(parameter.numel() for parameter in model.parameters())
    count += config.vocab_size * config.input_width
    assert count / 1e6 == pytest.approx(millions, rel=2e-3)
