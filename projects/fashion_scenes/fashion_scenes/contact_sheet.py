"""Scenes on one sheet, for people."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from lbbt_mm.report.sheets import (
    GAP,
    AnnotatedImage,
    Colour,
    colour_legend,
    draw_annotated,
)


def contact_sheet(
    images: Sequence[AnnotatedImage],
    classes: Sequence[str],
    palette: Sequence[Colour],
    columns: int = 3,
    zoom: int = 2,
) -> Image.Image:
    """Show each image as it is, and under it what is annotated on it.

    There the image is grey, and the objects have the colour of their class; the last
    line names the classes.

    Args:
        images: One or more, all of one size.
        classes: Name of each label.
        palette: RGB colour of each label.
        columns: Images in a row.
        zoom: Times that an image is enlarged.
    """
    height, width = (zoom * side for side in images[0].image.shape[:2])
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    wide, bottom = columns * (width + GAP) + GAP, rows * 2 * (height + GAP) + GAP
    legend = colour_legend(images, classes, palette, wide)
    sheet = Image.new("RGB", (wide, bottom + legend.height), "white")
    sheet.paste(legend, (0, bottom))
    for number, annotated in enumerate(images):
        row, column = divmod(number, columns)
        x, y = GAP + column * (width + GAP), GAP + 2 * row * (height + GAP)
        bare = Image.fromarray(annotated.image)
        sheet.paste(bare.resize((width, height), Image.Resampling.NEAREST), (x, y))
        drawn = draw_annotated(annotated, palette, zoom)
        sheet.paste(drawn, (x, y + height + GAP // 3))
    return sheet
