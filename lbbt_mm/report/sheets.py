"""Many small images on one sheet, annotated or with lines of text, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lbbt_mm.pictures import read_upright

GAP = 6  # pixels between images
_PAGE, _LETTERS = 830, 13  # pixels: a document's width, and the letters' height in it
_DIMMED = 0.6  # brightness of what is not annotated

Colour = tuple[int, int, int]


class AnnotatedImage(NamedTuple):
    """An image, and the objects in it; without boxes or without masks they are empty.

    Attributes:
        image: ``(H, W, 3)``, uint8, RGB.
        labels: One an object.
        boxes: x, y, width, height in pixels.
        masks: ``(H, W)``, bool.
    """

    image: np.ndarray
    labels: Sequence[int]
    boxes: Sequence[Sequence[float]] = ()
    masks: Sequence[np.ndarray] = ()


class Captioned(NamedTuple):
    """An image, and what is written under it.

    Attributes:
        path: The image's file; None: its place stays white.
        lines: A text and its colour each.
    """

    path: str | Path | None
    lines: Sequence[tuple[str, Any]]


def comparison_sheet(
    rows: Mapping[str, Sequence[AnnotatedImage]],
    classes: Sequence[str],
    palette: Sequence[Colour],
    zoom: float = 2,
) -> Image.Image:
    """Show what several models say of the same images, one row a model.

    Args:
        rows: Name of a model, or of the truth -> the images with what it says. All
            rows show the same images, all of one size.
        classes: Name of each label.
        palette: RGB colour of each label.
        zoom: Times that an image is enlarged; below 1 it is made smaller.

    Returns:
        The sheet; each row has its name above it, and the last line says what the
        colours mean. Names at the boxes would cover each other.
    """
    first = next(iter(rows.values()))
    height, width = (round(zoom * side) for side in first[0].image.shape[:2])
    wide = len(first) * (width + GAP) + GAP
    font = label_font(wide)
    tall = font.size + 8
    shown = [image for images in rows.values() for image in images]
    legend = colour_legend(shown, classes, palette, wide)
    bottom = len(rows) * (tall + height) + GAP
    sheet = Image.new("RGB", (wide, bottom + legend.height), "white")
    sheet.paste(legend, (0, bottom))
    draw = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(rows.items()):
        y = row * (tall + height)
        draw.text((GAP, y + 3), name, "black", font=font)
        for column, annotated in enumerate(images):
            drawn = draw_annotated(annotated, palette, zoom)
            sheet.paste(drawn, (GAP + column * (width + GAP), y + tall))
    return sheet


def colour_legend(
    images: Sequence[AnnotatedImage],
    classes: Sequence[str],
    palette: Sequence[Colour],
    width: int,
) -> Image.Image:
    """Say what the colours mean: each class that is in the images, on its colour.

    Args:
        images: What is explained.
        classes: Name of each label.
        palette: RGB colour of each label.
        width: Of the legend in pixels.
    """
    font = label_font(width)
    tall, places = font.size + 10, []
    x, y = float(GAP), 0
    for label in sorted({label for image in images for label in image.labels}):
        wide = font.getlength(classes[label]) + 10
        if x + wide > width and x > GAP:
            x, y = float(GAP), y + tall + GAP // 2
        places.append((label, (x, y, x + wide, y + tall)))
        x += wide + GAP
    legend = Image.new("RGB", (width, y + tall + GAP if places else 0), "white")
    draw = ImageDraw.Draw(legend)
    for label, (left, top, right, bottom) in places:
        draw.rectangle((left, top, right, bottom), fill=palette[label])
        light = np.dot(palette[label], (0.299, 0.587, 0.114)) > 125
        place = ((left + right) / 2, (top + bottom) / 2)
        ink = "black" if light else "white"
        draw.text(place, classes[label], ink, font=font, anchor="mm")
    return legend


def draw_annotated(
    annotated: AnnotatedImage, palette: Sequence[Colour], zoom: float = 2
) -> Image.Image:
    """Make an image grey and its objects their classes' colours.

    Args:
        annotated: The image.
        palette: RGB colour of each label.
        zoom: Times that the image is enlarged; below 1 it is made smaller.
    """
    pixels = np.repeat(annotated.image.mean(axis=2, keepdims=True), 3, axis=2)
    pixels *= _DIMMED
    for label, mask in zip(annotated.labels, annotated.masks, strict=False):
        lit = pixels[mask] / _DIMMED / 255
        pixels[mask] = (0.45 + 0.55 * lit) * palette[label]
    height, width = (round(zoom * side) for side in pixels.shape[:2])
    image = Image.fromarray(pixels.astype(np.uint8))
    filters = Image.Resampling
    image = image.resize((width, height), filters.BOX if zoom < 1 else filters.NEAREST)
    draw = ImageDraw.Draw(image)
    for label, (x, y, w, h) in zip(annotated.labels, annotated.boxes, strict=False):
        corners = (zoom * x, zoom * y, zoom * (x + w) - 1, zoom * (y + h) - 1)
        draw.rectangle(corners, outline=palette[label], width=2)
    return image


def captioned_sheet(
    images: Sequence[Captioned], columns: int = 4, side: int = 384
) -> Image.Image:
    """Draw images as wide as their columns, with lines of text under each.

    Args:
        images: One or more.
        columns: Images in a row.
        side: Longer side of each image in the sheet, in pixels; a line of text that is
            longer goes on in the next.
    """
    columns = min(columns, len(images))
    wide = columns * (side + 3 * GAP)
    font = label_font(max(wide, 3 * side))
    line = round(1.3 * font.size)
    rows = []
    for start in range(0, len(images), columns):
        row = [
            (path, [(part, ink) for t, ink in lines for part in _broken(t, font, side)])
            for path, lines in images[start : start + columns]
        ]
        rows.append((row, max(len(lines) for _, lines in row)))
    heights = [side + GAP + count * line + 2 * GAP for _, count in rows]
    sheet = Image.new("RGB", (wide, GAP + sum(heights)), "white")
    draw = ImageDraw.Draw(sheet)
    y = GAP
    for (row, _), height in zip(rows, heights, strict=True):
        for column, (path, lines) in enumerate(row):
            x = GAP + column * (side + 3 * GAP)
            if path is not None:
                sheet.paste(_fitted(read_upright(path), side), (x, y))
            for place, (text, colour) in enumerate(lines):
                spot = (x, y + side + GAP + place * line)
                draw.text(spot, text, colour, font=font)
        y += height
    return sheet


def _broken(text: str, font: Any, width: int) -> list[str]:
    """Break a text where it would leave its column."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def label_font(width: int) -> Any:
    """Load the font of a sheet so many pixels wide, which a document makes fit."""
    return font_of_size(max(_LETTERS, round(_LETTERS * width / _PAGE)))


def font_of_size(size: int) -> Any:
    """Load the font of what is written on images, ``size`` in pixels."""
    # matplotlib brings a font along; Pillow's own has one size before Pillow 10.1.
    from matplotlib import get_data_path

    path = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    size = [max(1, round(factor * length)) for length in image.size]
    smooth = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BICUBIC
    return image.resize(size, smooth)
