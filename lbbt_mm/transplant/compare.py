"""How a layer differs from a language block: what must agree, and what may be accepted.

A difference of the first kind ends a plan. One of the second kind makes a copy inexact:
the numbers fit, but the layer computes another function with them than the language
model did. It is refused unless the config accepts it by name.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lbbt_mm.language.block import block_shapes
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.tables import PARTS
from lbbt_mm.transplant.targets import LayerTarget
from lbbt_mm.transplant.width import Selection, resized, select

ACCEPTABLE = {
    "norm_order": "the norms stand elsewhere than in the language model",
    "activation": "the FFN has another activation",
    "norm_eps": "the norms have another epsilon",
    "extra_parameters": "the layer has parameters that a block does not have",
    "positions": "the whole table of positions is stretched over more rows",
    "width": "the layer takes evenly spaced channels of the block",
}
"""Name in ``accept`` -> what is inexact then."""

_SOURCE_OF_CROSS = {"cross_norm": "attn_norm", "cross_qkv": "qkv", "cross_out": "out"}


def accepted(accept: Any) -> list[str]:
    """Read the option ``accept``: a list of words, one word, or None.

    Raises:
        TransplantError: It is another thing, or a word is none of :data:`ACCEPTABLE`.
    """
    words = [accept] if isinstance(accept, str) else accept or []
    known = isinstance(words, (list, tuple, set, frozenset)) and all(
        isinstance(word, str) and word in ACCEPTABLE for word in words
    )
    if not known:
        raise TransplantError(
            f"accept should be a list of some of {', '.join(ACCEPTABLE)}; got "
            f"{accept!r}."
        )
    return list(words)


def source_of(part: str) -> str:
    """Name the part of a block that fills a part of a layer.

    Cross-attention is filled from self-attention: language models have no other.
    """
    name, _, kind = part.rpartition(".")
    return f"{_SOURCE_OF_CROSS.get(name, name)}.{kind}"


def refuse_other_functions(
    config: LanguageConfig, source: str, wanted: Collection[str]
) -> None:
    """Refuse what computes something that no known layer computes.

    Args:
        config: The language model's architecture.
        source: Its name, for the message.
        wanted: What is to be filled; words of
            :data:`~lbbt_mm.transplant.tables.PARTS`.

    Raises:
        TransplantError: With every reason.
    """
    others = {
        f"{config.position} positions inside the attention": (
            "attn",
            config.position != "table",
        ),
        "attention without the scale 1 / sqrt(head width)": (
            "attn",
            not config.attn_scaled,
        ),
        "a gated FFN, down(act(gate x) * up x): a product of two functions of x, which "
        "no plain FFN down(act(up x)) computes whatever its numbers": (
            "ffn",
            config.gated,
        ),
        "RMSNorm": ("norms", config.norm != "layernorm"),
        "norms of queries and keys": ("attn", config.qk_norm),
    }
    reasons, bad = [], set()
    for reason, (where, applies) in others.items():
        words = {"self_attn", "cross_attn"} if where == "attn" else {where}
        if applies:
            bad |= words
            if words & set(wanted):
                reasons.append(reason)
    if reasons:
        free = [word for word in PARTS if word not in bad]
        raise TransplantError(
            f"The blocks of {source} ({config.family}) are another function than the "
            f"transformer layers of vision models: they have {', '.join(reasons)}. "
            f"Use a GPT-2 or BERT-shaped model here, or run these blocks as they are, "
            f"in lbbt_mm.LanguageBackbone"
            + (f"; parts={free} can be copied." if free else ".")
        )


def misfits(target: LayerTarget, config: LanguageConfig) -> list[str]:
    """List what must agree and does not; empty when the block's numbers fit.

    A bias that the block does not have is zero, and so is a layer's then.

    Args:
        target: The layer.
        config: The language model's architecture, or that of a selection of it.
    """
    found = []
    if any(count != config.num_heads for count in target.num_heads):
        found.append(
            f"num_heads: expected {config.num_heads}, as in the language model, got "
            f"{' and '.join(map(str, target.num_heads))} (shapes may agree, but the "
            f"heads would be cut anew)"
        )
    shapes = block_shapes(config)
    for part in target.parts:
        shape, got = shapes.get(source_of(part)), target.shape_of(part)
        if shape is not None and got != shape:
            found.append(f"{part}: expected {list(shape)}, got {list(got)}")
    names = {part.partition(".")[0] for part in target.parts}
    for part, shape in shapes.items():
        if part.partition(".")[0] in names and part not in target.parts:
            found.append(f"{part}: expected {list(shape)}, the layer has none")
    return found


def fitted(target: LayerTarget, config: LanguageConfig) -> Selection | str | None:
    """Choose the channels with which a block fills a layer of another size.

    Args:
        target: The layer.
        config: The language model's architecture.

    Returns:
        The selection; a sentence if it is impossible; None if the sizes are the same.
    """
    small = sized_as(target, config)
    if small is None:
        return "the heads do not divide the rows of the projections"
    attention, ffn = bool(target.num_heads), "up.weight" in target.parts
    if wrong := misfits(target, small):
        return "; ".join(wrong)
    return None if small == config else select(config, small, attention, ffn)


def sized_as(target: LayerTarget, config: LanguageConfig) -> LanguageConfig | None:
    """Return the language model's architecture with the sizes of a layer.

    None if its heads do not divide its projections.
    """
    parts = {part: target.shape_of(part) for part in target.parts}
    heads = target.num_heads[0] if target.num_heads else 0
    qkv = parts.get("qkv.weight", parts.get("cross_qkv.weight", (0,)))
    inner = ("qkv.weight", "cross_qkv.weight", "up.weight")
    width = next(
        (parts[part][1] for part in inner if part in parts),
        next(iter(parts.values()))[0],
    )
    ffn_width = parts.get("up.weight", (0,))[0]
    return resized(config, width, heads, qkv[0], ffn_width)


def differences(target: LayerTarget, config: LanguageConfig) -> dict[str, str]:
    """List what makes a copy inexact: key of :data:`ACCEPTABLE` -> both sides.

    Only of what is to be filled.
    """
    found = {}
    order = "pre" if config.pre_norm else "post"
    if target.norm_eps and target.norm_order != order:
        found["norm_order"] = f"{order}-norm block, {target.norm_order}-norm layer"
    if "up.weight" in target.parts and target.activation != config.activation:
        got = target.activation or "a function that is none of the known ones"
        found["activation"] = f"{config.activation} in the block, {got} in the layer"
    if target.norm_eps and target.norm_eps != [config.norm_eps]:
        got = " and ".join(f"{eps:g}" for eps in target.norm_eps)
        found["norm_eps"] = f"{config.norm_eps:g} in the block, {got} in the layer"
    if target.unmapped:
        found["extra_parameters"] = f"{', '.join(target.unmapped)} in the layer"
    return found
