"""Labels that an objective brings along, under a name of its own."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ConcatDataset

from lbbt_mm.datasets.arguments import checked_integer
from lbbt_mm.datasets.few_labels import FewLabelDataset
from lbbt_mm.datasets.folds import origin_inside
from lbbt_mm.datasets.wrapper import DatasetWrapper
from lbbt_mm.registry import DATASETS


class LabelFieldDataset(DatasetWrapper):
    """A wrapper that writes one label an image into one field of the data info.

    As ``gt_label``, the label is what any classifier trains on, and the label that was
    there goes on as ``true_label``, for evaluation only; soft labels (``gt_score``) are
    dropped, because heads prefer them. Under another name it stands beside
    ``gt_label``, which stays what the dataset inside made it; a pipeline packs it with
    ``PackInputs(algorithm_keys=[field])``. So labels for several objectives come from
    wrappers inside each other.

    Args:
        dataset: Config or built dataset: a ``BaseDataset``, a ``ConcatDataset``, or
            another wrapper that decides on labels.
        field: Where the label goes.
        **kwargs: ``pipeline`` and ``accept_changed_images``, see ``DatasetWrapper``.

    Raises:
        TypeError: ``field`` is no name.
        ValueError: ``field`` is one that has a meaning already.
    """

    _inside: tuple[type, ...] = (BaseDataset, FewLabelDataset)
    _settings: tuple[str, ...] = ("field",)
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
            info.pop("gt_score", None)
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


# They may stand inside each other; FewLabelDataset stays inside of them.
LabelFieldDataset._inside += (LabelFieldDataset,)


@DATASETS.register_module()
class InstanceLabelDataset(LabelFieldDataset):
    """Any image dataset; the label of an image is its index (Dosovitskiy et al. 2014).

    It needs no annotation, and draws nothing. There are as many classes as images, so
    the head is as wide: with 60 000 images and 384 channels, weights, gradients and
    AdamW's two moments take 60 000 x 384 x 16 bytes, 370 MB, and the scores of a batch
    of 32 another 8 MB each time they are kept.

    Args:
        dataset: Config or built dataset: a ``BaseDataset``, a ``ConcatDataset`` of
            them, or another wrapper that decides on labels.
        num_classes: The width of the head. If given, it is compared with the number of
            images, which a changed ``indices`` changes too.
        field: Where the label goes. Under another name than ``gt_label``, it stands
            beside the label of the dataset inside, for a mix of objectives.
        **kwargs: ``pipeline`` and ``accept_changed_images``, see ``DatasetWrapper``.

    Raises:
        ValueError: ``num_classes`` is not the number of images.

    Example::

        dataset = dict(type="lbbt_mm.InstanceLabelDataset", dataset=images)
    """

    label_source = "self-made"  # see lbbt_mm.safety.dumped_config
    gives_other_labels = True

    def __init__(
        self,
        dataset: BaseDataset | ConcatDataset | DatasetWrapper | dict,
        num_classes: int | None = None,
        field: str = "gt_label",
        **kwargs: Any,
    ) -> None:
        if num_classes is not None:
            num_classes = checked_integer(
                "InstanceLabelDataset",
                "num_classes",
                num_classes,
                at_least=1,
                cure="there are as many classes as images",
            )
        self.num_classes = num_classes
        super().__init__(dataset, field, **kwargs)

    @property
    def metainfo(self) -> dict:
        """A copy of the inner dataset's; as ``gt_label``, without names of classes."""
        metainfo = super().metainfo
        if self.field == "gt_label":
            # A name for each image would be in every checkpoint.
            metainfo.pop("classes", None)
        return dict(metainfo, instance_label=True)

    def _prepare(self, num_images: int) -> int:
        whole, numbers = origin_inside(self.dataset)  # of a fold: as without folds
        if self.num_classes not in (None, whole):
            raise ValueError(
                f"InstanceLabelDataset: expected as many classes as images, "
                f"{whole}, got num_classes={self.num_classes}; set num_classes "
                f"here and of the head to {whole}."
            )
        self._labels = numbers
        self._labels.flags.writeable = False
        return num_images
