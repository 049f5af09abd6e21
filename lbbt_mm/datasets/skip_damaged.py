"""Going on without the images that cannot be read, and saying so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.logging import print_log

from lbbt_mm.datasets.arguments import checked_integer
from lbbt_mm.datasets.checks.damaged import DamagedImageError, is_torn_jpeg
from lbbt_mm.datasets.few_labels import FewLabelDataset
from lbbt_mm.datasets.label_field import LabelFieldDataset
from lbbt_mm.datasets.wrapper import DatasetWrapper
from lbbt_mm.registry import DATASETS


@DATASETS.register_module()
class SkipDamagedImages(DatasetWrapper):
    """Put the next readable image in the place of one that cannot be read.

    Without this wrapper a damaged image stops the run. With it, image i is replaced by
    the first readable one of i + 1, i + 2, ... (after the last comes the first), which
    brings its own label. That depends on the files alone, so every rank, worker, epoch
    and resume agrees. mmengine's own way (``ignore_empty`` and ``max_refetch``) draws a
    random other image each time, says nothing, and does not catch files that cannot be
    decoded.

    A damaged file is logged once by each rank that meets it, from whichever worker met
    it first, with the rank's number so far; more than ``max_damaged`` stop the run.
    A JPEG file without its end counts as damaged, although some versions of OpenCV
    fill it up with grey.

    It is meant for training: an evaluation would count the replacement twice. It goes
    outside of the other wrappers; the labels of the readable images are the same with
    and without it.

    Args:
        dataset: Config or built dataset: a ``BaseDataset``, a ``ConcatDataset``, a
            ``RandomLabelDataset``, a ``FewLabelDataset``, a ``RotationDataset`` or the
            like.
        max_damaged: Number of damaged images that are accepted.
        **kwargs: ``pipeline`` and ``accept_changed_images``, see ``DatasetWrapper``.

    Raises:
        ValueError: The loader of the pipeline hides damaged files (``ignore_empty``).

    Example::

        random = dict(type="lbbt_mm.RandomLabelDataset", dataset=images,
                      num_classes=10, ratio=1.0)
        dataset = dict(type="lbbt_mm.SkipDamagedImages", dataset=random)
    """

    label_source = "kept"  # see lbbt_mm.safety.dumped_config
    _inside = (BaseDataset, FewLabelDataset, LabelFieldDataset)
    _settings = ("max_damaged",)

    def __init__(
        self,
        dataset: BaseDataset | ConcatDataset | DatasetWrapper | dict,
        max_damaged: int = 10,
        **kwargs: Any,
    ) -> None:
        self.max_damaged = checked_integer(
            "SkipDamagedImages",
            "max_damaged",
            max_damaged,
            at_least=0,
            cure="it is the number of damaged images to accept",
        )
        super().__init__(dataset, **kwargs)

    @property
    def damaged(self) -> np.ndarray:
        """Indices of the damaged images found so far, by this rank and its workers."""
        self.full_init()
        return np.flatnonzero(self._damaged.numpy())

    def _prepare(self, num_images: int) -> int:
        """Make the list of damaged images, which the workers share."""
        for leaf in self._leaves:
            _refuse_ignore_empty(leaf)
        self._damaged = torch.zeros(num_images, dtype=torch.bool).share_memory_()
        self._looked_at = np.zeros(num_images, dtype=bool)  # each worker has its own
        return num_images

    def __getitem__(self, idx: int) -> Any:
        """Run the inner pipeline on the image, or on the next readable one.

        Raises:
            DamagedImageError: More than ``max_damaged`` have been found.
        """
        index = self._checked(idx)
        errors = {}
        for candidate in self._candidates(index):
            if self._damaged[candidate]:
                continue
            try:
                self._stop_if_torn(candidate)
                data = super().__getitem__(candidate)
            except DamagedImageError as error:
                self._damaged[candidate] = True
                errors[candidate] = error
                self._stop_if_too_many(candidate, error)
                continue
            for i, reason in errors.items():
                print_log(
                    f"SkipDamagedImages: {_named(i, reason)}; image {candidate} takes "
                    f"its place. Damaged so far: {len(self.damaged)} of {len(self)} "
                    f"images, at most {self.max_damaged} are accepted.",
                    logger="current",
                    level=logging.ERROR,  # the only one that every rank shows
                )
            return data
        raise DamagedImageError(
            "SkipDamagedImages: expected a readable image, but all "
            f"{len(self)} are damaged; check the dataset's folder."
        )

    def _candidates(self, index: int) -> Iterator[int]:
        """The image itself, and then those after it that may take its place."""
        yield index
        others = np.arange(len(self)) if self._only is None else self._only()
        first = int(np.searchsorted(others, index, side="right"))
        yield from (int(i) for i in np.roll(others, -first) if i != index)

    def _stop_if_torn(self, index: int) -> None:
        if self._looked_at[index]:
            return
        self._looked_at[index] = True
        path = self.get_data_info(index).get("img_path")
        if path and is_torn_jpeg(path):
            raise DamagedImageError("torn", path, "the end of the JPEG is missing")

    def _stop_if_too_many(self, index: int, error: DamagedImageError) -> None:
        found = len(self.damaged)
        if found > self.max_damaged:
            raise DamagedImageError(
                f"SkipDamagedImages: expected at most {self.max_damaged} damaged "
                f"images of {len(self)}, got {found}, lately {_named(index, error)}; "
                "replace the files that the log names, or raise max_damaged.",
                error.path,
                error.why,
            ) from error

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label of the image itself, even if another one takes its place."""
        return [int(self.get_data_info(idx)["gt_label"])]

    def get_gt_labels(self) -> np.ndarray:
        """The labels of the images themselves, shape (n,), int64."""
        return np.array([self.get_cat_ids(i)[0] for i in range(len(self))], np.int64)


def _named(index: int, error: DamagedImageError) -> str:
    return f"image {index}, {error.path}, cannot be read ({error.why})"


def _refuse_ignore_empty(dataset: Any) -> None:
    if isinstance(dataset, DatasetWrapper):
        for leaf in dataset._leaves:
            _refuse_ignore_empty(leaf)
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    if any(getattr(step, "ignore_empty", False) for step in steps):
        raise ValueError(
            "SkipDamagedImages: expected a pipeline that stops at a damaged file, got "
            "ignore_empty=True, which makes mmengine take a random other image in "
            "silence; leave ignore_empty out."
        )
