"""Normalise the tiles of images on the model's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor

from lbbt_mm.registry import MODELS

# CLIP's, which LLaVA's encoders expect, in units of 0 to 255.
CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
CLIP_STD = (68.5005327, 66.6321579, 70.32316305)


@MODELS.register_module()
class TilePreprocessor(BaseDataPreprocessor):
    """Move a batch to the model's device, and normalise what ``ImageTiles`` made.

    Args:
        mean: Of the three channels, in units of 0 to 255.
        std: The same.

    Raises:
        ValueError: There are not three numbers of each, or a ``std`` is zero.
    """

    def __init__(
        self,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or not all(std):
            raise ValueError(
                "TilePreprocessor expects three means and three deviations above zero, "
                f"got mean={tuple(mean)}, std={tuple(std)}."
            )
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise.

        Args:
            data: ``inputs``, a list of ``(tiles, 3, height, width)`` in units of 0 to
                255, and ``data_samples``.
            training: Unused.
        """
        data = self.cast_data(data)
        tiles = [(one.float() - self.mean) / self.std for one in data["inputs"]]
        return dict(data, inputs=tiles)
