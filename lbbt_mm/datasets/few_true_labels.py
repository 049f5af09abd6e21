"""True labels of a few images, beside another label of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ConcatDataset

from lbbt_mm.datasets.arguments import checked_integer
from lbbt_mm.datasets.few_labels import checked_amount, checked_choice
from lbbt_mm.datasets.label_field import InstanceLabelDataset, LabelFieldDataset
from lbbt_mm.datasets.random_label import RandomLabelDataset
from lbbt_mm.datasets.wrapper import DatasetWrapper
from lbbt_mm.registry import DATASETS

UNKNOWN = -1  # the label of an image whose true label nobody may read


@DATASETS.register_module()
class FewTrueLabelsDataset(LabelFieldDataset):
    """All images, and the true labels of a few of them.

    The few are those that ``FewLabelDataset`` keeps with the same ``labels`` and
    ``seed``, class-balanced and a pure function of (the labels, ``labels``, ``seed``).
    Their true labels go into ``field``; every other image has -1 there, and an
    objective leaves it out. Which images are the few is chosen with all true labels at
    hand, as every balanced choice is; none of the others is handed on as a label.

    Args:
        dataset: Config or built dataset: a ``RandomLabelDataset``, whose label stays
            the ``gt_label`` of all images, an ``InstanceLabelDataset``, or a labelled
            ``BaseDataset`` or ``ConcatDataset``. A ``RotationDataset`` goes outside.
        labels: A float in (0, 1]: the share of each class, at least one image of each.
            An int: the number of images altogether.
        seed: Another seed, another choice.
        field: Where the true labels go.
        **kwargs: ``pipeline`` and ``accept_changed_images``, see ``DatasetWrapper``.

    Raises:
        TypeError: An argument is of the wrong type, or an image has several labels.
        ValueError: ``labels`` is out of range, ``field`` is ``gt_label``, or the
            dataset is unlabelled, empty or of one class.

    Example::

        random = dict(type="lbbt_mm.RandomLabelDataset", dataset=images,
                      num_classes=10, ratio=1.0)
        dataset = dict(type="lbbt_mm.FewTrueLabelsDataset", dataset=random, labels=100)
    """

    label_source = "kept"  # see lbbt_mm.safety.dumped_config
    gives_other_labels = True
    _inside = (BaseDataset, RandomLabelDataset, InstanceLabelDataset)
    _settings = ("labels", "seed", "field")
    _taken = (*LabelFieldDataset._taken, "gt_label")  # most images would have none

    def __init__(
        self,
        dataset: BaseDataset | ConcatDataset | DatasetWrapper | dict,
        labels: float | int = 0.01,
        seed: int = 0,
        field: str = "few_label",
        **kwargs: Any,
    ) -> None:
        self.labels = checked_amount("FewTrueLabelsDataset", labels)
        self.seed = checked_integer("FewTrueLabelsDataset", "seed", seed, 0, "give one")
        super().__init__(dataset, field, **kwargs)

    @property
    def metainfo(self) -> dict:
        """A copy of the inner dataset's, plus ``few_true_labels``: which are known."""
        few = dict(labels=self.labels, seed=self.seed)
        return dict(super().metainfo, few_true_labels=few)

    @property
    def labelled(self) -> np.ndarray:
        """Indices of the images whose true labels are known, ascending."""
        self.full_init()
        return np.flatnonzero(self._labels != UNKNOWN)

    def _prepare(self, num_images: int) -> int:
        truth = self._true_labels("", "use a dataset with one true label per image")
        known = checked_choice("FewTrueLabelsDataset", truth, self.labels, self.seed)
        self._labels = np.full(num_images, UNKNOWN)
        self._labels[known] = truth[known]
        self._labels.flags.writeable = False
        return num_images
