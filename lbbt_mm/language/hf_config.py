"""Read :class:`LanguageConfig` from transformers' ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError, NotComputed
from lbbt_mm.language.families import FAMILIES, SAME_FAMILY
from lbbt_mm.language.hf_keys import KEYS
from lbbt_mm.language.hf_rope import read_rope, read_window
from lbbt_mm.language.hf_values import activation_of, head_size, refuse

_DERIVED = ("num_kv_heads", "head_dim", "ffn_width", "sliding_window")
"""Fields that follow from others, or are off, where a file says null."""


def config_from_hf(
    hf: Mapping[str, Any],
    origin: str,
    advice: str = "copy the model's own config.json beside its weights",
) -> LanguageConfig:
    """Translate a transformers configuration.

    Args:
        hf: Content of a ``config.json``.
        origin: Where it comes from, for messages.
        advice: What to do where something is missing or of another kind.

    Returns:
        The same architecture in our vocabulary.

    Raises:
        CheckpointError: The family is unknown, a key is missing, or the model uses a
            variant that the stack does not compute.
    """
    family = hf.get("model_type")
    family = SAME_FAMILY.get(family, family) if isinstance(family, str) else family
    if not isinstance(family, str) or family not in FAMILIES:
        if family is None:
            raise CheckpointError(
                f"The configuration of {origin} has no model_type; {advice}."
            )
        raise NotComputed(
            f"{origin} is of model_type {str(family)[:60]!r}; supported families: "
            f"{', '.join(FAMILIES)}."
        )
    if hf.get("pruned_heads"):
        refuse(hf, origin, "pruned_heads", {})
    read = _by_keys if family in KEYS else _t5
    try:
        return read(family, hf, origin)
    except KeyError as error:
        raise CheckpointError(
            f"The configuration of {origin} lacks {error}, which a {family} model "
            f"needs; {advice}."
        ) from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"The configuration of {origin} holds a value of another kind than a "
            f"{family} model's ({str(error)[:200]}); {advice}."
        ) from error


def _by_keys(family: str, hf: Mapping[str, Any], origin: str) -> LanguageConfig:
    for key, value in KEYS[family].only.items():
        refuse(hf, origin, key, value)
    fields = dict(KEYS[family].always)
    for name, said in KEYS[family].named.items():
        if isinstance(said, str):
            fields[name] = hf[said]
            continue
        key, default = said
        fields[name] = hf.get(key, default)
        if fields[name] is None and name not in _DERIVED:
            fields[name] = default
    width, heads = fields["width"], fields["num_heads"]
    if fields.get("num_kv_heads") is None:
        fields["num_kv_heads"] = heads
    if fields.get("head_dim") is None:
        fields["head_dim"] = head_size(width, heads, origin)
    if fields["ffn_width"] is None:
        fields["ffn_width"] = 4 * width
    if fields.get("embed_width") == width:
        fields["embed_width"] = None
    fields["activation"] = activation_of(fields["activation"], origin)
    if fields["position"] == "rotary":
        fields |= read_rope(family, hf, fields["head_dim"], origin)
    if family in ("qwen2", "qwen3"):
        fields["sliding_window"] = read_window(hf, origin)
    if family == "roberta":
        fields["max_positions"] -= FAMILIES[family].hf.first_position
    if family == "opt":  # of 350M: projected before the positions are added
        refuse(hf, origin, "word_embed_proj_dim", width)
    return LanguageConfig(family=family, **fields)


def _t5(family: str, hf: Mapping[str, Any], origin: str) -> LanguageConfig:
    """Read the encoder of a T5; see arXiv 1910.10683, and 2002.05202 for gated ones."""
    heads = hf["num_heads"]
    feed_forward = hf.get("feed_forward_proj", "relu")
    gate, _, activation = feed_forward.rpartition("-")
    if gate not in ("", "gated"):
        raise CheckpointError(
            f"{origin} sets feed_forward_proj={feed_forward!r}; expected the name of "
            f"an activation, or 'gated-' before it."
        )
    if feed_forward == "gated-gelu":  # since T5 1.1, by this name
        activation = "gelu_new"
    # transformers writes the two halves out, and believes them.
    refuse(hf, origin, "is_gated_act", gate == "gated")
    refuse(hf, origin, "dense_act_fn", activation)
    dropout = hf.get("dropout_rate", 0.1)
    return LanguageConfig(
        family=family,
        num_layers=hf["num_layers"],
        width=hf["d_model"],
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=hf["d_kv"],
        ffn_width=hf["d_ff"],
        vocab_size=hf["vocab_size"],
        # Nothing ends there: it is the length of the training sequences.
        max_positions=hf.get("n_positions", 512),
        norm="rmsnorm",
        norm_eps=hf.get("layer_norm_epsilon", 1e-6),
        pre_norm=True,
        activation=activation_of(activation, origin),
        gated=gate == "gated",
        attention="bidirectional",
        position="relative",
        qkv_bias=False,
        out_bias=False,
        ffn_bias=False,
        embed_drop=dropout,
        attn_drop=dropout,
        residual_drop=dropout,
        init_std=hf.get("initializer_factor", 1.0),
        attn_scaled=False,
        relative_buckets=hf.get("relative_attention_num_buckets", 32),
        relative_max_distance=hf.get("relative_attention_max_distance", 128),
        ffn_drop=dropout,
        final_drop=dropout,
        fan_in_init=True,
    )
