"""Random labels: the draw, a pure function, and the dataset wrapper that applies it.

``docs/random_labels.md`` explains the two label rules (from which classes a label is
drawn) and what follows from each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ConcatDataset

from lbbt_mm.datasets.arguments import checked_integer, checked_share, private_stream
from lbbt_mm.datasets.few_labels import FewLabelDataset
from lbbt_mm.datasets.folds import origin_inside
from lbbt_mm.datasets.label_field import LabelFieldDataset
from lbbt_mm.registry import DATASETS

# The purposes of private streams; a third is in few_labels.py.
_LABELS, _ORDER = 0, 1


def redraw_labels(
    num_images: int,
    num_classes: int,
    ratio: float,
    seed: int = 0,
    true_labels: np.ndarray | None = None,
    exclude_true_label: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the labels of a whole dataset at once.

    Exactly ``round(ratio * num_images)`` images are redrawn. Under one seed, the images
    of a smaller ratio are among those of a larger one, and a redrawn image has the
    same label at every ratio.

    Args:
        num_images: Number of images, n.
        num_classes: Number of classes to draw from.
        ratio: Share of images whose label is redrawn, 0 to 1.
        seed: Another seed, another independent draw.
        true_labels: Shape (n,). Needed if some images keep their label (``ratio`` < 1)
            or if ``exclude_true_label``; otherwise never touched.
        exclude_true_label: Draw from the *other* classes only.

    Returns:
        Labels of shape (n,), int64, and a mask of shape (n,), True where redrawn.
    """
    number = round(ratio * num_images)
    redrawn = np.full(num_images, number == num_images)
    if 0 < number < num_images:  # otherwise the order, most of the work, is no matter
        order = private_stream(_ORDER, num_images, num_classes, seed)
        redrawn[order.permutation(num_images)[:number]] = True

    rng = private_stream(_LABELS, num_images, num_classes, seed)
    truth: Any = true_labels  # given wherever it is used, see above
    if exclude_true_label:
        # A step of 1 to C-1 around the circle of classes: uniform over the others.
        steps = rng.randint(1, num_classes, size=num_images, dtype=np.int64)
        drawn = (truth + steps) % num_classes
    else:
        drawn = rng.randint(0, num_classes, size=num_images, dtype=np.int64)
    if ratio < 1:
        drawn = np.where(redrawn, drawn, truth)
    return drawn, redrawn


@DATASETS.register_module()
class RandomLabelDataset(LabelFieldDataset):
    """Any classification dataset, labelled or not, with labels drawn at random.

    A label is drawn once per image and stays: on every rank, worker, epoch and resume
    it is the same pure function of (seed, index, number of images, number of classes).
    No global random state is read or changed. The default rule is uniform over all
    classes and never reads a true label, so a folder of images is enough.

    A data info gets, before the inner pipeline runs on it: ``gt_label``, the label to
    train on; ``is_random_label``; and ``true_label``, the original label where there
    is one. ``true_label`` is there for evaluation only: no pipeline packs it unless
    asked to (``PackInputs(algorithm_keys=('true_label', ))``). Soft labels
    (``gt_score``) are dropped, because heads prefer them to ``gt_label``.

    Args:
        dataset: Config or built dataset: a ``BaseDataset``, a ``ConcatDataset`` or a
            ``FewLabelDataset``.
        num_classes: Number of classes to draw from, at least 2. Need not be the
            number of true classes.
        ratio: Share of images whose label is redrawn, 0 to 1; the others keep theirs.
        seed: Another seed, another independent draw.
        exclude_true_label: Draw from the *other* classes only. This is what the
            paper's authors did; it needs, and leaks, the true labels.
        **kwargs: ``pipeline`` and ``accept_changed_images``, see ``DatasetWrapper``.

    Example::

        images = dict(type="mmpretrain.CIFAR10", data_root="data/cifar10")
        dataset = dict(type="lbbt_mm.RandomLabelDataset", dataset=images,
                       num_classes=10, ratio=1.0)
    """

    label_source = "random"  # see lbbt_mm.safety.dumped_config
    gives_other_labels = True
    _inside = (BaseDataset, FewLabelDataset)
    _settings = ("rule", "ratio", "seed", "num_classes")

    def __init__(
        self,
        dataset: BaseDataset | ConcatDataset | FewLabelDataset | dict,
        num_classes: int,
        ratio: float,
        seed: int = 0,
        exclude_true_label: bool = False,
        **kwargs: Any,
    ) -> None:
        self.num_classes = checked_integer(
            "RandomLabelDataset",
            "num_classes",
            num_classes,
            at_least=2,
            cure="one class alone teaches nothing",
        )
        self.seed = checked_integer("RandomLabelDataset", "seed", seed, 0, "give one")
        self.ratio = checked_share(
            f"RandomLabelDataset: expected a ratio from 0 to 1, got {ratio!r}; it is "
            "the share of images with a redrawn label, so write 15 % as 0.15.",
            ratio,
            zero=True,
        )
        if not isinstance(exclude_true_label, bool):
            raise TypeError(
                "exclude_true_label: expected True or False, "
                f"got {exclude_true_label!r}; write it without quotes."
            )
        self.exclude_true_label = exclude_true_label

        super().__init__(dataset, "gt_label", **kwargs)

    @property
    def rule(self) -> str:
        """From which classes labels are drawn: all, or those that are not true."""
        return "exclude_true_label" if self.exclude_true_label else "uniform"

    @property
    def metainfo(self) -> dict:
        """A copy of the inner dataset's, plus ``random_label``: how labels were drawn.

        ``classes`` gets generic names where the inner ones are not ``num_classes``. The
        rule is there as ``law`` too, until the next release.
        """
        metainfo = super().metainfo
        if len(metainfo.get("classes") or ()) != self.num_classes:
            metainfo["classes"] = tuple(f"class_{i}" for i in range(self.num_classes))
        metainfo["random_label"] = dict(
            rule=self.rule,
            law=self.rule,
            ratio=self.ratio,
            seed=self.seed,
            num_classes=self.num_classes,
        )
        return metainfo

    @property
    def random_labels(self) -> np.ndarray:
        """The labels to train on, shape (n,), int64, read-only."""
        return self.own_labels

    @property
    def is_random_label(self) -> np.ndarray:
        """True where the label was redrawn, shape (n,), read-only."""
        self.full_init()
        return self._redrawn

    def _prepare(self, num_images: int) -> int:
        # The uniform rule at ratio 1 must not depend on true labels: it never asks.
        needs_truth = self.exclude_true_label or self.ratio < 1
        # Of a fold, the labels are those that its images have without folds.
        whole, numbers = origin_inside(self.dataset)
        truth = None
        if needs_truth:
            truth = np.zeros(whole, dtype=np.int64)
            truth[numbers] = self._true_labels(
                "exclude_true_label=True" if self.exclude_true_label else "ratio < 1",
                "use ratio=1 with the uniform rule, which needs no true label",
                below=self.num_classes,
            )
        labels, redrawn = redraw_labels(
            whole,
            self.num_classes,
            self.ratio,
            self.seed,
            truth,
            self.exclude_true_label,
        )
        self._labels, self._redrawn = labels[numbers], redrawn[numbers]
        self._labels.flags.writeable = self._redrawn.flags.writeable = False
        return num_images

    def _edit(self, info: dict, index: int) -> dict:
        if info.get("gt_label") is not None:
            info.pop("true_label", None)  # no wrapper's: none that gives one is inside
        info["is_random_label"] = bool(self._redrawn[index])
        return super()._edit(info, index)
