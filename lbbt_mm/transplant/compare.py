"""How a layer differs from a language block: what must agree, and what may be accepted.

A difference of the first kind ends a plan. One of the second kind makes a copy inexact:
the numbers fit, but the layer computes another function with them than the language
model did. It is refused unless the config accepts it by name.
"""

from __future__ import annotations

from lbbt_mm.language.block import block_shapes
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.targets import LayerTarget

ACCEPTABLE = {
    "norm_order": "the norms stand elsewhere than in the language model",
    "activation": "the FFN has another activation",
    "norm_eps": "the norms have another epsilon",
    "extra_parameters": "the layer has parameters that a block does not have",
}
"""Name in ``accept`` -> what is inexact then."""

_SOURCE_OF_CROSS = {"cross_norm": "attn_norm", "cross_qkv": "qkv", "cross_out": "out"}


def source_of(part: str) -> str:
    """Name the part of a block that fills a part of a layer.

    Cross-attention is filled from self-attention: language models have no other.
    """
    name, _, kind = part.rpartition(".")
    return f"{_SOURCE_OF_CROSS.get(name, name)}.{kind}"


def refuse_other_functions(config: LanguageConfig, source: str) -> None:
    """Refuse families whose blocks compute something that no known layer computes.

    Args:
        config: The language model's architecture.
        source: Its name, for the message.

    Raises:
        TransplantError: With every reason.
    """
    heads, groups = config.num_heads, config.num_kv_heads
    others = {
        f"{config.position} positions inside the attention": config.position != "table",
        "attention without the scale 1 / sqrt(head width)": not config.attn_scaled,
        "a gated FFN": config.gated,
        f"grouped heads ({heads} for queries, {groups} for keys and values)": (
            groups != heads
        ),
        "RMSNorm": config.norm != "layernorm",
        "norms of queries and keys": config.qk_norm,
    }
    reasons = [reason for reason, applies in others.items() if applies]
    if reasons:
        raise TransplantError(
            f"The blocks of {source} ({config.family}) are another function than the "
            f"transformer layers of vision models: they have {', '.join(reasons)}. "
            f"Use a GPT-2 or BERT-shaped model here, or run these blocks as they are, "
            f"in lbbt_mm.LanguageBackbone."
        )


def misfits(target: LayerTarget, config: LanguageConfig, cross: bool) -> list[str]:
    """List what must agree and does not; empty when the block's numbers fit.

    Args:
        target: The layer.
        config: The language model's architecture.
        cross: Whether its cross-attention is to be filled as well.
    """
    found = []
    heads = target.num_heads if cross else target.num_heads[:1]
    if any(count != config.num_heads for count in heads):
        found.append(
            f"num_heads: expected {config.num_heads}, as in the language model, got "
            f"{' and '.join(map(str, heads))} (shapes may agree, but the heads "
            f"would be cut anew)"
        )
    shapes = block_shapes(config)
    wanted = {part: shapes.get(source_of(part)) for part in target.parts}
    for part, shape in wanted.items():
        if part.startswith("cross_") and not cross:
            continue
        got = target.shape_of(part)
        if shape is None:
            found.append(f"{part}: the block has none, the layer has {list(got)}")
        elif got != shape:
            found.append(f"{part}: expected {list(shape)}, got {list(got)}")
    for part, shape in shapes.items():
        if part not in target.parts:
            found.append(f"{part}: expected {list(shape)}, the layer has none")
    return found


def differences(target: LayerTarget, config: LanguageConfig) -> dict[str, str]:
    """List what makes a copy inexact: key of :data:`ACCEPTABLE` -> both sides."""
    found = {}
    order = "pre" if config.pre_norm else "post"
    if target.norm_order != order:
        found["norm_order"] = f"{order}-norm block, {target.norm_order}-norm layer"
    if target.activation != config.activation:
        got = target.activation or "a function that is none of the known ones"
        found["activation"] = f"{config.activation} in the block, {got} in the layer"
    if target.norm_eps != [config.norm_eps]:
        got = " and ".join(f"{eps:g}" for eps in target.norm_eps)
        found["norm_eps"] = f"{config.norm_eps:g} in the block, {got} in the layer"
    if target.unmapped:
        found["extra_parameters"] = f"{', '.join(target.unmapped)} in the layer"
    return found
