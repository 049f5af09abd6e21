"""The comparison of models: where images stand, what is drawn on them."""

from __future__ import annotations

import numpy as np

from lbbt_mm.report.sheets import AnnotatedImage, comparison_sheet

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
    height, width, tall = 120, 160, 20
    assert sheet.shape == (4 * (tall + height) + GAP, 2 * (width + GAP) + GAP, 3)
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


def test_colours_are_explained_where_no_box_carries_a_name() -> None:
    image = annotated([(10, 20, 40, 30)], [1])._replace(boxes=())
    sheet = np.asarray(comparison_sheet({"truth": [image]}, ["a", "b"], [RED, BLUE]))
    height, tall = 120, 20
    assert sheet.shape[0] == 2 * tall + height + GAP
    legend = sheet[tall + height :]
    assert (legend == BLUE).all(axis=-1).sum() > 60
    assert not (legend == RED).all(axis=-1).any(), "a class that is not shown"
