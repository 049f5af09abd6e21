"""From the features of an image's tiles to the tokens a language model reads.

The order is that of LLaVA-NeXT (LLaVA-1.6) in transformers 4.57: the tokens of the
whole image, then the map of all other tiles without the rows and columns that are
padding, with a newline token behind each of its rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lbbt_mm.language.layers import stream_dtype
from lbbt_mm.neighbours.transformers import borrow


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
    return maps.permute(0, 2, 3, 1)


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
        features: ``(tiles, rows, cols, C)``, or ``(tiles, rows * cols, C)`` of square
            tiles; the first tile is the whole image.
        image_size: Height and width of the image before any change, pixels.
        grid_pinpoints: Heights and widths, pixels, of the grids; None: one tile.
        tile_size: Height and width of a tile, pixels.
        newline: ``(C,)``, behind each row of the map of tiles.

    Returns:
        ``(tokens, C)``; :func:`count_tokens` says how many.

    Raises:
        ImportError: transformers is missing or has not the functions.
        ValueError: The tiles are not those of the image, or nothing of it is left
            without the padding.
    """
    features = _as_maps(features)
    tiles, rows, cols, width = features.shape
    if grid_pinpoints is None:
        if tiles != 1:
            raise ValueError(
                f"features: expected one tile without grid_pinpoints, got {tiles}; "
                "give the grid_pinpoints that the image was cut with."
            )
        return features.flatten(0, 2)
    image_size = _as_size(image_size)
    high, wide = _grid(image_size, grid_pinpoints, tile_size)
    if tiles != 1 + high * wide:
        raise ValueError(
            f"features: expected 1 + {high} * {wide} tiles of an image of "
            f"{image_size[0]} x {image_size[1]} pixels, got {tiles}; cut the image "
            "with the same grid_pinpoints and tile size."
        )
    whole, parts = features[0], features[1:]
    # (C, high * rows, wide * cols): neighbouring tiles become neighbouring tokens.
    grid = parts.reshape(high, wide, rows, cols, width).permute(4, 0, 2, 1, 3)
    grid = grid.reshape(width, high * rows, wide * cols)
    grid = _unpad(grid, image_size, rows, cols)
    if newline is not None:
        ends = newline.to(grid)[:, None, None].expand(width, grid.shape[1], 1)
        grid = torch.cat([grid, ends], dim=2)
    return torch.cat([whole.flatten(0, 1), grid.flatten(1).T])


def count_tokens(
    image_size: Sequence[int],
    grid_pinpoints: Sequence[Sequence[int]] | None,
    tile_size: int,
    rows: int,
    cols: int,
    newline: bool = True,
) -> int:
    """Count the tokens of one image without its features.

    Args:
        image_size: Height and width of the image before any change, pixels.
        grid_pinpoints: Heights and widths, pixels, of the grids; None: one tile.
        tile_size: Height and width of a tile, pixels.
        rows: Tokens in a column of one tile.
        cols: Tokens in a row of one tile.
        newline: Whether a newline token stands behind each row of the map of tiles.

    Returns:
        The number of tokens that :func:`pack_features` makes.

    Raises:
        ImportError: transformers is missing or has not the functions.
        ValueError: Nothing of the image is left without the padding.
    """
    if rows < 1 or cols < 1:
        raise ValueError(
            f"rows, cols: expected positive numbers of tokens, got {rows} and {cols}."
        )
    if grid_pinpoints is None:
        return rows * cols
    image_size = _as_size(image_size)
    high, wide = _grid(image_size, grid_pinpoints, tile_size)
    # No data, only a shape: the count cannot differ from what pack_features does.
    grid = torch.empty(1, high * rows, wide * cols, device="meta")
    _, left_rows, left_cols = _unpad(grid, image_size, rows, cols).shape
    return rows * cols + left_rows * (left_cols + bool(newline))


def _as_maps(features: Tensor) -> Tensor:
    if features.ndim == 4:
        return features
    if features.ndim != 3:
        raise ValueError(
            "features: expected (tiles, rows * cols, C) or (tiles, rows, cols, C), got "
            f"the shape {tuple(features.shape)}."
        )
    side = math.isqrt(features.shape[1])
    if side * side != features.shape[1]:
        raise ValueError(
            "features: expected a square number of tokens a tile, got "
            f"{features.shape[1]}; drop the class token, or give (tiles, rows, "
            "cols, C)."
        )
    return features.unflatten(1, (side, side))


def _as_size(image_size: Sequence[int]) -> tuple[int, int]:
    height, width = (int(side) for side in image_size)
    if height < 1 or width < 1:
        raise ValueError(
            f"image_size: expected a positive height and width, got {height} x {width}."
        )
    return height, width


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


def _unpad(grid: Tensor, image_size: tuple[int, int], rows: int, cols: int) -> Tensor:
    # transformers takes tokens for squares; where they are not, the image is as long
    # in tokens as this says. Reduced, so that squares keep its numbers to the bit.
    common = math.gcd(rows, cols)
    in_tokens = (image_size[0] * (rows // common), image_size[1] * (cols // common))
    left = borrow("unpad_image")(grid, in_tokens)
    if not left.numel():
        raise ValueError(
            f"image_size: expected an image of which a row of tokens is left without "
            f"the padding, got {image_size[0]} x {image_size[1]} pixels on a grid of "
            f"{grid.shape[1]} x {grid.shape[2]} tokens; leave out or crop so long an "
            "image."
        )
    return left
