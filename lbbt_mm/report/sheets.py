"""Many small images on one sheet, annotated or with lines of text, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 6  # pixels between images
_FONT_SIZE = 12  # pixels
_DIMMED = 0.6  # brightness of what is not annotated
_LINE, _WIDTH = 16, 340  # pixels of a caption; the width fits a question

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
    zoom: int = 2,
) -> Image.Image:
    """Show what several models say of the same images, one row a model.

    Args:
        rows: Name of a model, or of the truth -> the images with what it says. All
            rows show the same images, all of one size.
        classes: Name of each label.
        palette: RGB colour of each label.
        zoom: Times that an image is enlarged.

    Returns:
        The sheet; each row has its name above it. Boxes have the names of their classes
        at them; where there are masks alone, the last line says what the colours mean.
    """
    font = label_font()
    first = next(iter(rows.values()))
    height, width = (zoom * side for side in first[0].image.shape[:2])
    tall = _FONT_SIZE + 8
    shown = [image for images in rows.values() for image in images]
    legend = sorted({label for image in shown for label in image.labels})
    if any(image.boxes for image in shown):
        legend = []
    bottom = len(rows) * (tall + height)
    size = (len(first) * (width + GAP) + GAP, bottom + GAP + (tall if legend else 0))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(rows.items()):
        y = row * (tall + height)
        draw.text((GAP, y + 4), name, "black", font=font)
        for column, annotated in enumerate(images):
            drawn = draw_annotated(annotated, classes, palette, zoom)
            sheet.paste(drawn, (GAP + column * (width + GAP), y + tall))
    left = float(GAP)
    for label in legend:
        wide = draw.textlength(classes[label], font=font) + 5
        place = (left, bottom + 4, left + wide, bottom + _FONT_SIZE + 8)
        _plate(draw, place, classes[label], palette[label])
        left += wide + GAP
    return sheet


def draw_annotated(
    annotated: AnnotatedImage,
    classes: Sequence[str],
    palette: Sequence[Colour],
    zoom: int = 2,
) -> Image.Image:
    """Make an image grey and its objects their classes' colours, with the names.

    Args:
        annotated: The image.
        classes: Name of each label.
        palette: RGB colour of each label.
        zoom: Times that the image is enlarged.
    """
    pixels = np.repeat(annotated.image.mean(axis=2, keepdims=True), 3, axis=2)
    pixels *= _DIMMED
    for label, mask in zip(annotated.labels, annotated.masks, strict=False):
        lit = pixels[mask] / _DIMMED / 255
        pixels[mask] = (0.45 + 0.55 * lit) * palette[label]
    height, width = (zoom * side for side in pixels.shape[:2])
    image = Image.fromarray(pixels.astype(np.uint8))
    image = image.resize((width, height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    corners = []
    for label, (x, y, w, h) in zip(annotated.labels, annotated.boxes, strict=False):
        left, top = zoom * x, zoom * y
        right, bottom = zoom * (x + w) - 1, zoom * (y + h) - 1
        draw.rectangle((left, top, right, bottom), outline=palette[label], width=2)
        corners.append((label, left, top, bottom))
    tall = _FONT_SIZE + 4
    taken: list[tuple[float, float, float]] = []
    for label, left, top, bottom in corners:  # after all boxes: no line crosses a name
        wide = draw.textlength(classes[label], font=label_font()) + 5
        left = max(0, min(left, width - wide))
        # Above the box, or where no other name stands: in it, or under it.
        places = [y for y in (top - tall, top, bottom, bottom - tall) if y >= 0]
        places = [y for y in places if y + tall <= height] or [top]
        free = (
            y
            for y in places
            if all(
                abs(y - b) >= tall or left >= a + w or a >= left + wide
                for a, b, w in taken
            )
        )
        y = next(free, places[0])
        taken.append((left, y, wide))
        place = (left, y, left + wide, y + tall)
        _plate(draw, place, classes[label], palette[label])
    return image


def captioned_sheet(
    images: Sequence[Captioned], columns: int = 4, side: int = 256
) -> Image.Image:
    """Draw images with lines of text under each.

    Args:
        images: One or more.
        columns: Images in a row.
        side: Longer side of each image in the sheet, in pixels.
    """
    font, gap = label_font(), 8
    wide = max(_WIDTH, side + gap)
    tall = side + max(len(image.lines) for image in images) * _LINE + 2 * gap
    rows = -(-len(images) // columns)
    size = (min(columns, len(images)) * wide + gap, rows * tall + gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, (path, lines) in enumerate(images):
        row, column = divmod(number, columns)
        x, y = gap + column * wide, gap + row * tall
        if path is not None:
            with Image.open(path) as image:
                sheet.paste(_fitted(image.convert("RGB"), side), (x, y))
        for place, (text, colour) in enumerate(lines):
            draw.text((x, y + side + 4 + place * _LINE), text, colour, font=font)
    return sheet


def label_font(size: int = _FONT_SIZE) -> Any:
    """Load the font of what is written on a sheet, ``size`` in pixels."""
    # matplotlib brings a font along; Pillow's own has one size before Pillow 10.1.
    from matplotlib import get_data_path

    path = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    size = [max(1, round(factor * length)) for length in image.size]
    smooth = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BICUBIC
    return image.resize(size, smooth)


def _plate(draw: Any, place: tuple[float, ...], name: str, colour: Colour) -> None:
    """Write a class's name on its colour."""
    draw.rectangle(place, fill=colour)
    ink = "black" if sum(colour) > 330 else "white"
    draw.text((place[0] + 3, place[1] + 1), name, ink, font=label_font())
