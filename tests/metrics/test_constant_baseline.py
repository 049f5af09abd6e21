"""An answer that never looks at an image: what it is, over known annotations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.metrics.constant_baseline import (
    ConstantBaseline,
    commonest_class,
    mean_boxes,
)


def image(width: int, height: int, *objects: tuple[int, list[float], int]) -> dict:
    instances = [
        dict(bbox_label=label, bbox=box, ignore_flag=ignore)
        for label, box, ignore in objects
    ]
    return dict(width=width, height=height, instances=instances)


IMAGES = [
    image(100, 50, (2, [0, 0, 50, 50], 0), (1, [10, 10, 20, 20], 0)),
    # Twice as large, so that shares are averaged and not pixels.
    image(200, 100, (2, [100, 0, 200, 50], 0), (7, [0, 0, 9, 9], 1)),
    image(100, 50),
]


def test_boxes_are_averaged_as_shares_of_the_image() -> None:
    boxes = mean_boxes(IMAGES)
    assert boxes.labels.tolist() == [1, 2], "of a crowd nothing is learned"
    assert boxes.scores.tolist() == pytest.approx([1 / 3, 2 / 3])
    np.testing.assert_allclose(boxes.boxes[1], [0.25, 0, 0.75, 0.75])
    found = boxes.at(height=40, width=80)
    assert_close(found.bboxes[1], torch.tensor([20.0, 0.0, 60.0, 30.0]))
    assert_close(found.bboxes[0], torch.tensor([8.0, 8.0, 16.0, 16.0]))
    assert found.labels.tolist() == [1, 2]


def test_without_boxes_there_is_no_mean() -> None:
    with pytest.raises(ValueError, match="boxes in 1 training images, got none"):
        mean_boxes([image(10, 10, (0, [0, 0, 1, 1], 1))])


def test_the_commonest_class_is_counted_in_pixels() -> None:
    maps = [np.array([[0, 0, 255], [255, 255, 255]]), np.array([[4, 4, 4, 0]])]
    assert commonest_class(maps) == 0, "of two equals the first"
    assert commonest_class([*maps, np.array([4])]) == 4
    assert commonest_class(maps, ignore_index=0) == 255
    with pytest.raises(ValueError, match="only 255"):
        commonest_class([np.full((2, 2), 255)])


class Classified(list):
    def get_data_info(self, index: int) -> dict:
        return self[index]


def test_images_with_neither_are_refused() -> None:
    with pytest.raises(ValueError, match=r"label maps \(mmseg\), got \['gt_label'\]"):
        ConstantBaseline(Classified([dict(gt_label=1)]))
    with pytest.raises(ValueError, match="got none"):
        ConstantBaseline(Classified())


def test_a_box_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes of numbers, got \[0, nan, 1, 1\]"):
        mean_boxes([image(10, 10, (0, [0, float("nan"), 1, 1], 0))])


def test_parts_have_to_ignore_the_same() -> None:
    class Part(Classified):
        metainfo: dict = {}

        def __init__(self, ignore_index: int) -> None:
            super().__init__([dict(seg_map_path="a.png")])
            self.ignore_index = ignore_index

    class Both(Classified):
        datasets = (Part(255), Part(0))

    with pytest.raises(ValueError, match=r"one ignore_index, got \[0, 255\]"):
        ConstantBaseline(Both([dict(seg_map_path="a.png")]))
    with pytest.raises(ValueError, match="mmengine with get_data_info, got list"):
        ConstantBaseline([1])
