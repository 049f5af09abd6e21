"""Label maps of segmentation: what mmseg would take for labels and is none."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from PIL import Image

from lbbt_mm.datasets.checks.damaged import DataError

_IGNORED = 255  # what mmseg makes of a pixel without a class


class LabelMapError(DataError):
    """A label map does not say one class of the dataset for each pixel."""


def check_label_map(results: dict, num_classes: int | None, ignore_index: int) -> None:
    """Refuse a label map that mmseg has read into something else, or that does not fit.

    Args:
        results: What mmseg's ``LoadAnnotations`` has made of a data info.
        num_classes: Labels are below it; None if the dataset has no names of classes.
        ignore_index: A label that means no class; so does 255.

    Raises:
        LabelMapError: See the messages; each names the file.
    """
    labels, path = results.get("gt_seg_map"), results.get("seg_map_path")
    if labels is None or path is None:
        return
    expected = f"{path}: expected a label map, one class a pixel from 0 to 255"
    if labels.ndim != 2:
        raise LabelMapError(
            f"{expected}, got an image of shape {labels.shape}; convert its colours to "
            "the numbers of classes."
        )
    deep = _beyond_8_bit(path)
    if deep is not None:
        raise LabelMapError(
            f"{expected}, got the value {deep}, which does not fit into the 8 bits "
            "that mmseg reads; renumber the classes, and save 8 bits a pixel."
        )
    size = results.get("ori_shape")
    if size is not None and tuple(labels.shape) != tuple(size[:2]):
        raise LabelMapError(
            f"{path}: expected a label map of the size of {results.get('img_path')}, "
            f"{size[0]}x{size[1]}, got {labels.shape[0]}x{labels.shape[1]} (height x "
            "width); the two belong to different images, or one was resized."
        )
    if num_classes is None:
        return
    counts = np.bincount(labels.ravel().astype(np.uint8), minlength=256)
    wrong = [
        value
        for value in np.flatnonzero(counts).tolist()
        if value >= num_classes and value not in (ignore_index, _IGNORED)
    ]
    if wrong:
        shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        zero = " after reduce_zero_label" if results.get("reduce_zero_label") else ""
        raise LabelMapError(
            f"{path}: expected labels from 0 to {num_classes - 1}{zero} (the dataset's "
            f"{num_classes} classes) or {ignore_index} for none, got {shown}; correct "
            "the file, or the classes in metainfo."
        )


def _beyond_8_bit(path: str) -> int | None:
    """A value above 255, in a file of more than 8 bits a pixel."""
    if not os.path.isfile(path):
        return None
    try:
        with Image.open(path) as image:
            if image.mode[0] not in "IF":  # 32 bits, or I;16
                return None
            values = np.asarray(image)
    except (OSError, ValueError):
        return None  # another decoder has read it
    top = values.max(initial=0)
    return int(top) if top > _IGNORED else None


def reads_label_maps(step: Any) -> bool:
    """Whether a step of a pipeline is mmseg's ``LoadAnnotations``, or inherits it."""
    module = sys.modules.get("mmseg.datasets.transforms.loading")
    kind = getattr(module, "LoadAnnotations", None)
    return kind is not None and isinstance(step, kind)
