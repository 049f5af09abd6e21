"""Every text model that transformers' auto classes build, tiny; and what becomes of it.

``python tests/language/registry.py`` prints the tables of docs/language_models.md.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import tiny
import torch
import transformers as hf
from transformers.models.auto import modeling_auto as auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.language.fallback_config import FallbackConfig, encoder_of
from lbbt_mm.language.families import FAMILIES, SAME_FAMILY
from lbbt_mm.language.hf_config import config_from_hf
from lbbt_mm.transplant import TransplantError
from lbbt_mm.transplant.compare import refuse_other_functions

WIDTH = 32
_SIZES: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "emb_dim"), WIDTH
    ),
    **dict.fromkeys(("input_embedding_size", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 48
    ),
    **dict.fromkeys(("d_ff", "n_inner", "ffn_hidden_size", "dim_ff"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 3),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 3),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict(num_key_value_heads=2, head_dim=8, d_kv=8, num_experts_per_tok=2),
    **dict(vocab_size=96, max_position_embeddings=64, pad_token_id=0),
}
_ACTIVE: dict[str, Any] = {  # what is off, or out of reach of a few tokens, by default
    **dict(sliding_window=5, use_sliding_window=True, max_window_layers=1),
    **dict(attention_chunk_size=5, floor_scale=4, keep_window_size=4, window_size=5),
    **dict(local_attention=6, global_attn_every_n_layers=2, no_rope_layer_interval=2),
    **dict(embedding_multiplier=3.0, residual_multiplier=0.5, clip_qkv=0.3),
    **dict(attention_multiplier=0.3, attn_logit_softcapping=0.5, use_qk_norm=True),
    **dict(qk_layernorm=True, query_pre_attn_scalar=16, type_vocab_size=2),
    **dict(apply_residual_connection_post_layernorm=True),
}
_WINDOWS = ["sliding_attention", "full_attention", "sliding_attention"]
_VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1)
_MAMBA = dict(
    **dict(mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_chunk_size=8),
    **dict(mamba_n_groups=1),
)
_DEEPSEEK = dict(
    **dict(q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=8, qk_nope_head_dim=8),
    **dict(v_head_dim=8, qk_head_dim=16, n_group=2, topk_group=1, n_shared_experts=1),
    **dict(first_k_dense_replace=1, moe_intermediate_size=16, num_key_value_heads=4),
)
_GEMMA3N = dict(
    **dict(num_kv_shared_layers=0, activation_sparsity_pattern=[0.0] * 3),
    **dict(hidden_size_per_layer_input=8, vocab_size_per_layer_input=96),
    layer_types=["sliding_attention", "full_attention", "sliding_attention"],
)
_MORE: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("cohere2", "dots1", "exaone4", "gemma3", "gemma3_text", "ministral", "olmo3"),
        dict(layer_types=_WINDOWS),
    ),
    "bamba": dict(**_MAMBA, attn_layer_indices=[1]),
    "codegen": dict(rotary_dim=4, n_positions=64, n_ctx=64),
    "cpmant": dict(dim_head=8, prompt_types=2, segment_types=2),
    "ctrl": dict(dff=48, n_positions=64),
    "dbrx": dict(ffn_config=dict(ffn_hidden_size=16, moe_num_experts=4, moe_top_k=2)),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "dots1": dict(n_shared_experts=1, first_k_dense_replace=1),
    "falcon": dict(alibi=True, parallel_attn=False, new_decoder_architecture=False),
    "falcon_h1": dict(
        **_MAMBA, mamba_d_ssm=64, attention_in_multiplier=0.5, key_multiplier=0.7,
        attention_out_multiplier=1.5, ssm_in_multiplier=0.5, ssm_out_multiplier=1.5,
    ),
    "funnel": dict(
        block_sizes=[1, 1, 1], d_head=8, d_inner=48, num_hidden_layers=None
    ),
    "gemma3n": _GEMMA3N,
    "gemma3n_text": _GEMMA3N,
    "flaubert": dict(max_position_embeddings=64),
    "git": dict(vision_config=dict(**_VISION, num_attention_heads=2)),
    "gpt_neo": dict(attention_types=[[["global", "local", "global"], 1]]),
    "gptj": dict(rotary_dim=4, n_positions=64),
    "granitemoehybrid": dict(**_MAMBA, layer_types=["mamba", "attention", "mamba"]),
    "jamba": dict(
        **dict(use_mamba_kernels=False, mamba_dt_rank=4),
        **dict(attn_layer_period=2, attn_layer_offset=1),
    ),
    "lfm2": dict(layer_types=["conv", "full_attention", "conv"]),
    **dict.fromkeys(
        ("llama4", "llama4_text"),
        dict(
            **dict(no_rope_layers=[1, 0, 1], interleave_moe_layer_step=2),
            layer_types=["chunked_attention", "full_attention", "chunked_attention"],
        ),
    ),
    "longcat_flash": dict(
        **_DEEPSEEK, ffn_hidden_size=48, expert_ffn_hidden_size=16, moe_topk=2,
        zero_expert_num=2,
    ),
    "longformer": dict(attention_window=4, max_position_embeddings=64),
    "luke": dict(entity_vocab_size=8, entity_emb_size=WIDTH),
    "mamba2": dict(num_heads=4, head_dim=16, state_size=8, n_groups=1, chunk_size=8),
    "qwen3_next": dict(
        **dict(linear_num_value_heads=4, linear_num_key_heads=2),
        layer_types=["linear_attention", "full_attention", "linear_attention"],
    ),
    "reformer": dict(
        axial_pos_embds_dim=[16, 16], axial_pos_shape=[8, 8], attention_head_size=8,
        feed_forward_size=48, attn_layers=["local", "lsh", "local"],
    ),
    "rembert": dict(input_embedding_size=WIDTH),
    "roc_bert": dict(
        **dict(pronunciation_vocab_size=8, shape_vocab_size=8),
        **dict(pronunciation_embed_dim=8, shape_embed_dim=8),
    ),
    # With norms of queries and keys transformers does not build a new one.
    "stablelm": dict(use_parallel_residual=True, qk_layernorm=False),
    "squeezebert": dict(
        **{f"{k}_groups": 1 for k in ("q", "k", "v", "post_attention", "output")},
        intermediate_groups=1,
    ),
    "prophetnet": dict(num_encoder_layers=3, num_decoder_layers=3),
    "transfo-xl": dict(cutoffs=[], d_embed=WIDTH, d_head=8, d_inner=48, div_val=1),
    "xlm-prophetnet": dict(num_encoder_layers=3, num_decoder_layers=3),
    "xlstm": dict(num_heads=4, embedding_dim=WIDTH, qk_dim_factor=1.0),
    "xmod": dict(default_language="en_XX", languages=["en_XX"]),
    "xlnet": dict(d_inner=48),
    "zamba": dict(use_mamba_kernels=False, attn_layer_period=2, attn_layer_offset=1),
    "zamba2": dict(
        layers_block_type=["mamba", "hybrid", "mamba"], use_mamba_kernels=False,
        mamba_headdim=16, n_mamba_heads=4, mamba_ngroups=1, num_mem_blocks=1,
        mamba_d_state=8, chunk_size=8, attention_head_dim=16,
    ),
}  # fmt: skip


def model_types() -> list[str]:
    """Name every causal model, masked model and text encoder."""
    return sorted(
        {
            *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            *auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
            *getattr(auto, "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES", ()),
        }
    )


def tiny_config(model_type: str) -> dict[str, Any]:
    """Write a ``config.json`` of a few thousand parameters."""
    try:
        default = whole = CONFIG_MAPPING[model_type]()
    except ValueError:  # parts of it have no defaults
        return {"model_type": model_type}
    if not default.is_encoder_decoder:
        default = default.get_text_config()
    keys = {*default.to_dict(), *type(default).attribute_map}
    sizes = {k: v for k, v in (_SIZES | _ACTIVE).items() if k in keys}
    sizes |= _MORE.get(model_type, {})
    sizes = {key: value for key, value in sizes.items() if value is not None}
    if getattr(whole, "text_config", None) is default:
        return {"text_config": sizes, "model_type": model_type}
    return {**sizes, "model_type": default.model_type}


def reference(config: FallbackConfig) -> Any:
    """Let transformers build the model whose weights and outputs are compared."""
    torch.manual_seed(0)
    whole = hf.AutoModel.from_config(config.transformers, dtype=torch.float32)
    model = encoder_of(whole)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return whole.eval()


def stack_of(model_type: str, attention: str | None = None) -> FallbackModel:
    """Build a stack of random weights.

    Args:
        model_type: One of :func:`model_types`.
        attention: As for the stack.

    Raises:
        CheckpointError: It is refused; or no size of it is tiny.
    """
    config = FallbackConfig.read(tiny_config(model_type), "it")
    size = 0
    with torch.device("meta"), contextlib.suppress(Exception):  # not all build there
        whole = hf.AutoModel.from_config(config.transformers)
        size = sum(p.numel() for p in whole.parameters())
    assert size < 5e6, f"{model_type} is not tiny: {size} parameters"
    return FallbackModel(config, attention=attention)


def reason(error: CheckpointError) -> str:
    """Cut what the message says of why."""
    text = str(error).partition("either: ")[2] or str(error).partition(", which ")[2]
    text = re.split(r"\\n| \(\w+Error", text or str(error))[0]
    text += " its configuration" * text.endswith("does not take")
    return text[:90].rstrip(".")


PARTS = {"attention": ["self_attn"], "FFN": ["ffn"], "norms": ["norms"]}
SHARDED = ("qwen3",)  # tests/distributed/test_sharded_runs.py
OVER_TRANSFORMERS = (
    *("olmo2", "gpt_neox", "gemma2", "bloom", "modernbert", "bart", "mamba", "granite"),
)
"""Those without a table that tests/distributed/test_families_in_two.py runs."""


def by_table(model_type: str) -> list[str]:
    """Write what can be done with a family by table.

    Args:
        model_type: Key of ``tiny.CONFIGS``.

    Returns:
        Backbone, what layers of vision models take, gguf files, processes.
    """
    config = config_from_hf(tiny.CONFIGS[model_type].to_dict(), "it")
    copied = []
    for word, wanted in PARTS.items():
        with contextlib.suppress(TransplantError):
            refuse_other_functions(config, "it", wanted)
            copied.append(word)
    files = FAMILIES[config.family].gguf is not None
    return [
        f"table, {config.attention}",
        "all" if len(copied) == len(PARTS) else ", ".join(copied) or "nothing",
        "yes" if files else "no",
        "two, sharded" if model_type in SHARDED else "two",
    ]


def families() -> str:
    """Write the table of the families by table."""
    names = [*FAMILIES, *SAME_FAMILY]
    rows = [f"| `{name}` | {' | '.join(by_table(name))} |" for name in names]
    head = ["| by table | backbone | copied into layers | gguf | processes |"]
    return "\n".join([*head, "|---|---|---|---|---|", *rows])


ONE_WAY = "of these, only so"
"""Row of those whose attention cannot be changed."""


def ways(model: FallbackModel) -> tuple[str, str]:
    """Name the attention of a model, and the other one."""
    names = ("causal", "bidirectional")
    return names if model.causal else names[::-1]


def table() -> str:
    """Write the table of what runs over transformers' layers, and of what does not."""
    runs: dict[str, list[str]] = {"causal": [], "bidirectional": [], ONE_WAY: []}
    refused = []
    for name in model_types():
        try:
            model = stack_of(name)
        except CheckpointError as error:
            refused.append(f"| `{name}` | {reason(error)} |")
        else:
            own, other = ways(model)
            runs[own].append(f"`{name}`")
            try:
                stack_of(name, other)
            except CheckpointError:
                runs[ONE_WAY].append(f"`{name}`")
    rows = [f"| {kind} | {', '.join(names)} |" for kind, names in runs.items()]
    return "\n".join(
        ["| attention | `model_type` |", "|---|---|", *rows, ""]
        + ["| refused | why |", "|---|---|", *refused]
    )


if __name__ == "__main__":
    print(families(), table(), sep="\n\n")
