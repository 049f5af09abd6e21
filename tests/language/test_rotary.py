"""Rotary positions: transformers' frequencies, of any kind, at any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch.testing import assert_close
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lbbt_mm.language import CheckpointError, LanguageModel, open_checkpoint
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.hf_config import config_from_hf
from lbbt_mm.language.rotary import RotaryPositions

import tiny  # isort: skip

SIZES = dict(tiny._LLAMA, max_position_embeddings=128)
SHORT, LONG = [1.0, 1.1, 1.5, 2.0], [1.0, 3.0, 6.0, 8.0]
CPU = torch.device("cpu")
KINDS: dict[str, dict[str, Any]] = {
    "dynamic": dict(rope_type="dynamic", factor=4.0),
    "yarn": dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=32
    ),
    "yarn-whole": dict(rope_type="yarn", factor=8.0, beta_fast=8, beta_slow=2),
    "yarn-untruncated": dict(rope_type="yarn", factor=4.0, truncate=False),
    "yarn-attention": dict(rope_type="yarn", factor=4.0, attention_factor=0.7),
    "yarn-mscale": dict(rope_type="yarn", factor=4.0, mscale=0.7, mscale_all_dim=1.3),
    "longrope": dict(
        rope_type="longrope", factor=4.0, short_factor=SHORT, long_factor=LONG
    ),
    "longrope-attention": dict(
        rope_type="longrope", factor=1.0, attention_factor=1.2, short_factor=SHORT,
        long_factor=LONG,
    ),
    "linear": dict(rope_type="linear", factor=3.0),
    "llama3": dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("tokens", [20, 128, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_angles_are_those_of_transformers(kind: str, tokens: int) -> None:
    theirs = hf.LlamaConfig(**SIZES, rope_theta=500.0, rope_scaling=KINDS[kind])
    config = config_from_hf(theirs.to_dict(), "it")
    function = ROPE_INIT_FUNCTIONS[kind.partition("-")[0]]
    frequencies, size = function(theirs, CPU, seq_len=tokens)
    angles = torch.outer(torch.arange(tokens).float(), frequencies).repeat(1, 2)
    cosines, sines = RotaryPositions(config)(tokens, CPU)
    assert_close(cosines, angles.cos() * size, rtol=1e-4, atol=1e-4)
    assert_close(sines, angles.sin() * size, rtol=1e-4, atol=1e-4)
    # All that it needs is in the record of a checkpoint.
    again = LanguageConfig.from_dict({**config.to_dict(), "max_positions": 7})
    assert_close(RotaryPositions(again)(tokens, CPU)[0], cosines, rtol=0, atol=0)
    assert not config.differences(again)


@pytest.mark.parametrize("kind", ["dynamic", "yarn", "longrope"])
def test_blocks_on_both_sides_of_the_original_length(kind, tmp_path: Path) -> None:
    theirs = hf.LlamaConfig(**SIZES, rope_scaling=KINDS[kind])
    reference = hf.LlamaModel(theirs).eval()
    source = tiny.save(reference, tmp_path, "folder")
    model = LanguageModel(open_checkpoint(source).config).eval()
    model.load(open_checkpoint(source))
    for tokens in (20, 150):
        x = torch.randn(2, tokens, 32)
        with torch.no_grad():
            expected = reference(inputs_embeds=x, use_cache=False).last_hidden_state
            assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_phi3_counts_from_its_original_length() -> None:
    fields = tiny.CONFIGS["phi3-long"].to_dict()
    config = config_from_hf(fields, "it")
    scaling = config.rope_scaling
    assert scaling["original_max_position_embeddings"] == 16
    assert scaling["attention_factor"] == pytest.approx((1 + 1 / 2) ** 0.5)
    other = config_from_hf({**fields, "rope_scaling": None}, "it")
    assert "rope_scaling" in config.differences(other)[0]


def test_longrope_as_transformers_5_writes_it() -> None:
    """With its original length beside the factors, where 4.57 does not look."""
    for name, theta in (("llama", 500.0), ("phi3", 500.0)):
        fields = {**tiny.CONFIGS[name].to_dict(), "rope_theta": theta}
        fields.pop("original_max_position_embeddings", None)
        old = {**fields, "rope_scaling": KINDS["longrope"]}
        old["original_max_position_embeddings"] = 16
        rope = {**KINDS["longrope"], "rope_theta": theta}
        rope["original_max_position_embeddings"] = 16
        new = {**fields, "rope_theta": None, "rope_scaling": None}
        read = config_from_hf({**new, "rope_parameters": rope}, "it")
        assert read == config_from_hf(old, "it")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(short_factor=[1.0]), "short_factor=.*4 numbers"),
        (dict(long_factor=[1.0, 0.0, 1.0, 1.0]), "long_factor=.*4 numbers"),
        (dict(long_factor=3.0), "another kind"),
        (dict(attention_factor=-1), "attention_factor=-1"),
    ],
)
def test_numbers_that_do_not_fit(change: dict, words: str) -> None:
    fields = hf.LlamaConfig(**SIZES).to_dict()
    fields["rope_scaling"] = {**KINDS["longrope"], **change}
    with pytest.raises(CheckpointError, match=words):
        config_from_hf(fields, "it")


def test_llama3_as_llama_cpp_stores_it(tmp_path: Path) -> None:
    """Its converter divides by a tensor what config.json says in four numbers."""
    reference = tiny.build("llama3-rope")
    plain, _ = ROPE_INIT_FUNCTIONS["default"](reference.config, CPU)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](reference.config, CPU)
    factors = {"rope_freqs.weight": plain / scaled}
    source = open_checkpoint(
        tiny.write_gguf(reference, tmp_path / "model.gguf", factors)
    )
    model = LanguageModel(source.config).eval()
    model.load(source)
    x = torch.randn(2, 20, 32)
    with torch.no_grad():
        expected = reference(inputs_embeds=x).last_hidden_state
        assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
        model.rotary.scaling = {}
        assert not torch.allclose(model(x), expected, atol=1e-3)


def test_a_gguf_file_that_scales_twice(tmp_path: Path, monkeypatch) -> None:
    import gguf

    added = gguf.GGUFWriter.add_rope_freq_base

    def both(writer: Any, base: float) -> None:
        added(writer, base)
        writer.add_float32("llama.rope.scaling.factor", 4.0)

    monkeypatch.setattr(gguf.GGUFWriter, "add_rope_freq_base", both)
    more = {"rope_freqs.weight": torch.ones(4)}
    source = tiny.write_gguf(tiny.build("llama"), tmp_path / "model.gguf", more)
    with pytest.raises(CheckpointError, match="rope_freqs.weight and by rope.scaling"):
        open_checkpoint(source)
