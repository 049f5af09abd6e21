"""Tiny-ImageNet-200, from the folder that its zip file unpacks to.

mmpretrain's ``CustomDataset`` reads ``train`` of it, but not ``val``, whose images lie
in one folder with a list beside it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from lbbt_mm.registry import DATASETS

_LAYOUT = (
    "unpack tiny-imagenet-200.zip again (tools/prepare_data.py tiny-imagenet), and "
    "point data_root at its folder tiny-imagenet-200, which holds wnids.txt, "
    "words.txt, train/ and val/"
)


@DATASETS.register_module()
class TinyImageNet(BaseDataset):
    """Tiny-ImageNet-200 in its original layout: 200 classes, 64x64 JPEG files.

    A data info is ``dict(img_path, gt_label, sample_idx)``; the pipeline begins with
    ``LoadImageFromFile``. Classes are numbered by their sorted WordNet ids, as a folder
    dataset over ``train`` numbers them, and named by their first word in ``words.txt``;
    ``metainfo['wnids']`` has the ids. The official test split has no labels and is not
    offered: papers report ``'val'``.

    Args:
        data_root: The folder ``tiny-imagenet-200``.
        split: ``'train'`` (100 000 images) or ``'val'`` (10 000).
        **kwargs: As in mmengine's ``BaseDataset``: ``pipeline``, ``indices``, ...

    Raises:
        FileNotFoundError: A file or folder of the layout is missing.
        ValueError: The split is unknown, or a list does not fit the images.

    Example::

        dataset = dict(type="lbbt_mm.TinyImageNet", split="val", pipeline=pipeline,
                       data_root="data/tiny-imagenet-200")
    """

    def __init__(self, data_root: str, split: str = "train", **kwargs: Any) -> None:
        if split not in ("train", "val"):
            raise ValueError(
                f"TinyImageNet: expected split 'train' or 'val', got {split!r}; the "
                "official test images have no labels."
            )
        self.split = split
        super().__init__(data_root=os.path.expanduser(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the lists and check them against the files."""
        root = Path(self.data_root)
        wnids = sorted(_lines(root / "wnids.txt"))
        words = dict(line.split("\t", 1) for line in _lines(root / "words.txt", "\t"))
        self._metainfo.setdefault("wnids", tuple(wnids))
        self._metainfo.setdefault(
            "classes",
            tuple(words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids),
        )
        label = {wnid: i for i, wnid in enumerate(wnids)}
        images = _train_images(root, wnids) if self.split == "train" else _val(root)
        unknown = sorted({wnid for _, wnid in images} - set(label))
        if unknown:
            raise ValueError(
                f"{root}: expected the {len(wnids)} classes of wnids.txt, got "
                f"{unknown[0]!r} in {self.split}; {_LAYOUT}."
            )
        return [dict(img_path=str(path), gt_label=label[wnid]) for path, wnid in images]


def _train_images(root: Path, wnids: list[str]) -> list[tuple[Path, str]]:
    images = []
    for wnid in wnids:
        folder = root / "train" / wnid
        found = _files(folder / "images")
        # The list of bounding boxes names every image: a torn unpacking shows.
        boxes = folder / f"{wnid}_boxes.txt"
        if boxes.is_file():
            listed = {line.split("\t")[0] for line in _lines(boxes, "\t")}
            _compare(folder / "images", found, listed, boxes)
        images += [(folder / "images" / name, wnid) for name in sorted(found)]
    return images


def _val(root: Path) -> list[tuple[Path, str]]:
    path = root / "val" / "val_annotations.txt"
    rows = [line.split("\t") for line in _lines(path, "\t")]
    found = _files(root / "val" / "images")
    _compare(root / "val" / "images", found, {row[0] for row in rows}, path)
    return [(root / "val" / "images" / row[0], row[1]) for row in rows]


def _lines(path: Path, separator: str = "") -> list[str]:
    """The lines of a list; all of them have the separator."""
    try:
        # Not splitlines(), which also divides at marks that may stand in a name.
        text = path.read_text(encoding="utf-8-sig").rstrip("\n")
        lines = text.split("\n") if text else []
    except FileNotFoundError:
        raise FileNotFoundError(
            f"TinyImageNet: expected {path}, got none; {_LAYOUT}."
        ) from None
    broken = [line for line in lines if separator not in line or not line.strip()]
    if broken or not lines:
        got = f"the line {broken[0]!r}" if broken else "an empty file"
        wanted = "fields with tabs between them" if separator else "a WordNet id a line"
        raise ValueError(f"{path}: expected {wanted}, got {got}; {_LAYOUT}.")
    return lines


def _files(folder: Path) -> set[str]:
    """Names of the images in a folder; there is at least one."""
    found = set()
    if folder.is_dir():
        with os.scandir(folder) as entries:  # no stat for each of 100 000 files
            found = {e.name for e in entries if e.name.upper().endswith(".JPEG")}
    if not found:
        raise FileNotFoundError(
            f"TinyImageNet: expected images in {folder}, got none; {_LAYOUT}."
        )
    return found


def _compare(folder: Path, found: set[str], listed: set[str], path: Path) -> None:
    missing = sorted(listed - found)
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected the {len(listed)} images that {path.name} lists, got "
            f"{len(listed) - len(missing)} of them, {missing[0]} is missing; {_LAYOUT}."
        )
