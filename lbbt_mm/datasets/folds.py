"""Some images of a dataset, each with the label that it has among all of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import ConcatDataset
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from lbbt_mm.datasets.wrapper import DatasetWrapper
from lbbt_mm.registry import find_type


class Part(DatasetWrapper):
    """A wrapper that shows some of the images; ``_prepare`` calls :meth:`_choose`."""

    _restricts = True

    def _choose(self, chosen: np.ndarray) -> int:
        """Show the images ``chosen``, shape (n,), int64."""
        self._chosen = chosen
        self._order = np.argsort(chosen, kind="stable")
        return len(chosen)

    def _source(self, index: int) -> int:
        return int(self._chosen[index])

    def _index(self, source: int) -> int:
        at = np.searchsorted(self._chosen, source, sorter=self._order)
        if at == len(self._chosen) or self._chosen[self._order[at]] != source:
            raise RuntimeError(
                f"{type(self).__name__}: expected an inner dataset that reads only the "
                f"images it is asked for, but it read image {source}, which is not "
                f"among the {len(self._chosen)} chosen; take what mixes images out of "
                "the inner dataset."
            )
        return int(self._order[at])


class Subset(Part):
    """A part of a wrapped dataset, as ``get_subset`` returns it.

    Args:
        dataset: The whole.
        indices: Of its images; a number n means the first n, or the last -n.
    """

    _inside = (DatasetWrapper,)

    def __init__(self, dataset: DatasetWrapper, indices: Sequence[int] | int) -> None:
        everything = np.arange(len(dataset))
        if isinstance(indices, int):
            chosen = everything[:indices] if indices >= 0 else everything[indices:]
        else:
            chosen = everything[np.asarray(indices, dtype=np.int64)]
        self._choose(chosen)
        super().__init__(dataset)

    @property
    def gives_other_labels(self) -> bool:  # type: ignore[override]  # is read only
        """As the whole does."""
        return self.dataset.gives_other_labels

    def _prepare(self, num_images: int) -> int:
        return len(self._chosen)

    def _origin(self) -> tuple[int, np.ndarray]:
        whole, numbers = self.dataset._origin()
        return whole, numbers[self._chosen]

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label that the image has in the whole, as a list."""
        return self.dataset.get_cat_ids(self._source(self._checked(idx)))

    def get_gt_labels(self) -> np.ndarray:
        """The labels that the images have in the whole, shape (n,), int64."""
        return self.dataset.get_gt_labels()[self._chosen]

    def __repr__(self) -> str:
        """One line: how many, of what."""
        return f"{len(self._chosen)} images of {self.dataset!r}"


def is_folds(dataset: Any) -> bool:
    """Whether an object or a class is mmpretrain's ``KFoldDataset``."""
    module = sys.modules.get("mmpretrain.datasets.dataset_wrappers")
    kind = getattr(module, "KFoldDataset", None)
    found = dataset if isinstance(dataset, type) else type(dataset)
    return kind is not None and issubclass(found, kind)


def build_folds(config: Mapping) -> Any | None:
    """Build a ``KFoldDataset`` that remembers what it is a part of.

    Args:
        config: Of a dataset.

    Returns:
        The dataset, whose ``whole`` is the number of images of all folds; None if the
        config builds something else.
    """
    kind = find_type(config, MMENGINE_DATASETS)
    if kind is None or not is_folds(kind) or not isinstance(config["dataset"], Mapping):
        return None
    whole = build_folds(config["dataset"]) or MMENGINE_DATASETS.build(config["dataset"])
    number = len(whole)  # before the fold shrinks it
    folds = MMENGINE_DATASETS.build({**config, "dataset": dict(type=lambda: whole)})
    folds.whole = number
    return folds


def origin_inside(dataset: Any) -> tuple[int, np.ndarray]:
    """Number images as if there were no folds.

    Args:
        dataset: A fully initialised dataset, in any wrappers.

    Returns:
        How many images all folds have together, and the number of each image of the
        dataset among them, shape (n,), int64.
    """
    if isinstance(dataset, ConcatDataset):
        whole, numbers = 0, []
        for part in dataset.datasets:
            size, own = origin_inside(part)
            numbers.append(whole + own)
            whole += size
        return whole, np.concatenate(numbers)
    if isinstance(dataset, DatasetWrapper):
        return dataset._origin()
    if is_folds(dataset):
        if isinstance(dataset.dataset, DatasetWrapper):  # a Subset of what may be folds
            return dataset.dataset._origin()
        return dataset.whole, np.asarray(dataset._ori_indices, dtype=np.int64)
    return len(dataset), np.arange(len(dataset))
