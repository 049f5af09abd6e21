"""Many small annotated images on one sheet, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP = 6  # pixels between images
_FONT_SIZE = 12  # pixels
_DIMMED = 0.6  # brightness of what is not annotated


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


def contact_sheet(
    images: Sequence[AnnotatedImage],
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    columns: int = 3,
    zoom: int = 2,
) -> Image.Image:
    """Show each image as it is, and under it what is annotated on it.

    There the image is grey, and the objects have the colour of their class.

    Args:
        images: One or more, all of one size.
        classes: Name of each label.
        palette: RGB colour of each label.
        columns: Images in a row.
        zoom: Times that an image is enlarged.

    Returns:
        The sheet.
    """
    font = label_font()
    height, width = (zoom * side for side in images[0].image.shape[:2])
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (width + _GAP) + _GAP, rows * 2 * (height + _GAP) + _GAP),
        "white",
    )
    for number, annotated in enumerate(images):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (width + _GAP), _GAP + 2 * row * (height + _GAP)
        bare = Image.fromarray(annotated.image).resize(
            (width, height), Image.Resampling.NEAREST
        )
        sheet.paste(bare, (x, y))
        drawn = _draw(annotated, classes, palette, zoom, font)
        sheet.paste(drawn, (x, y + height + _GAP // 3))
    return sheet


def comparison_sheet(
    rows: Mapping[str, Sequence[AnnotatedImage]],
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
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
    sheet = Image.new(
        "RGB",
        (
            len(first) * (width + _GAP) + _GAP,
            len(rows) * (tall + height) + _GAP + (tall if legend else 0),
        ),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(rows.items()):
        y = row * (tall + height)
        draw.text((_GAP, y + 4), name, "black", font=font)
        for column, annotated in enumerate(images):
            drawn = _draw(annotated, classes, palette, zoom, font)
            sheet.paste(drawn, (_GAP + column * (width + _GAP), y + tall))
    left, top = float(_GAP), len(rows) * (tall + height) + 4
    for label in legend:
        wide = draw.textlength(classes[label], font=font) + 5
        place = (left, top, left + wide, top + _FONT_SIZE + 4)
        _plate(draw, place, label, classes, palette)
        left += wide + _GAP
    return sheet


def label_font() -> Any:
    """Load the font of what is written on a sheet."""
    # matplotlib brings a font along; Pillow's own has one size before Pillow 10.1.
    from matplotlib import get_data_path

    path = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), _FONT_SIZE)


def _draw(
    annotated: AnnotatedImage,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    zoom: int,
    font: Any,
) -> Image.Image:
    """Enlarge an image and draw its masks, boxes and class names on it."""
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
        wide = draw.textlength(classes[label], font=font) + 5
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
        place = next(free, places[0])
        taken.append((left, place, wide))
        _plate(draw, (left, place, left + wide, place + tall), label, classes, palette)
    return image


def _plate(
    draw: Any,
    place: tuple[float, float, float, float],
    label: int,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> None:
    """Write a class's name on its colour."""
    draw.rectangle(place, fill=palette[label])
    dark = "black" if sum(palette[label]) > 330 else "white"
    draw.text((place[0] + 3, place[1] + 1), classes[label], dark, font=label_font())
