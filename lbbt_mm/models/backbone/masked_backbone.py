"""A language backbone that sees a quarter of its patches: MAE's encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.fallback_config import FallbackConfig
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.registry import MODELS


@MODELS.register_module()
class MaskedLanguageBackbone(LanguageBackbone):
    """The encoder of mmpretrain's ``MAE``, made of a language model's blocks.

    In training mode a random share of the patches is left out, and only the others go
    through the blocks (He et al., arXiv 2111.06377), in raster order and with the
    positions of the places where they were. In evaluation mode it is a
    :class:`LanguageBackbone`, whose weights have the same names: a checkpoint of the
    one loads into the other.

    ``MAEPretrainDecoder`` expects a class token in front, which a language model does
    not have: the mean of the visible tokens stands there.

    Args:
        mask_ratio: Share of the patches to leave out.
        kwargs: As of :class:`LanguageBackbone`.

    Raises:
        ValueError: The ratio leaves nothing out or nothing over, or the family has
            positions inside its attention (rotary ones, T5's), which count tokens and
            not places.

    Example:
        >>> model = dict(type="MAE", backbone=dict(
        ...     type="lbbt_mm.MaskedLanguageBackbone", language_model="gpt2-medium"))
    """

    def __init__(self, *args: Any, mask_ratio: float = 0.75, **kwargs: Any) -> None:
        self._mask_ratio = mask_ratio
        super().__init__(*args, **kwargs)

    def _build(
        self, config: LanguageConfig | FallbackConfig, options: Mapping[str, Any]
    ) -> None:
        super()._build(config, options)
        mask_ratio = self._mask_ratio
        places = self.patch_embed.grid[0] * self.patch_embed.grid[1]
        self.visible = int(places * (1 - mask_ratio))
        if not 0 < mask_ratio < 1 or self.visible < 1:
            raise ValueError(
                f"mask_ratio should leave out some of the {places} patches and not "
                f"all, got {mask_ratio!r}; MAE's is 0.75."
            )
        if isinstance(config, FallbackConfig):
            raise ValueError(
                f"MaskedLanguageBackbone takes a model of one of our families: "
                f"{self.language_source} runs over transformers' own layers, whose "
                f"positions count tokens and not the places that are left."
            )
        if self.window_size is not None:
            raise ValueError(
                "MaskedLanguageBackbone: window_size has no meaning where a random "
                "share of the patches is left; leave it out, and set it in the "
                "LanguageBackbone that starts from this one."
            )
        inside = config.position in ("rotary", "relative")
        if inside and self.patch_embed.position not in ("sincos2d", "learned", "none"):
            raise ValueError(
                f"MaskedLanguageBackbone: the positions of {self.language_source} are "
                f"inside its attention, where they count tokens and not the places "
                f"that are left: take position='sincos2d'."
            )

    def forward(
        self, x: Tensor, mask: bool | None = True
    ) -> tuple[Tensor, ...] | tuple[Tensor, Tensor, Tensor]:
        """Encode images, in training mode the visible patches only.

        Args:
            x: Images ``(B, in_channels, height, width)``, for masking of the size that
                the backbone was built for.
            mask: ``None`` or ``False`` for all patches in training mode too.

        Returns:
            As :class:`LanguageBackbone` without masking. With it, what mmpretrain's
            ``MAE`` takes: tokens ``(B, 1 + visible, C)``, the mask ``(B, T)``, 1 where
            a patch was left out, and each place's number among the shuffled patches
            ``(B, T)``.

        Raises:
            CheckpointError: No weights have been loaded yet.
            ValueError: Images of another size are to be masked.
        """
        if not (self.training and mask):
            return super().forward(x)
        self.require_weights()
        tokens, grid = self.patch_embed(x)
        if grid != self.patch_embed.grid:
            raise ValueError(
                f"MaskedLanguageBackbone was built for {self.patch_embed.grid} "
                f"patches, got images of {grid}: set img_size to the images' size."
            )
        tokens = self.embed(tokens)
        front = tokens.shape[1] - grid[0] * grid[1]
        prefix, patches = tokens[:, :front], tokens[:, front:]
        kept_BV, mask_BT, places_BT = _draw_mask(patches, self.visible)
        index = kept_BV[:, :, None].expand(-1, -1, tokens.shape[2])
        visible = torch.cat((prefix, patches.gather(1, index)), 1)
        for number, block in enumerate(self.language.blocks):
            visible = self.run_block(block, number, visible, None, False)
        visible = self.language.finish(visible)[:, front:]
        return torch.cat((visible.mean(1, True), visible), 1), mask_BT, places_BT


def _draw_mask(tokens: Tensor, visible: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose visible places, rising: a causal model reads them in the image's order."""
    batch, places, _ = tokens.shape
    order_BT = torch.rand(batch, places, device=tokens.device).argsort(dim=1)
    kept_BV = order_BT[:, :visible].sort(dim=1).values
    order_BT = torch.cat((kept_BV, order_BT[:, visible:]), dim=1)
    mask_BT = torch.ones(batch, places, device=tokens.device).scatter(1, kept_BV, 0.0)
    return kept_BV, mask_BT, order_BT.argsort(dim=1)
