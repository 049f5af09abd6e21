"""Every key of a configuration counts: computed as transformers does, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import tiny
import torch
import transformers as hf
from torch.testing import assert_close

from lbbt_mm.language import (
    CheckpointError,
    LanguageConfig,
    LanguageModel,
    open_checkpoint,
)
from lbbt_mm.language.gguf_config import config_from_gguf
from lbbt_mm.language.hf_config import config_from_hf

FULL, SLIDING = "full_attention", "sliding_attention"
LINEAR = {"rope_type": "linear", "factor": 4.0}
QWEN = dict(use_sliding_window=True, sliding_window=5)
# Keys of each family's configuration that could change what a block computes, with a
# value that is not the default.
CHANGES: dict[str, list[dict[str, Any]]] = {
    "gpt2": [
        dict(n_inner=48),
        dict(layer_norm_epsilon=0.1),
        dict(activation_function="relu"),
        dict(activation_function="quick_gelu"),
        dict(scale_attn_weights=False),
        dict(scale_attn_by_inverse_layer_idx=True),
        dict(reorder_and_upcast_attn=True),
        dict(pruned_heads={0: [1]}),
        dict(tie_word_embeddings=False),
    ],
    "bert": [
        dict(layer_norm_eps=0.1),
        dict(hidden_act="relu"),
        dict(hidden_act="mish"),
        dict(position_embedding_type="relative_key"),
        dict(is_decoder=True),
        dict(chunk_size_feed_forward=3),
        dict(pruned_heads={1: [0]}),
        dict(type_vocab_size=3),
    ],
    "llama": [
        dict(head_dim=12),
        dict(num_key_value_heads=1),
        dict(num_key_value_heads=None),
        dict(rms_norm_eps=0.1),
        dict(hidden_act="gelu"),
        dict(rope_theta=100.0),
        dict(rope_scaling=LINEAR),
        dict(rope_scaling={"type": "linear", "factor": 4.0}),
        dict(rope_scaling={"rope_type": "dynamic", "factor": 4.0}),
        dict(rope_scaling={"rope_type": "yarn", "factor": 4.0}),
        dict(partial_rotary_factor=0.5),
        dict(attention_bias=True),
        dict(mlp_bias=True),
        dict(pretraining_tp=2),
        # What other families read and LLaMA's class does not.
        dict(attention_multiplier=2.0, residual_multiplier=0.5),
        dict(attn_logit_softcapping=3.0, query_pre_attn_scalar=7),
        dict(sliding_window=3, layer_types=[SLIDING] * 3, no_rope_layers=[0, 1, 0]),
    ],
    "mistral": [
        dict(head_dim=12),
        dict(sliding_window=5),
        dict(sliding_window=None),
        dict(attention_bias=True, mlp_bias=True),
        dict(use_sliding_window=False, sliding_window=5),
        dict(rope_scaling=LINEAR),
        dict(partial_rotary_factor=0.5),
    ],
    "qwen2": [
        dict(use_sliding_window=False, sliding_window=5),
        dict(QWEN, max_window_layers=0),
        dict(QWEN, max_window_layers=3),
        dict(QWEN, max_window_layers=1),
        dict(QWEN, max_window_layers=1, layer_types=[FULL] * 3),
        dict(QWEN, layer_types=[SLIDING] * 3),
        dict(QWEN, layer_types=[SLIDING, FULL, SLIDING]),
        dict(attention_bias=False),
        dict(rope_scaling=LINEAR),
        dict(partial_rotary_factor=0.5),
    ],
    "qwen3": [
        dict(head_dim=12),
        dict(attention_bias=True),
        dict(mlp_bias=True),
        dict(QWEN, max_window_layers=0),
        dict(QWEN, max_window_layers=1),
        dict(QWEN, layer_types=[FULL] * 3),
        dict(partial_rotary_factor=0.5),
    ],
    "roberta": [
        dict(layer_norm_eps=0.1),
        dict(hidden_act="relu"),
        dict(position_embedding_type="relative_key"),
        dict(is_decoder=True),
        dict(pad_token_id=2),
        dict(chunk_size_feed_forward=3),
        dict(type_vocab_size=3),
    ],
    "distilbert": [
        dict(activation="relu"),
        dict(n_heads=2),
        dict(sinusoidal_pos_embds=True),
        dict(chunk_size_feed_forward=3),
        dict(layer_norm_eps=0.1),
    ],
    "electra-wide": [
        dict(layer_norm_eps=0.1),
        dict(hidden_act="relu"),
        dict(position_embedding_type="relative_key_query"),
        dict(is_decoder=True),
    ],
    "opt": [
        dict(do_layer_norm_before=False),
        dict(enable_bias=False),
        dict(layer_norm_elementwise_affine=False),
        dict(activation_function="gelu"),
        dict(word_embed_proj_dim=16),
        dict(_remove_final_layer_norm=True),
    ],
    "gpt_bigcode": [
        dict(n_inner=None),
        dict(n_inner=64),
        dict(multi_query=False),
        dict(attention_softmax_in_fp32=False),
        dict(scale_attention_softmax_in_fp32=False),
        dict(activation_function="relu"),
        dict(scale_attn_weights=False),
        dict(layer_norm_epsilon=0.1),
    ],
    "starcoder2": [
        dict(use_bias=False),
        dict(norm_epsilon=0.1),
        dict(sliding_window=None),
        dict(head_dim=12),
        dict(num_key_value_heads=1),
        dict(rope_theta=100.0),
        dict(rope_scaling=LINEAR),
        dict(partial_rotary_factor=0.5),
        dict(hidden_act="relu"),
    ],
    "phi3": [
        dict(sliding_window=5),
        dict(num_key_value_heads=1),
        dict(num_key_value_heads=None),
        dict(head_dim=12),
        dict(partial_rotary_factor=0.5),
        dict(original_max_position_embeddings=8),
        dict(rope_theta=100.0),
        dict(rms_norm_eps=0.1),
        dict(attention_bias=True),
        dict(hidden_act="gelu"),
    ],
    "t5": [
        dict(feed_forward_proj="gated-silu"),
        dict(feed_forward_proj="gelu"),
        dict(is_gated_act=True),
        dict(layer_norm_epsilon=0.1),
        dict(relative_attention_num_buckets=16),
        dict(relative_attention_max_distance=9),
        dict(tie_word_embeddings=False),
    ],
}


def cases() -> list[Any]:
    return [
        pytest.param(family, change, id=f"{family}-{change}")
        for family, changes in CHANGES.items()
        if family in tiny.CONFIGS
        for change in changes
    ]


@pytest.mark.parametrize(("family", "change"), cases())
def test_a_changed_key_is_computed_or_refused_by_name(
    family: str, change: dict[str, Any], tmp_path: Path
) -> None:
    fields = {**tiny.CONFIGS[family].to_dict(), "layer_types": None, **change}
    if "feed_forward_proj" in change:  # transformers writes its two halves beside it
        del fields["is_gated_act"], fields["dense_act_fn"]
    try:
        ours = open_written(family, fields, tmp_path)
    except CheckpointError as error:
        named = [key for key in change if key in str(error)]
        values = [v for v in change.values() if isinstance(v, (str, dict))]
        kinds = [v.get("rope_type", "") if isinstance(v, dict) else v for v in values]
        assert named or any(kind and kind in str(error) for kind in kinds), error
        return
    model, reference = ours
    x = torch.randn(2, 12, 32)
    with torch.no_grad():
        exact = reference(inputs_embeds=x).last_hidden_state
        assert_close(model(x), exact, rtol=1e-4, atol=1e-4)


def open_written(
    family: str, fields: dict[str, Any], folder: Path
) -> tuple[LanguageModel, hf.PreTrainedModel]:
    """Write a model whose ``config.json`` has these fields; refuse before building."""
    config_from_hf(fields, "the configuration")
    torch.manual_seed(0)
    given = {k: v for k, v in fields.items() if v is not None or k != "layer_types"}
    config = type(tiny.CONFIGS[family]).from_dict(given)
    kind = hf.T5EncoderModel if family == "t5" else hf.AutoModel.from_config
    reference = kind(config).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    reference.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(fields))
    source = open_checkpoint(str(folder))
    model = LanguageModel(source.config, initialise=False)
    model.load(source)
    return model.eval(), reference


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_silent_configuration_means_transformers_defaults(family: str) -> None:
    if family not in tiny.CONFIGS:
        return
    kind = type(tiny.CONFIGS[family])
    needed = dict(
        model_type=family,
        hidden_size=4096,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=64,
        vocab_size=96,
        max_position_embeddings=64,
    )
    theirs = kind(**{k: v for k, v in needed.items() if k != "model_type"})
    ours = config_from_hf(needed, "the configuration")
    assert ours.num_kv_heads == theirs.num_key_value_heads
    assert ours.head_dim == (getattr(theirs, "head_dim", None) or 64)
    assert ours.sliding_window == theirs.to_dict().get("sliding_window")
    assert ours.rope_theta == theirs.rope_theta
    assert ours.norm_eps == theirs.rms_norm_eps


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        (dict(rope_scaling={"factor": 2.0}), "without its rope_type"),
        (
            dict(
                rope_parameters={"rope_type": "default", "partial_rotary_factor": 0.5}
            ),
            "partial_rotary_factor=0.5",
        ),
        (
            dict(rope_parameters={FULL: {"rope_type": "default"}}),
            "rope_parameters for kinds of layers",
        ),
    ],
)
def test_rotary_settings_that_say_too_little_or_too_much(rope, message) -> None:
    fields = {**tiny.CONFIGS["llama"].to_dict(), **rope}
    with pytest.raises(CheckpointError, match=message):
        config_from_hf(fields, "the configuration")


# gguf ------------------------------------------------------------------------------


def header(arch: str = "llama", **keys: Any) -> LanguageConfig:
    """Read a header; in the names of keys ``__`` stands for a dot."""
    given = {
        "block_count": 2,
        "embedding_length": 32,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.layer_norm_epsilon": 1e-5,
        "feed_forward_length": 48,
        "context_length": 64,
    } | {key.replace("__", "."): value for key, value in keys.items()}
    metadata = {f"{arch}.{key}": v for key, v in given.items() if v is not None}
    return config_from_gguf({"general.architecture": arch, **metadata}, 96, "x.gguf")


@pytest.mark.parametrize(
    ("keys", "scaling"),
    [
        ({}, None),
        (dict(rope__scaling__factor=4.0), 4.0),  # llama.cpp: linear without a type
        (dict(rope__scale_linear=4.0), 4.0),  # the name of 2023
        (dict(rope__scaling__type="linear", rope__scaling__factor=4.0), 4.0),
        (dict(rope__scaling__type="linear", rope__scale_linear=4.0), 4.0),
        (dict(rope__scaling__type="linear"), None),  # llama.cpp: factor 0 is none
        (dict(rope__scaling__type="none", rope__scaling__factor=4.0), None),
        (dict(rope__scaling__factor=0.0), None),
    ],
    ids=str,
)
def test_gguf_linear_scaling_in_all_its_spellings(keys, scaling) -> None:
    found = header(**keys).rope_scaling
    assert found == (scaling and {"rope_type": "linear", "factor": scaling})


@pytest.mark.parametrize(
    ("arch", "keys"),
    [
        ("llama", dict(rope__dimension_count=4)),
        ("llama", dict(attention__key_length=16, rope__dimension_count=8)),
        ("qwen2", dict(rope__dimension_count=4)),
        ("qwen3", dict(attention__key_length=16, attention__value_length=8)),
        ("llama", dict(attention__scale=0.5)),
        ("llama", dict(attention__causal=False)),
        ("bert", dict(attention__causal=True)),
        ("llama", dict(attention__sliding_window=5)),
        ("llama", dict(expert_count=8)),
        ("llama", dict(residual_scale=0.2)),
        ("llama", dict(attn_logit_softcapping=30.0)),
        ("llama", dict(attention__max_alibi_bias=8.0)),
        ("llama", dict(attention__clamp_kqv=8.0)),
        ("llama", dict(rope__scaling__attn_factor=0.5)),
        ("llama", dict(rope__scaling__type="ntk", rope__scaling__factor=4.0)),
    ],
    ids=str,
)
def test_gguf_variants_are_refused_by_name(arch, keys) -> None:
    with pytest.raises(CheckpointError) as error:
        header(arch, **keys)
    message = str(error.value)
    assert any(key.replace("__", ".") in message for key in keys) or "ntk" in message


def test_gguf_says_the_same_in_more_words() -> None:
    more = dict(
        attention__key_length=8,
        attention__value_length=8,
        rope__dimension_count=8,
        attention__scale=8**-0.5,
        attention__sliding_window=64,
        attention__causal=True,
        rope__scaling__attn_factor=1.0,
        expert_count=0,
    )
    assert header(**more) == header()
    assert header("qwen3").head_dim == 8  # not transformers' 128
    assert header(attention__head_count_kv=None).num_kv_heads == 4


def test_a_scaled_gguf_file_computes_what_transformers_does(tmp_path: Path) -> None:
    """Without a type, as converters of 2023 wrote it."""
    config = hf.LlamaConfig(**tiny._LLAMA, rope_scaling=LINEAR)
    torch.manual_seed(0)
    reference = hf.LlamaModel(config).eval()
    added = gguf.GGUFWriter.add_rope_freq_base

    def both(writer: gguf.GGUFWriter, base: float) -> None:
        added(writer, base)
        writer.add_float32("llama.rope.scaling.factor", 4.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "add_rope_freq_base", both)
        source = open_checkpoint(tiny.write_gguf(reference, tmp_path / "m.gguf"))
    model = LanguageModel(source.config, initialise=False)
    model.load(source)
    x = torch.randn(1, 9, 32)
    with torch.no_grad():
        exact = reference(inputs_embeds=x).last_hidden_state
        assert_close(model.eval()(x), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "written",
    [
        dict(rope_scaling=dict(type="linear", factor=4)),
        dict(rope_scaling=dict(type="linear", rope_type="linear", factor=4.0)),
        dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e4)),
    ],
)
def test_releases_of_transformers_write_the_same_model(written) -> None:
    """A checkpoint fits the same model, whichever release wrote its config.json."""
    plain = hf.LlamaConfig(**tiny._LLAMA).to_dict()
    one = config_from_hf({**plain, "rope_scaling": LINEAR}, "one")
    assert one.differences(config_from_hf({**plain, **written}, "other")) == []
    other = {**LINEAR, "factor": 2.0}
    other = config_from_hf({**plain, "rope_scaling": other}, "another")
    assert "rope_scaling" in one.differences(other)[0]
