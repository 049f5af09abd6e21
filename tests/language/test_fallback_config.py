"""How the configuration of a model over transformers' own layers is read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from registry import tiny_config
from torch.testing import assert_close

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.language.fallback_config import FallbackConfig
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone

FULL, SLIDING = "full_attention", "sliding_attention"
LINEAR = dict(rope_type="linear", factor=4.0)
LONG = dict(
    rope_type="longrope", short_factor=[1.0] * 4, long_factor=[2.0] * 4,
    short_mscale=1.1, long_mscale=1.2, original_max_position_embeddings=16,
)  # fmt: skip
MROPE = dict(rope_type="default", mrope_section=[1, 1, 2])


def plain(theta: float = 10000.0, **more: Any) -> dict[str, Any]:
    return dict(rope_type="default", rope_theta=theta) | more


@pytest.mark.parametrize(
    ("model_type", "rope", "older"),
    [
        ("olmo2", plain(500.0), dict(rope_theta=500.0)),
        ("gemma", plain(500.0, partial_rotary_factor=1.0), dict(rope_theta=500.0)),
        ("granite", plain() | LINEAR, dict(rope_scaling=LINEAR)),
        (
            "gpt_neox",
            plain(500.0, partial_rotary_factor=0.5),
            dict(rotary_emb_base=500.0, rotary_pct=0.5),
        ),
        ("phi", plain(partial_rotary_factor=0.75), dict(partial_rotary_factor=0.75)),
        (
            "phimoe",
            plain(1e6) | LONG,
            dict(rope_scaling=LONG, original_max_position_embeddings=16),
        ),
        ("qwen2_vl_text", plain(1e6) | MROPE, dict(rope_scaling=MROPE)),
        ("cohere2", {FULL: plain(7.0), SLIDING: plain(7.0)}, dict(rope_theta=7.0)),
        (
            "gemma3_text",
            {FULL: plain(500.0) | LINEAR, SLIDING: plain(50.0)},
            dict(rope_theta=500.0, rope_local_base_freq=50.0, rope_scaling=LINEAR),
        ),
        (
            "modernbert",
            {FULL: plain(500.0), SLIDING: plain(50.0)},
            dict(global_rope_theta=500.0, local_rope_theta=50.0),
        ),
        ("bloom", None, {}),
    ],
)
def test_rotary_positions_as_transformers_5_writes_them(
    model_type: str, rope: Any, older: dict[str, Any]
) -> None:
    """Releases below 5 would pass over them and compute with the defaults."""
    sizes = tiny_config(model_type)
    new = FallbackConfig.read({**sizes, "rope_parameters": rope}, "it")
    old = FallbackConfig.read({**sizes, **older}, "it")
    assert old.transformers.to_dict().items() >= older.items()
    assert new.transformers.to_dict() == old.transformers.to_dict()


def test_rotary_positions_of_a_text_model_in_a_larger_one() -> None:
    text = dict(tiny_config("gemma3_text"), rope_parameters={FULL: plain(500.0)})
    config = FallbackConfig.read(dict(model_type="gemma3", text_config=text), "it")
    assert config.transformers.rope_theta == 500.0


@pytest.mark.parametrize(
    ("model_type", "rope", "words"),
    [
        ("gemma", plain() | LINEAR, "it is of .* 'gemma' .*no rope_type='linear'"),
        ("olmo2", plain(partial_rotary_factor=0.5), "no partial_rotary_factor=0.5"),
        ("roformer", plain(500.0), "no rope_theta=500.0"),
        ("gemma3_text", {FULL: plain(), SLIDING: plain() | LINEAR}, "no rope_type="),
        ("cohere2", {FULL: plain(7.0), SLIDING: plain(8.0)}, "has no rope_theta=8.0"),
        ("olmo2", {FULL: plain(7.0), "chunked": plain()}, "has no chunked, full_att"),
    ],
)
def test_rotary_positions_that_the_installed_release_does_not_have(
    model_type: str, rope: dict[str, Any], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        FallbackConfig.read({**tiny_config(model_type), "rope_parameters": rope}, "it")


def test_a_key_with_an_underscore_that_changes_the_function(tmp_path) -> None:
    config = hf.OPTConfig(**tiny_config("opt"), _remove_final_layer_norm=True)
    read = FallbackConfig.read(config.to_dict(), "it")
    assert not [n for n, _ in FallbackModel(read).named_parameters() if "final" in n
                and "blocks" not in n]  # fmt: skip


def test_narrow_words_are_refused_in_one_sentence() -> None:
    """OPT-350M's are projected twice, into the stream and out of it."""
    narrow = dict(tiny_config("opt"), word_embed_proj_dim=16)
    with pytest.raises(
        CheckpointError, match="embeddings have 16 channels .* 32; only"
    ):
        FallbackModel(FallbackConfig.read(narrow, "it"))


def test_heads_that_keep_their_rows_together_run_over_transformers(tmp_path) -> None:
    """GPT-BigCode without multi_query, whose rows the table does not have."""
    config = tiny_config("gpt_bigcode") | dict(multi_query=False)
    theirs = hf.AutoModel.from_config(hf.AutoConfig.for_model(**config)).eval()
    theirs.save_pretrained(tmp_path)
    model = LanguageBackbone(str(tmp_path), img_size=32, patch_size=8, out_type="raw")
    model.init_weights()
    assert isinstance(model.eval().language, FallbackModel)
    tokens, _ = model.patch_embed(images := torch.rand(2, 3, 32, 32))
    with torch.no_grad():
        expected = theirs(inputs_embeds=tokens).last_hidden_state
        assert_close(model(images)[0], expected)
