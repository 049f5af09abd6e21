"""An image whose patches say their words: visual tokens, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from lbbt_mm.report.sheets import font_of_size

_LARGEST, _SMALLEST = 16, 9  # pixels, of the font
_PATCH = 96  # pixels, the least side of a patch in the picture
_MARGIN = 3  # pixels between the words and the edge of their patch
_PLATE = 210  # of 255: how opaque the plates are
_LARGE = (0, 90, 150)  # of the largest weight's plate; that of none is black


def word_patches(
    image: Image.Image,
    grid: tuple[int, int],
    words: Sequence[Sequence[str]],
    weights: Sequence[Sequence[float]],
    most: int = 3,
    patch: int = _PATCH,
) -> Image.Image:
    """Write the top words of each patch on an image.

    The image is enlarged until its patches hold text. Each word stands in white on a
    dark plate that is the bluer the larger its weight, on one scale for the whole
    picture: 0 is black, the picture's largest weight is blue. A word that is too long
    for its patch is written smaller, and at last cut with an ellipsis. Spaces in front
    of words are not shown. The font knows Latin, Greek and Cyrillic letters, and shows
    others as boxes.

    Args:
        image: What the model saw, or a larger version of it.
        grid: Rows and columns of patches.
        words: One list a patch, row by row; the most important word first.
        weights: As ``words``; what is below 0 counts as 0.
        most: Words shown in a patch.
        patch: Least side of a patch in the picture, in pixels.

    Returns:
        The picture.

    Raises:
        ValueError: The patches are not as many as the grid has, or words and weights
            differ in number.
    """
    rows, columns = grid
    if not len(words) == len(weights) == rows * columns:
        raise ValueError(
            f"A grid of {rows} x {columns} expects words and weights of "
            f"{rows * columns} patches, got {len(words)} and {len(weights)}; leave out "
            "tokens that belong to no patch."
        )
    if any(len(a) != len(b) for a, b in zip(words, weights, strict=True)):
        raise ValueError(
            "Each patch expects as many weights as words; give both as "
            "LangBridgeProjector.top_words returns them."
        )
    tall, wide = _patch_sides(image, rows, columns, patch)
    enlarged = (columns * wide, rows * tall)
    smooth = Image.Resampling.NEAREST if image.width <= 64 else Image.Resampling.BICUBIC
    picture = image.convert("RGB").resize(enlarged, smooth)
    largest = max((w for row in weights for w in row[:most]), default=0.0)
    draw = ImageDraw.Draw(picture, "RGBA")
    for place, (texts, shares) in enumerate(zip(words, weights, strict=True)):
        row, column = divmod(place, columns)
        corner = (column * wide, row * tall)
        draw.rectangle(
            (*corner, corner[0] + wide - 1, corner[1] + tall - 1),
            outline=(128, 128, 128, 110),
        )
        line = (tall - 2 * _MARGIN) // most
        for number, (text, share) in enumerate(
            zip(texts[:most], shares[:most], strict=True)
        ):
            top = corner[1] + _MARGIN + number * line
            strength = max(share, 0.0) / largest if largest > 0 else 0.0
            _write(draw, text.strip(), strength, (corner[0], top, wide, line))
    return picture


def _patch_sides(
    image: Image.Image, rows: int, columns: int, patch: int
) -> tuple[int, int]:
    """Height and width of a patch: the image's shape is kept, text fits in."""
    tall, wide = image.height / rows, image.width / columns
    factor = max(1.0, patch / min(tall, wide))
    return round(factor * tall), round(factor * wide)


def _write(
    draw: Any, text: str, strength: float, place: tuple[int, int, int, int]
) -> None:
    """Write one word on its plate, as large as fits.

    Args:
        draw: Of the picture, with alpha.
        text: The word.
        strength: From 0 to 1.
        place: Left, top, width and height of its line in pixels.
    """
    left, top, wide, tall = place
    room = wide - 2 * _MARGIN - 2
    for size in range(min(_LARGEST, tall - 2), _SMALLEST - 1, -1):
        font = font_of_size(size)
        if draw.textlength(text, font=font) <= room:
            break
    else:
        font = font_of_size(_SMALLEST)
        while text and draw.textlength(f"{text}…", font=font) > room:
            text = text[:-1]
        text += "…"
    middle = (left + wide / 2, top + tall / 2)
    half = draw.textlength(text, font=font) / 2 + _MARGIN
    shade = tuple(round(strength * part) for part in _LARGE)
    draw.rectangle(
        (middle[0] - half, top, middle[0] + half, top + tall - 2),
        fill=(*shade, _PLATE),
    )
    draw.text(middle, text, fill="white", font=font, anchor="mm")
