"""Do the names of categories, or of folders of images, fit those in the config."""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lbbt_mm.datasets.checks.damaged import DataError

# What mmdet reads of each record of a COCO file.
_NEEDED = dict(
    images=("id", "file_name", "height", "width"),
    annotations=("id", "image_id", "category_id", "bbox", "area"),
    categories=("id", "name"),
)


class CategoryError(DataError):
    """Boxes of a dataset would be left out, or get the label of another class."""


def check_categories(dataset: Any) -> None:
    """Refuse data that would train without boxes, or with labels of other names.

    mmdet takes those categories of a COCO file whose names are in ``classes``, in the
    order of the file, and leaves out the boxes of all others without a word. Only its
    data sets, and mmpretrain's of folders, are looked at.

    Raises:
        CategoryError: No name fits; one that is missing shifts the labels of others;
            or no image has a box.
    """
    classes = list(getattr(dataset, "metainfo", {}).get("classes") or ())
    chosen = getattr(dataset, "cat_ids", None)
    path = getattr(dataset, "ann_file", "")
    if chosen is not None and classes and os.path.isfile(path):
        names = _categories(path, chosen)
        if names:
            compare(path, list(names.values()), classes, [names[i] for i in chosen])
    folders = getattr(dataset, "folder_to_idx", {})  # mmpretrain numbers them sorted
    if classes and set(folders) == set(classes):
        compare(dataset.data_prefix["img_path"], sorted(folders), classes)
    if _learns_boxes(dataset) and len(dataset) and not dataset.test_mode:
        infos = (dataset.get_data_info(i) for i in range(len(dataset)))
        if not any(info.get("instances") for info in infos):
            raise CategoryError(
                f"{dataset.ann_file}: expected boxes of {_list(classes)} to train on, "
                f"got none in {len(dataset)} images; the names of the classes in "
                "metainfo must be those in the annotations."
            )


def compare(
    path: str,
    names: Sequence[str],
    classes: Sequence[str],
    labels: Sequence[str] | None = None,
) -> None:
    """Compare the categories of a file, or folders of images, with a config's classes.

    Args:
        path: The file or folder.
        names: Of its categories, in its order.
        classes: Of the dataset's ``metainfo``.
        labels: Names of the categories that are labels 0, 1, ...; those of ``names``
            that are among the classes if not given.

    Raises:
        CategoryError: No name fits, or labels would mean other classes: one is missing,
            or the file has another order.
    """
    if labels is None:
        labels = [name for name in names if name in set(classes)]
    if not set(labels) & set(classes):
        raise CategoryError(
            f"{path}: expected categories named as the classes of the dataset, "
            f"{_list(classes)}, got {_list(names)}; without a common name it has no "
            "box to train on: set metainfo=dict(classes=...) of each dataset to the "
            "names in the file, and num_classes of the model to their number."
        )
    known = set(classes)
    if not any(
        name in known and name not in classes[label : label + 1]
        for label, name in enumerate(labels)
    ):
        return
    missing = [name for name in classes if name not in set(names)]
    if missing:
        raise CategoryError(
            f"{path}: expected all classes of the dataset, {_list(classes)}, got "
            f"{_list(names)} without {_list(missing)}, and without them mmdet numbers "
            "the others anew, so that their labels mean other classes; add the missing "
            "ones to `categories` of the file, or take them out of metainfo."
        )
    raise CategoryError(
        f"{path}: expected the classes in its own order, in which labels are "
        f"numbered, {_list(labels)}, got metainfo with {_list(classes)}, so that "
        "labels would have the names of other classes; write metainfo=dict(classes="
        "...) of each dataset in that order, and give all data sets one order."
    )


def coco_problem(dataset: Mapping[str, Any]) -> str | None:
    """Why a dataset of COCO's kind could not be built; None if its file looks sound."""
    root, name = dataset.get("data_root") or "", dataset.get("ann_file") or ""
    path = os.path.join(root, name)
    if not name.endswith(".json") or not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:
        return f"{path}: expected annotations as JSON, got something else ({error})."
    needed = ("images", "annotations", "categories")
    found = list(content) if isinstance(content, dict) else []
    missing = [key for key in needed if key not in found]
    if missing:
        got = _list(found) if found else f"a {type(content).__name__}"
        return (
            f"{path}: expected images, annotations and categories as in COCO, got "
            f"{got}, without {_list(missing)}; mmdet reads no other format of JSON."
        )
    for key in needed:
        if problem := _record_problem(key, content[key]):
            return f"{path}: {problem}."
    if not content["images"]:
        return f"{path}: expected images, got an empty list."
    classes = (dataset.get("metainfo") or {}).get("classes")
    if classes:
        try:
            compare(path, [c.get("name") for c in content["categories"]], classes)
        except CategoryError as error:
            return error.sentence
    return None


def _categories(path: str, chosen: Sequence[int]) -> dict[int, str] | None:
    """Name by id, in the order of a COCO file, which may have a gigabyte."""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        for key in re.finditer(rb'"categories"\s*:\s*(?=\[)', content):
            for size in (2**20, len(content)):
                text = content[key.end() : key.end() + size].decode(errors="ignore")
                try:
                    found, _ = json.JSONDecoder().raw_decode(text)
                    names = {record["id"]: record["name"] for record in found}
                except (ValueError, KeyError, TypeError):
                    continue
                if all(number in names for number in chosen):
                    return names
    return None


def _record_problem(key: str, records: Any) -> str | None:
    if not isinstance(records, list):
        return f"expected {key} as a list, got {str(records)[:80]!r}"
    needed = _NEEDED[key]  # the first that mmdet cannot read
    for number, record in enumerate(records):
        found = record if isinstance(record, dict) else {}
        missing = [name for name in needed if found.get(name) is None]
        if missing:
            got = str(record)[:80]
            return f"expected {key}[{number}] with {_list(needed)}, got {got}"
        box = found.get("bbox", [0, 0, 0, 0])
        numbers = isinstance(box, list) and all(
            isinstance(value, (int, float)) for value in box
        )
        if not numbers or len(box) != 4:
            return f"expected {key}[{number}].bbox as [x, y, width, height], got {box}"
    return None


def _learns_boxes(dataset: Any) -> bool:
    """Whether mmdet trains on its boxes; a pipeline for unlabelled images has none."""
    detection = sys.modules.get("mmdet.datasets.base_det_dataset")
    kind = getattr(detection, "BaseDetDataset", ())
    loading = sys.modules.get("mmcv.transforms.loading")
    loads = getattr(loading, "LoadAnnotations", ())
    return isinstance(dataset, kind) and any(
        isinstance(step, loads) and step.with_bbox
        for step in dataset.pipeline.transforms
    )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:12]))
    return f"{shown}, ... ({len(names)})" if len(names) > 12 else shown or "nothing"
