"""Images as the square tiles that LLaVA-1.5 and LLaVA-1.6 show to a vision encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from lbbt_mm.neighbours.transformers import borrow
from lbbt_mm.registry import TRANSFORMS

# CLIP's mean colour as LLaVA pads with it: int(255 * mean), which cuts, not rounds.
_CLIP_MEAN = (122, 116, 104)


@TRANSFORMS.register_module()
class ImageTiles:
    """Make the images of a sample into square tiles of one size.

    Without ``grid_pinpoints`` each image is one tile, as in LLaVA-1.5. With them, as in
    LLaVA-1.6, its first tile is the whole image, stretched; the others are parts of the
    image resized onto the best of the grids, in the middle of black, row by row. All
    are those of transformers' ``LlavaNextImageProcessor`` (4.57; 4.45 fails where the
    black is an odd number of pixels). A model brings them into order with
    :func:`lbbt_mm.models.multimodal.visual_tokens.pack_features`.

    Reads ``images``, a list of RGB ``PIL.Image``, may be empty or absent. Adds

    - ``pixels``: ``(N, 3, size, size)`` uint8, RGB, 0 to 255, not normalised: the
      model does that on its device, so that a worker sends a quarter of the bytes;
    - ``tiles``: how many of the N belong to each image, in order;
    - ``image_sizes``: height and width of each image before any change, pixels;
    - ``stretched``: True where images were not padded, otherwise not there.

    Args:
        size: Height and width of a tile, pixels.
        grid_pinpoints: Heights and widths, pixels, of the grids, multiples of ``size``;
            LLaVA-1.6 has ``[(336, 672), (672, 336), (672, 672), (1008, 336), (336,
            1008)]``. None: one tile an image.
        pad: Without a grid: pad to a square before resizing, with CLIP's mean colour
            as LLaVA does. False: stretch.

    Raises:
        ImportError: With a grid: transformers has no ``select_best_resolution``.
        ValueError: A setting that makes no sense, or that the grid would ignore.

    Example::

        tiles = dict(type="lbbt_mm.ImageTiles", size=336)
    """

    def __init__(
        self,
        size: int = 336,
        grid_pinpoints: Sequence[Sequence[int]] | None = None,
        pad: bool = True,
    ) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(
                f"size: expected a positive number of pixels, got {size!r}."
            )
        if grid_pinpoints is not None and not pad:
            raise ValueError(
                "pad: expected its default with grid_pinpoints, which always pad with "
                f"black, got {pad!r}; leave it out."
            )
        self.size, self.pad = size, pad
        self.grid_pinpoints = _checked(grid_pinpoints, size)
        # At the start and not in a worker, so that what is missing is known at once.
        self._best: Any = grid_pinpoints and borrow("select_best_resolution")

    def __call__(self, sample: dict) -> dict:
        """Add the tiles.

        Raises:
            TypeError: An image is no RGB ``PIL.Image``.
            ValueError: An image has no pixels, or is too long for the grid.
        """
        sample = dict(sample)
        images = list(sample.pop("images", None) or [])
        for number, image in enumerate(images):
            _check_image(image, number)
        parts = [self._tiles(image) for image in images]
        none = np.empty((0, 3, self.size, self.size), np.uint8)
        sample["pixels"] = torch.from_numpy(np.concatenate([none, *parts]))
        sample["tiles"] = [len(part) for part in parts]
        sample["image_sizes"] = [(image.height, image.width) for image in images]
        if not self.pad:
            sample["stretched"] = True
        return sample

    def _tiles(self, image: Image.Image) -> np.ndarray:
        """Return the tiles of one image, ``(tiles, 3, size, size)``, uint8."""
        whole = image
        if self._best is None and self.pad:
            whole = _padded(image, (max(image.size), max(image.size)), _CLIP_MEAN)
        size = (self.size, self.size)
        tiles = [np.asarray(whole.resize(size, Image.Resampling.BICUBIC))]
        if self._best is not None:
            grid = np.asarray(self._on_grid(image))
            high, wide = grid.shape[0] // self.size, grid.shape[1] // self.size
            parts = grid.reshape(high, self.size, wide, self.size, 3).swapaxes(1, 2)
            tiles.extend(parts.reshape(-1, self.size, self.size, 3))
        return np.stack(tiles).transpose(0, 3, 1, 2)

    def _on_grid(self, image: Image.Image) -> Image.Image:
        """Return the image, as large as the best grid lets it be, on black."""
        high, wide = self._best((image.height, image.width), self.grid_pinpoints)
        by_height, by_width = high / image.height, wide / image.width
        if min(image.height * by_width, image.width * by_height) < 1:
            raise ValueError(
                "images: expected at least one pixel of the shorter side on the grid, "
                f"got an image of {image.height} x {image.width} pixels (height x "
                f"width) for {high} x {wide}; leave so long an image out, or crop it."
            )
        if by_width < by_height:
            size = (wide, min(math.ceil(image.height * by_width), high))
        else:
            size = (min(math.ceil(image.width * by_height), wide), high)
        resized = image.resize(size, Image.Resampling.BICUBIC)
        return _padded(resized, (wide, high), (0, 0, 0))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, grid_pinpoints="
            f"{self.grid_pinpoints}, pad={self.pad})"
        )


def _checked(
    pinpoints: Sequence[Sequence[int]] | None, size: int
) -> list[tuple[int, int]] | None:
    if pinpoints is None:
        return None
    points = [tuple(p) if isinstance(p, Sequence) else (p,) for p in pinpoints]
    if not points:
        raise ValueError(
            "grid_pinpoints: expected at least one (height, width), got none; use None "
            "for one tile an image."
        )
    for point in points:
        if len(point) != 2 or any(side < 1 or side % size for side in point):
            raise ValueError(
                f"grid_pinpoints: expected (height, width) of multiples of the size "
                f"{size}, got {point}."
            )
    return [(int(height), int(width)) for height, width in points]


def _check_image(image: Any, number: int) -> None:
    mode = getattr(image, "mode", None)
    if not isinstance(image, Image.Image) or mode != "RGB":
        got = f"the mode {mode!r}" if mode else f"a {type(image).__name__}"
        raise TypeError(
            f"images: expected RGB PIL images, got {got} as number {number}; open it "
            "with PIL and use convert('RGB')."
        )
    if not image.height or not image.width:
        raise ValueError(
            f"images: expected pixels, got {image.height} x {image.width} of them in "
            f"number {number}; leave it out."
        )


def _padded(
    image: Image.Image, size: tuple[int, int], color: tuple[int, ...]
) -> Image.Image:
    """Return the image in the middle of another of ``size``, width and height."""
    if image.size == size:
        return image
    around = Image.new("RGB", size, color)
    around.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return around
