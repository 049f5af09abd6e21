"""A dataset of which only some images have kept their labels: the few-label regime."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ConcatDataset

from lbbt_mm.datasets.arguments import checked_integer, checked_share, private_stream
from lbbt_mm.datasets.folds import Part
from lbbt_mm.registry import DATASETS

_CHOICE = 2  # a purpose of private_stream; 0 and 1 are in random_label.py


def choose_labelled(labels: np.ndarray, amount: float | int, seed: int) -> np.ndarray:
    """Choose the images whose labels are known.

    Under one seed each class has one fixed order, of which every amount takes a
    beginning: a smaller choice is among the larger ones.

    Args:
        labels: Class of each image, shape (n,), int64.
        amount: A float is the share of each class, at least one image of each; an int
            is the number of images, from the number of classes to n, as even over the
            classes as these have images.
        seed: Another seed, another choice.

    Returns:
        Ascending indices, int64.
    """
    classes, index_of_class, sizes = np.unique(
        labels, return_inverse=True, return_counts=True
    )
    rng = private_stream(_CHOICE, len(labels), len(classes), seed)
    mixed = rng.permutation(len(labels))
    by_class = mixed[np.argsort(index_of_class[mixed], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    # Of each image in by_class: its number within its class.
    number = np.arange(len(labels)) - np.repeat(starts, sizes)
    if isinstance(amount, float):
        wanted = np.maximum(1, np.round(amount * sizes)).astype(np.int64)
        chosen = by_class[number < np.repeat(wanted, sizes)]
    else:
        # Deal out in rounds, one image of each class that still has one. Which classes
        # are first decides who gets one more in the last round: not always the same.
        turn = rng.permutation(len(classes))
        order = np.lexsort((np.repeat(turn, sizes), number))
        chosen = by_class[order[:amount]]
    return np.sort(chosen)


@DATASETS.register_module()
class FewLabelDataset(Part):
    """The part of a labelled classification dataset whose labels one can afford.

    It holds the labelled images only: train and validate on it as on any dataset. The
    choice is class-balanced and a pure function of (the labels, ``labels``, ``seed``):
    the same on every rank, worker, epoch and resume. Under one seed, 1 % of the images
    are among the 10 %, and 100 images among the 1 000.

    Args:
        dataset: Config or built dataset: a ``BaseDataset`` or a ``ConcatDataset``,
            with one class per image.
        labels: A float in (0, 1]: the share of each class, at least one image of each.
            An int: the number of images altogether, as even over the classes as these
            have images.
        seed: Another seed, another choice.
        **kwargs: ``pipeline`` and ``accept_changed_images``, see ``DatasetWrapper``.

    Raises:
        TypeError: An argument is of the wrong type, or an image has several labels.
        ValueError: ``labels`` is out of range, or the dataset is unlabelled, empty or
            of one class.

    Example::

        dataset = dict(type="lbbt_mm.FewLabelDataset", dataset=images, labels=0.01)
    """

    label_source = "kept"  # see lbbt_mm.safety.dumped_config
    _settings = ("labels", "seed")

    def __init__(
        self,
        dataset: BaseDataset | ConcatDataset | dict,
        labels: float | int = 0.01,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.labels = checked_amount("FewLabelDataset", labels)
        self.seed = checked_integer("FewLabelDataset", "seed", seed, 0, "give one")
        super().__init__(dataset, **kwargs)

    @property
    def metainfo(self) -> dict:
        """A copy of the inner dataset's, plus ``few_labels``: which were kept."""
        few_labels = dict(labels=self.labels, seed=self.seed)
        return dict(super().metainfo, few_labels=few_labels)

    @property
    def labelled(self) -> np.ndarray:
        """Indices of the kept images in the inner dataset, ascending, read-only."""
        self.full_init()
        return self._chosen

    def _prepare(self, num_images: int) -> int:
        truth = self._true_labels("", "use a dataset with one true label per image")
        kept = checked_choice("FewLabelDataset", truth, self.labels, self.seed)
        self._labels = truth[kept]
        self._labels.flags.writeable = kept.flags.writeable = False
        return self._choose(kept)

    def _origin(self) -> tuple[int, np.ndarray]:
        return len(self._chosen), np.arange(len(self._chosen))


def checked_choice(
    owner: str, truth: np.ndarray, amount: float | int, seed: int
) -> np.ndarray:
    """Choose as :func:`choose_labelled` does.

    Raises:
        ValueError: There are not as many images, or more classes; ``owner`` says so.
    """
    if isinstance(amount, int):
        num_classes = len(np.unique(truth))
        if not num_classes <= amount <= len(truth):
            whole = "; all of them are labels=1.0" if amount == 1 else ""
            raise ValueError(
                f"{owner}: expected a number of labels from {num_classes}, one of "
                f"each class, to {len(truth)}, all images, got {amount}{whole}; a "
                "share of each class is written as a float, 1 % as 0.01."
            )
    return choose_labelled(truth, amount, seed)


def checked_amount(owner: str, labels: Any) -> float | int:
    """A share of each class, a ``float`` in (0, 1], or a number of images, an ``int``.

    Raises:
        TypeError: Not a number; True and False are not taken for one.
        ValueError: Out of range.
    """
    message = (
        f"{owner}: expected labels as a share of each class above 0 and up to "
        "1.0, or as a number of images, 1 or more, "
        f"got {labels!r}; write 1 % as 0.01 and a hundred images as 100."
    )
    if isinstance(labels, numbers.Integral) and not isinstance(labels, bool):
        if labels < 1:
            raise ValueError(message)
        return int(labels)
    return checked_share(message, labels, zero=False)
