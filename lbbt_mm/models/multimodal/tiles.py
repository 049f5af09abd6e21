"""From the tiles of images to the tokens that a language model reads.

The order of tokens is that of LLaVA-NeXT (LLaVA-1.6) in transformers 4.57: those of the
whole image, then the map of all other tiles without the rows and columns that are
padding, with a newline token behind each of its rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from lbbt_mm.language.layers import stream_dtype
from lbbt_mm.neighbours.transformers import borrow
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

    Example::

        half = (127.5, 127.5, 127.5)
        preprocessor = dict(type="lbbt_mm.TilePreprocessor", mean=half, std=half)
        model = dict(data_preprocessor=preprocessor)
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


def see(encoder: nn.Module, pixels: Tensor) -> Tensor:
    """Tiles ``(N, 3, side, side)`` -> visual tokens ``(N, rows, columns, C)``.

    Args:
        encoder: Of images; gets them in its own dtype.
        pixels: The tiles.

    Raises:
        ValueError: The encoder does not give a map.
    """
    maps = encoder(pixels.to(stream_dtype(encoder)))
    maps = maps[-1] if isinstance(maps, (tuple, list)) else maps
    if maps.dim() != 4:
        raise ValueError(
            "Expected a vision encoder that gives a map (N, C, rows, columns), got "
            f"{tuple(maps.shape)}; set its out_type='featmap'."
        )
    # Contiguous: without gradients a CPU in bfloat16 copies a projector's weight once a
    # token otherwise, twenty times slower.
    return maps.permute(0, 2, 3, 1).contiguous()


def pack_features(
    features: Tensor,
    image_size: Sequence[int],
    grid_pinpoints: Sequence[Sequence[int]] | None,
    tile_size: int,
    newline: Tensor | None = None,
) -> Tensor:
    """Order the features of one image's tiles as a sequence of tokens.

    Equal to ``LlavaNextModel.pack_image_features`` with the grid; without it the one
    tile's tokens stay as they are, as in LLaVA-1.5.

    Args:
        features: ``(tiles, rows, cols, C)``; the first tile is the whole image.
        image_size: Height and width of the image before any change, pixels.
        grid_pinpoints: Heights and widths, pixels, of the grids; None: one tile.
        tile_size: Height and width of a tile, pixels.
        newline: ``(C,)``, behind each row of the map of tiles.

    Returns:
        ``(tokens, C)``.

    Raises:
        ImportError: transformers is missing or has not the functions.
        ValueError: The tiles are not those of the image, or nothing of it is left
            without the padding.
    """
    tiles, rows, cols, width = features.shape
    if grid_pinpoints is None:
        if tiles != 1:
            raise ValueError(
                f"features: expected one tile without grid_pinpoints, got {tiles}; "
                "give the grid_pinpoints that the image was cut with."
            )
        return features.flatten(0, 2)
    height, wide = (int(side) for side in image_size)
    if height < 1 or wide < 1:
        raise ValueError(
            f"image_size: expected a positive height and width, got {height} x {wide}."
        )
    grid_rows, grid_cols = _grid((height, wide), grid_pinpoints, tile_size)
    if tiles != 1 + grid_rows * grid_cols:
        raise ValueError(
            f"features: expected 1 + {grid_rows} * {grid_cols} tiles of an image of "
            f"{height} x {wide} pixels, got {tiles}; cut the image with the same "
            "grid_pinpoints and tile size."
        )
    # (C, grid_rows * rows, grid_cols * cols): neighbouring tiles, neighbouring tokens.
    grid = features[1:].reshape(grid_rows, grid_cols, rows, cols, width)
    grid = grid.permute(4, 0, 2, 1, 3).reshape(
        width, grid_rows * rows, grid_cols * cols
    )
    # transformers takes tokens for squares; where they are not, the image is as long
    # in tokens as this says. Reduced, so that squares keep its numbers to the bit.
    common = math.gcd(rows, cols)
    in_tokens = (height * (rows // common), wide * (cols // common))
    left = borrow("unpad_image")(grid, in_tokens)
    if not left.numel():
        raise ValueError(
            "image_size: expected an image of which a row of tokens is left without "
            f"the padding, got {height} x {wide} pixels on a grid of {grid.shape[1]} x "
            f"{grid.shape[2]} tokens; leave out or crop so long an image."
        )
    if newline is not None:
        ends = newline.to(left)[:, None, None].expand(width, left.shape[1], 1)
        left = torch.cat([left, ends], dim=2)
    return torch.cat([features[0].flatten(0, 1), left.flatten(1).T])


def _grid(
    image_size: tuple[int, int], pinpoints: Sequence[Sequence[int]], tile_size: int
) -> tuple[int, int]:
    for height, width in pinpoints:
        if height < 1 or width < 1 or height % tile_size or width % tile_size:
            raise ValueError(
                f"grid_pinpoints: expected multiples of the tile size {tile_size}, got "
                f"{height} x {width}."
            )
    points = [(int(height), int(width)) for height, width in pinpoints]
    return borrow("get_anyres_image_grid_shape")(image_size, points, tile_size)
