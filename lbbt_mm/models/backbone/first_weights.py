"""What a language backbone starts from, around the blocks of a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmengine.logging import print_log
from torch import Tensor

from lbbt_mm.language import Checkpoint, open_checkpoint
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
        source = open_checkpoint(backbone.language_source)
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


def _read_language(backbone: LanguageBackbone, source: Checkpoint) -> None:
    backbone.language.load(source)
    say_other_use(backbone.language.use, source.record.get("use"), source.source)
    backbone.patch_embed.reset_parameters()
    if not take_patch_embed(backbone.patch_embed, source, backbone.token_scale):
        words = None
        if backbone.token_scale == "residual" and not source.record:
            words = typical_word_embeddings(source)
        backbone.reset_patch_embed(words)


def draw_patch_embed(backbone: LanguageBackbone, words: Tensor | None) -> None:
    """Draw the patch embedding and its positions anew, at their ``token_scale``.

    Args:
        backbone: With its blocks' weights.
        words: As for ``LanguageBackbone.reset_patch_embed``.
    """
    scale = backbone.token_scale
    if scale == "residual":
        if words is None:
            words = scratch_word_embeddings(backbone.language.config)
        typical = residual_rms(backbone.language, words)
        scale = typical / backbone.patch_embed.unit_rms()
        print_log(
            f"LanguageBackbone: the residual stream's typical root-mean-square is "
            f"{typical:.3g}; the patch embedding starts at {scale:.3g} times the "
            f"paper's initialisation.",
            logger="current",
        )
    backbone.patch_embed.reset_parameters(float(scale))
