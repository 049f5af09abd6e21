"""Labels that an objective brings along, under a name of its own."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from lbbt_mm.datasets.few_labels import FewLabelDataset
from lbbt_mm.datasets.random_label import RandomLabelDataset
from lbbt_mm.datasets.wrapper import DatasetWrapper


class LabelFieldDataset(DatasetWrapper):
    """A wrapper that writes one label an image into one field of the data info.

    As ``gt_label``, the label is what any classifier trains on, and the label that was
    there goes on as ``true_label``, for evaluation only. Under another name it stands
    beside ``gt_label``, which stays what the dataset inside made it; a pipeline packs
    it with ``PackInputs(algorithm_keys=[field])``. So labels for several objectives
    come from wrappers inside each other.

    Args:
        dataset: Config or built dataset: a ``BaseDataset``, a ``ConcatDataset``, or
            another wrapper that decides on labels.
        field: Where the label goes.
        **kwargs: ``pipeline`` and ``accept_changed_images``, see ``DatasetWrapper``.

    Raises:
        TypeError: ``field`` is no name.
        ValueError: ``field`` is one that has a meaning already.
    """

    _inside: tuple[type, ...] = (BaseDataset, FewLabelDataset, RandomLabelDataset)
    _taken: tuple[str, ...] = (
        "img",
        "img_path",
        "sample_idx",
        "true_label",
        "is_random_label",
    )

    def __init__(self, dataset: Any, field: str = "gt_label", **kwargs: Any) -> None:
        name = type(self).__name__
        if not isinstance(field, str) or not field.isidentifier():
            raise TypeError(
                f"{name}: expected a field such as 'gt_label', got {field!r}; it is "
                "the name under which the label goes into the data info."
            )
        if field in self._taken:
            raise ValueError(
                f"{name}: expected a field of its own, got {field!r}, which means "
                "something else; use 'gt_label' or a new name."
            )
        self.field = field
        super().__init__(dataset, **kwargs)

    def _edit(self, info: dict, index: int) -> dict:
        if self.field == "gt_label":
            truth = info.pop("gt_label", None)
            info.pop("gt_score", None)  # soft labels, which heads prefer
            # Of a wrapper inside, gt_label may be random: true_label is the true one.
            if truth is not None and "true_label" not in info:
                try:
                    truth = operator.index(truth)
                except TypeError:  # several labels: just a remark on the image
                    pass
                info["true_label"] = truth
        info[self.field] = int(self._labels[index])
        return info

    @property
    def truth_key(self) -> str:
        """Under which name a data info has the true label, if there is one."""
        return "true_label" if self.field == "gt_label" else super().truth_key

    @property
    def own_labels(self) -> np.ndarray:
        """The labels of all images, shape (n,), int64, read-only."""
        self.full_init()
        return self._labels


# They may stand inside each other; FewLabelDataset and the like stay inside of them.
LabelFieldDataset._inside += (LabelFieldDataset,)
