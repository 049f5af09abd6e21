"""Images on one sheet with lines of text under each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from lbbt_mm.report.contact_sheet import label_font

_GAP, _LINE, _WIDTH = 8, 16, 340  # pixels; the last fits a question


class Captioned(NamedTuple):
    """An image, and what is written under it.

    Attributes:
        path: The image's file; None: its place stays white.
        lines: A text and its colour each.
    """

    path: str | Path | None
    lines: Sequence[tuple[str, Any]]


def captioned_sheet(
    images: Sequence[Captioned], columns: int = 4, side: int = 256
) -> Image.Image:
    """Draw the sheet.

    Args:
        images: One or more.
        columns: Images in a row.
        side: Longer side of each image in the sheet, in pixels.
    """
    font = label_font()
    wide = max(_WIDTH, side + _GAP)
    tall = side + max(len(image.lines) for image in images) * _LINE + 2 * _GAP
    rows = -(-len(images) // columns)
    size = (min(columns, len(images)) * wide + _GAP, rows * tall + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, (path, lines) in enumerate(images):
        row, column = divmod(number, columns)
        x, y = _GAP + column * wide, _GAP + row * tall
        if path is not None:
            with Image.open(path) as image:
                sheet.paste(_fitted(image.convert("RGB"), side), (x, y))
        for place, (text, colour) in enumerate(lines):
            draw.text((x, y + side + 4 + place * _LINE), text, colour, font=font)
    return sheet


def _fitted(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    size = [max(1, round(factor * length)) for length in image.size]
    return image.resize(
        size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BICUBIC
    )
