"""Instance identity: each image is a class of its own."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import BaseDataset, ConcatDataset

from lbbt_mm.datasets.arguments import checked_integer
from lbbt_mm.datasets.folds import origin_inside
from lbbt_mm.datasets.label_field import LabelFieldDataset
from lbbt_mm.datasets.wrapper import DatasetWrapper
from lbbt_mm.registry import DATASETS


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
    """

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
        """Number the images."""
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

    def __repr__(self) -> str:
        """One line: what is numbered."""
        name = type(self.dataset).__name__
        return f"InstanceLabelDataset({name}, field={self.field!r})"
