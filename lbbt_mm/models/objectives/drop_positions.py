"""Where was this patch? Positions that were dropped, predicted from the others."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from lbbt_mm.language.fallback_config import FallbackConfig
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.models.objectives.objectives import checked_weight
from lbbt_mm.registry import MODELS


@MODELS.register_module()
class DropPosObjective(BaseModule):
    """Predict the positions of patches that lost theirs (DropPos, arXiv 2309.03576).

    A share of the patches is left out, a share of the others gets one learnable vector
    in place of its position, and a linear layer says from their last hidden states
    which place of the image each was at. The backbone runs a second time for it; alone,
    without other objectives, once.

    The patches go through the blocks shuffled, those with a position first. Under
    causal attention a token may count how many stand before it: in the image's order
    that *is* its position, and nothing would have to be learnt. Shuffled, it counts
    nothing of use; what is lost is that causal blocks see patches here in an order that
    they meet nowhere else. To bidirectional blocks order means nothing.

    What differs from the paper: targets are not smoothed over neighbouring places, and
    every dropped patch counts alike.

    Args:
        drop_ratio: Share of the visible patches whose position is dropped.
        mask_ratio: Share of the patches that are left out: without any, neighbours may
            be found by edges that go on from one to the next.
        weight: Factor of the loss.
        init_cfg: mmengine's initialisation.

    Raises:
        ValueError: A ratio leaves nothing to predict or to predict it from, the
            backbone is no ``LanguageBackbone``, or its positions are none that a single
            token could lose. When training: images are of another size.

    Example:
        >>> objective = dict(name="places", type="lbbt_mm.DropPosObjective",
        ...                  drop_ratio=0.75, mask_ratio=0.25)
    """

    has_head, sees_images, sees_features = False, True, False

    def __init__(
        self,
        drop_ratio: float = 0.75,
        mask_ratio: float = 0.75,
        weight: float = 1.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.drop_ratio, self.mask_ratio = drop_ratio, mask_ratio
        self.weight = checked_weight("DropPosObjective", weight)
        # In a tuple, so that it is not a second time in the state dict.
        self._bound: tuple[LanguageBackbone, ...] = ()

    def bind(self, model: Any) -> None:
        """Make the layers for a classifier's backbone.

        Args:
            model: The ``BridgeClassifier``.

        Raises:
            ValueError: See the class.
        """
        backbone = model.backbone
        _refuse_positions(backbone)
        places = math.prod(backbone.patch_embed.grid)
        self.visible = round(places * (1 - self.mask_ratio))
        self.kept = self.visible - round(self.visible * self.drop_ratio)
        if not 0 < self.kept < self.visible <= places:
            raise ValueError(
                f"DropPosObjective expects ratios that leave some of the {places} "
                f"patches with a position and some without, got drop_ratio="
                f"{self.drop_ratio!r} and mask_ratio={self.mask_ratio!r}."
            )
        self._bound = (backbone,)
        self.no_position = nn.Parameter(torch.empty(backbone.embed_dims))
        self.head = nn.Linear(backbone.embed_dims, places)
        nn.init.normal_(self.no_position, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def loss(
        self, feats: Any, data_samples: list[Any], views: int, images: Tensor
    ) -> dict[str, Tensor]:
        """Drop positions and predict them.

        Args:
            feats: Not read.
            data_samples: Not read.
            views: Not read.
            images: (views * B, C, H, W).

        Returns:
            ``loss``, weighted, and ``accuracy_top-1``: how many of the dropped
            positions are found, in %.
        """
        states, places_BD = self._hidden(images)
        scores = self.head(states).flatten(0, 1).float()
        targets = places_BD.flatten()
        found = (scores.detach().argmax(1) == targets).float().mean() * 100
        loss = F.cross_entropy(scores, targets) * self.weight
        return {"loss": loss, "accuracy_top-1": found}

    def _hidden(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden states ``(B, D, C)`` of dropped patches, and their places."""
        (backbone,) = self._bound
        backbone.require_weights()
        embed, language = backbone.patch_embed, backbone.language
        tokens, grid = embed.project(images)
        if grid != embed.grid:
            raise ValueError(
                f"DropPosObjective was built for {embed.grid} patches, got images of "
                f"{grid}: set img_size to the images' size."
            )
        batch, count, width = tokens.shape
        order = torch.rand(batch, count, device=tokens.device).argsort(dim=1)
        order_BV = order[:, : self.visible]
        tokens = tokens.gather(1, order_BV[:, :, None].expand(-1, -1, width))
        front = 0 if backbone.prefix is None else 1
        table = (
            language.position_rows(front + count)  # type: ignore[union-attr, operator]
            if embed.positions is None
            else embed.places(grid)
        )
        dropped = self.no_position.to(table.dtype)
        rows = torch.cat(
            (
                table[-count:][order_BV[:, : self.kept]],
                dropped.expand(batch, self.visible - self.kept, -1),
            ),
            dim=1,
        )
        if embed.positions is not None:
            tokens = tokens + rows.to(tokens.dtype)
        if backbone.prefix is not None:
            tokens = backbone.prefix(tokens)
        if embed.positions is None:
            rows = torch.cat((table[:front].expand(batch, -1, -1), rows), dim=1)
            stream = language.embed(tokens, rows)  # type: ignore[call-arg]
        else:
            stream = language.embed(tokens)
        last = max(backbone.out_indices)
        for number, block in enumerate(language.blocks[: last + 1]):
            stream = backbone.run_block(block, number, stream, None, False)
        if last == backbone.num_layers - 1:
            stream = language.finish(stream)
        return stream[:, front + self.kept :], order_BV[:, self.kept :]


def _refuse_positions(backbone: Any) -> None:
    """Refuse a backbone from which no position can be dropped."""
    if not isinstance(backbone, LanguageBackbone):
        raise ValueError(
            f"DropPosObjective expects an lbbt_mm.LanguageBackbone, got "
            f"{type(backbone).__name__}."
        )
    position, config = backbone.patch_embed.position, backbone.language.config
    source, advice = backbone.language_source, "take position='sincos2d' or 'learned'"
    if isinstance(config, FallbackConfig):
        raise ValueError(
            f"DropPosObjective takes a model of one of our families: {source} runs "
            "over transformers' own layers, which add positions themselves."
        )
    if backbone.window_size is not None:
        raise ValueError(
            "DropPosObjective shuffles the patches, which window_size cuts by their "
            "places: leave window_size out."
        )
    if position == "none":
        raise ValueError(f"position='none' leaves nothing to drop: {advice}.")
    if position == "language" and config.position != "table":
        raise ValueError(
            f"DropPosObjective: the positions of {source} are inside its attention, "
            f"as distances between tokens; no token can lose its own: {advice}."
        )
