"""The contact sheet: where images stand, what is drawn on them."""

from __future__ import annotations

import numpy as np
from fashion_scenes.contact_sheet import contact_sheet

from lbbt_mm.report.sheets import AnnotatedImage

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


def test_every_image_stands_over_its_annotations() -> None:
    image = annotated([(10, 20, 40, 30)], [1])
    sheet = np.asarray(contact_sheet([image] * 5, ["a", "b"], [RED, BLUE]))
    height, width = 120, 160  # twice as large
    legend = 29
    wide = 3 * (width + GAP) + GAP
    assert sheet.shape == (4 * (height + GAP) + GAP + legend, wide, 3)
    bare = sheet[GAP : GAP + height, GAP : GAP + width]
    assert (bare == 200).all()
    top = GAP + height + 2
    drawn = sheet[top : top + height, GAP : GAP + width]
    # Outside the box dimmed and grey; its line and its inside in the class's colour.
    assert (drawn[110, 150] == 120).all()
    assert tuple(drawn[2 * 20 + 30, 20]) == BLUE
    inside = drawn[80, 60].astype(float)
    np.testing.assert_allclose(inside / inside.max(), np.array(BLUE) / 220, atol=0.02)
    # The sixth place is free.
    sheet, names = sheet[:-legend], sheet[-legend:]
    assert (sheet[-2 * (height + GAP) : -GAP, -width:] == 255).all()
    assert (names == BLUE).all(axis=-1).sum() > 60 and not (names == RED).all(-1).any()


def test_nothing_to_annotate() -> None:
    sheet = np.asarray(contact_sheet([annotated([], [])], ["a"], [RED], zoom=1))
    assert sheet.shape == (2 * (60 + GAP) + GAP, 80 + 2 * GAP, 3)
    assert not (sheet == RED).all(axis=-1).any()
