"""What a language backbone starts from, around the blocks of a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mmengine.logging import print_log
from torch import Tensor

from lbbt_mm.language import Checkpoint
from lbbt_mm.language.fallback_checkpoint import FallbackCheckpoint, open_any
from lbbt_mm.language.residual import (
    residual_rms,
    scratch_word_embeddings,
    typical_word_embeddings,
)
from lbbt_mm.models.backbone.bridge_source import (
    describe_origin,
    say_other_use,
    take_patch_embed,
)
from lbbt_mm.models.backbone.patch_moments import matched, read_moments

if TYPE_CHECKING:
    from lbbt_mm.models.backbone.language_backbone import LanguageBackbone


def draw_or_read(backbone: LanguageBackbone) -> None:
    """Fill a backbone by its options ``pretrained``, ``token_scale`` and the like.

    Args:
        backbone: Built; filled in place.

    Raises:
        CheckpointError: The language model's file is missing or does not fit.
    """
    source = None
    own_token = backbone.prefix is not None and backbone.prefix.kind == "language"
    if backbone.pretrained or own_token:
        source = open_any(backbone.language_source)
    if backbone.pretrained:
        assert source is not None
        _read_language(backbone, source)
    else:
        backbone.language.reset_parameters()
        backbone.reset_patch_embed()
    if backbone.prefix is not None:
        backbone.prefix.start_from(source)
    print_log(
        f"LanguageBackbone: its blocks start from "
        f"{describe_origin(backbone.language.origin)}.",
        logger="current",
    )


def _read_language(
    backbone: LanguageBackbone, source: Checkpoint | FallbackCheckpoint
) -> None:
    # Both are of the kind that the architecture is.
    backbone.language.load(source, backbone.first_block)  # type: ignore[arg-type]
    say_other_use(backbone.language.use, source.record.get("use"), source.source)
    backbone.patch_embed.reset_parameters()
    if not take_patch_embed(backbone.patch_embed, source, backbone.token_scale):
        words = None
        if backbone.token_scale in ("residual", "moments") and not source.record:
            words = typical_word_embeddings(source, _count(backbone))
        backbone.reset_patch_embed(words)


def draw_patch_embed(backbone: LanguageBackbone, words: Tensor | None) -> None:
    """Draw the patch embedding and its positions anew, at their ``token_scale``.

    Args:
        backbone: With its blocks' weights.
        words: As for ``LanguageBackbone.reset_patch_embed``.
    """
    scale, embed = backbone.token_scale, backbone.patch_embed
    if not isinstance(scale, str):
        embed.reset_parameters(float(scale))
        return
    if words is None:
        config = backbone.language.config
        words = scratch_word_embeddings(config, _count(backbone))
    typical = residual_rms(backbone.language, words)
    factor = typical / embed.unit_rms()
    embed.reset_parameters(factor)  # positions, too
    start = f"{factor:.3g} times the paper's initialisation"
    if scale == "moments":
        assert backbone.patch_moments is not None
        weight = embed.projection.weight
        patches = read_moments(backbone.patch_moments, weight[0].numel())
        kernel, bias = matched(patches, words * (typical / words.pow(2).mean().sqrt()))
        with torch.no_grad():
            weight.copy_(kernel.view_as(weight))
            embed.projection.bias.copy_(bias)  # type: ignore[union-attr]  # it has one
        start = f"the moments of words, for the patches of {backbone.patch_moments}"
    print_log(
        f"LanguageBackbone: the residual stream's typical root-mean-square is "
        f"{typical:.3g}; the patch embedding starts at {start}.",
        logger="current",
    )


def _count(backbone: LanguageBackbone) -> int:
    """How many words: a covariance needs more of them than there are channels."""
    return 512 if backbone.token_scale == "residual" else 8 * backbone.embed_dims
