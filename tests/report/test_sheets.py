"""The comparison of models: where images stand, what is drawn on them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lbbt_mm.report.sheets import (
    AnnotatedImage,
    Captioned,
    captioned_sheet,
    comparison_sheet,
)

RED, BLUE = (230, 60, 60), (60, 120, 220)
GAP = 6


def annotated(boxes, labels) -> AnnotatedImage:
    """A grey image of 60x80 pixels with boxes filled with their masks."""
    image = np.full((60, 80, 3), 200, np.uint8)
    masks = []
    for x, y, width, height in boxes:
        mask = np.zeros((60, 80), bool)
        mask[y : y + height, x : x + width] = True
        masks.append(mask)
    return AnnotatedImage(image, labels, boxes, masks)


def test_a_row_for_each_model() -> None:
    boxes = [(10, 20, 40, 30)]
    full = annotated(boxes, [1])
    rows = {
        "truth": [full, full],
        "masks only": [full._replace(boxes=())] * 2,
        "boxes only": [full._replace(masks=())] * 2,
        "nothing": [annotated([], [])] * 2,
    }
    sheet = np.asarray(comparison_sheet(rows, ["a", "b"], [RED, BLUE]))
    height, width, tall = 120, 160, 21
    legend = 29
    wanted = (4 * (tall + height) + GAP + legend, 2 * (width + GAP) + GAP, 3)
    assert sheet.shape == wanted
    truth, masks, boxed, nothing = (
        sheet[row * (tall + height) + tall :][:height, GAP : GAP + width]
        for row in range(4)
    )
    for row in range(4):  # each has its name above it
        assert (sheet[row * (tall + height) :][:tall] < 128).any()
    inside, edge = (80, 60), (70, 20)
    assert tuple(truth[edge]) == tuple(boxed[edge]) == BLUE
    assert tuple(masks[edge]) == tuple(masks[inside]) == tuple(truth[inside])
    assert not (masks == BLUE).all(axis=-1).any(), "no name within the image"
    assert len({*boxed[inside].tolist()}) == 1, "grey: nothing is filled"
    assert (nothing == 120).all()


def test_large_images_are_made_smaller() -> None:
    image = annotated([(10, 20, 40, 30)], [1])._replace(masks=())
    sheet = np.asarray(comparison_sheet({"truth": [image]}, "ab", [RED, BLUE], 0.75))
    height, width, tall = 45, 60, 21
    assert sheet.shape == (tall + height + GAP + 29, width + 2 * GAP, 3)
    drawn = sheet[tall:][:height, GAP : GAP + width]
    rows, columns = (drawn == BLUE).all(axis=-1).nonzero()
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == [15, 36, 7, 36]


def test_colours_are_explained_below_and_nothing_covers_an_object() -> None:
    boxes = [(20, 25, 40, 20)] * 3  # their names would stand on each other
    colours = [RED, BLUE, (0, 99, 0), (200, 200, 0)]
    image = annotated(boxes, [0, 1, 2])._replace(masks=())
    sheet = np.asarray(comparison_sheet({"truth": [image]}, "wxyz", colours))
    height, tall = 120, 21
    legend = sheet[tall + height + GAP :]
    for colour in colours[:3]:
        assert (legend == colour).all(axis=-1).sum() > 60
    assert not (legend == colours[3]).all(axis=-1).any(), "a class that is not shown"
    lines = 2 * 2 * (2 * 40 + 2 * 20)  # two pixels wide, of the box drawn last
    shown = sheet[tall : tall + height]
    assert (shown == 120).all(axis=-1).sum() >= 120 * 160 - lines


def test_a_long_line_goes_on_in_its_column(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), BLUE).save(path)
    text = "Is the very long garment with a name at the left or at the right? " * 2
    images = [Captioned(path, [(text, RED)]), Captioned(path, [("short", RED)])]
    sheet = np.asarray(captioned_sheet(images, columns=2, side=300))
    red = (abs(sheet.astype(int) - RED) < 60).all(axis=-1)
    gutter = red[:, 300 + GAP : 300 + 4 * GAP]
    assert red.any() and not gutter.any()
    rows = red[:, : 300 + GAP].any(axis=1)
    assert (np.diff(rows.astype(int)) == 1).sum() > 2, "several lines"
    # The image is as wide as its column: no part of the sheet is empty.
    assert (sheet == BLUE).all(axis=-1).any(axis=0).mean() > 0.9
