"""Random labels: the law, a pure function, and the dataset wrapper that applies it.

``docs/random_labels.md`` explains the two laws and what follows from each.
"""

from __future__ import annotations

import copy
import math
import numbers
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from lbbt_mm.registry import DATASETS

# What a stream of random numbers is used for; two purposes never share a stream, so
# that the choice of images says nothing about their labels.
_LABELS, _ORDER = 0, 1


def _stream(
    purpose: int, num_images: int, num_classes: int, seed: int
) -> np.random.RandomState:
    """A private generator; its numbers never change between numpy versions.

    NumPy froze ``RandomState`` for good (NEP 19) and may still improve
    ``default_rng``, which would silently relabel every image of a resumed run.
    """
    words = [purpose, num_images & 0xFFFFFFFF, num_images >> 32, num_classes]
    for shift in range(0, max(seed.bit_length(), 1), 32):
        words.append(seed >> shift & 0xFFFFFFFF)
    return np.random.RandomState(np.array(words, dtype=np.uint32))


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
        exclude_true_label: Draw from the *other* classes only (the paper authors' law).

    Returns:
        Labels of shape (n,), int64, and a mask of shape (n,), True where redrawn.
    """
    order = _stream(_ORDER, num_images, num_classes, seed).permutation(num_images)
    redrawn = np.zeros(num_images, dtype=bool)
    redrawn[order[: round(ratio * num_images)]] = True

    rng = _stream(_LABELS, num_images, num_classes, seed)
    if exclude_true_label:
        # A step of 1 to C-1 around the circle of classes: uniform over the others.
        steps = rng.randint(1, num_classes, size=num_images, dtype=np.int64)
        drawn = (true_labels + steps) % num_classes
    else:
        drawn = rng.randint(0, num_classes, size=num_images, dtype=np.int64)
    if ratio < 1:
        drawn = np.where(redrawn, drawn, true_labels)
    return drawn, redrawn


@DATASETS.register_module()
class RandomLabelDataset:
    """Any classification dataset, labelled or not, with labels drawn at random.

    A label is drawn once per image and stays: on every rank, worker, epoch and resume
    it is the same pure function of (seed, index, number of images, number of classes).
    No global random state is read or changed. The default law is uniform over all
    classes and never reads a true label, so a folder of images is enough.

    A data info gets, before the inner pipeline runs on it: ``gt_label``, the label to
    train on; ``is_random_label``; and ``true_label``, the original label where there
    is one. ``true_label`` is there for evaluation only: no pipeline packs it unless
    asked to (``PackInputs(algorithm_keys=('true_label', ))``). Soft labels
    (``gt_score``) are dropped, because heads prefer them to ``gt_label``.

    Args:
        dataset: Config or built dataset: a ``BaseDataset`` or a ``ConcatDataset``.
        num_classes: Number of classes to draw from, at least 2. Need not be the
            number of true classes.
        ratio: Share of images whose label is redrawn, 0 to 1; the others keep theirs.
        seed: Another seed, another independent draw.
        exclude_true_label: Draw from the *other* classes only. This is what the
            paper's authors did; it needs, and leaks, the true labels.
    """

    def __init__(
        self,
        dataset: BaseDataset | ConcatDataset | dict,
        num_classes: int,
        ratio: float,
        seed: int = 0,
        exclude_true_label: bool = False,
    ) -> None:
        self.num_classes = _integer("num_classes", num_classes, at_least=2)
        self.seed = _integer("seed", seed, at_least=0)
        self.ratio = _share(ratio)
        if not isinstance(exclude_true_label, bool):
            raise TypeError(
                "exclude_true_label: expected True or False, "
                f"got {exclude_true_label!r}; write it without quotes."
            )
        self.exclude_true_label = exclude_true_label

        # From the root, as mmengine's wrappers do: the user's default scope decides.
        self.dataset = (
            MMENGINE_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        )
        self._leaves = list(_leaves(self.dataset))
        self._fully_initialized = False
        if self.dataset._fully_initialized:  # else it was asked to be lazy: so are we
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """A copy of the inner dataset's, plus ``random_label``: which law was trained.

        ``classes`` gets generic names where the inner ones are not ``num_classes``.
        """
        metainfo = copy.deepcopy(self.dataset.metainfo)
        if len(metainfo.get("classes") or ()) != self.num_classes:
            metainfo["classes"] = tuple(f"class_{i}" for i in range(self.num_classes))
        metainfo["random_label"] = dict(
            law="exclude_true_label" if self.exclude_true_label else "uniform",
            ratio=self.ratio,
            seed=self.seed,
            num_classes=self.num_classes,
        )
        return metainfo

    @property
    def CLASSES(self) -> tuple[str, ...]:
        """Class names, where mmpretrain's ``ClassNumCheckHook`` looks for them."""
        return tuple(self.metainfo["classes"])

    @property
    def random_labels(self) -> np.ndarray:
        """The labels to train on, shape (n,), int64, read-only."""
        self.full_init()
        return self._labels

    @property
    def is_random_label(self) -> np.ndarray:
        """True where the label was redrawn, shape (n,), read-only."""
        self.full_init()
        return self._redrawn

    def full_init(self) -> None:
        """Initialise the inner dataset and draw all labels, once per process."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        self._ends = np.cumsum([len(leaf) for leaf in self._leaves])
        num_images = int(self._ends[-1])
        if num_images == 0:
            raise ValueError(
                "RandomLabelDataset: expected at least one image, got an empty "
                "dataset; check its folder, filter and `indices`."
            )
        # The uniform law at ratio 1 must not depend on true labels: it never asks.
        needs_truth = self.exclude_true_label or self.ratio < 1
        self._labels, self._redrawn = redraw_labels(
            num_images,
            self.num_classes,
            self.ratio,
            self.seed,
            self._read_true_labels() if needs_truth else None,
            self.exclude_true_label,
        )
        self._labels.flags.writeable = self._redrawn.flags.writeable = False
        self._fully_initialized = True

    def __len__(self) -> int:
        """Number of images."""
        self.full_init()
        return len(self._labels)

    def __getitem__(self, idx: int) -> Any:
        """Run the inner pipeline on the relabelled data info.

        All of the inner ``__getitem__`` applies (``test_mode``, ``max_refetch``, what
        a subclass adds), and an image fetched in place of a broken one has *its* label.
        """
        leaf, leaf_idx, start = self._locate(idx)
        asked = []

        def relabelled_info(other_idx: int) -> dict:
            asked.append(other_idx)
            return self._relabel(leaf.get_data_info(other_idx), start + other_idx)

        # The inner __getitem__ asks its own get_data_info, where the true label is: let
        # it run on a shallow copy that asks ours. The copy costs microseconds, and a
        # hook that replaces the inner pipeline later is still heard.
        view = copy.copy(leaf)
        view.get_data_info = relabelled_info
        data = view[leaf_idx]
        if not asked:
            raise RuntimeError(
                "RandomLabelDataset: expected an inner dataset that reads through "
                f"get_data_info, got {type(leaf).__name__}, which bypasses it and "
                "would train on its own labels; make its prepare_data call "
                "self.get_data_info(idx)."
            )
        return data

    def get_data_info(self, idx: int) -> dict:
        """The inner data info with the label to train on (keys: see the class)."""
        leaf, leaf_idx, start = self._locate(idx)
        return self._relabel(leaf.get_data_info(leaf_idx), start + leaf_idx)

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label to train on, as a list: what ``ClassBalancedDataset`` asks for."""
        return [int(self.random_labels[idx])]

    def get_gt_labels(self) -> np.ndarray:
        """The labels to train on, shape (n,), int64, as mmpretrain's datasets do."""
        return self.random_labels.copy()

    def get_subset(self, indices: Any) -> None:
        """Refused: see the message."""
        raise NotImplementedError(
            "RandomLabelDataset has no subsets, because a label is a function of the "
            "image's index and of the number of images, which a subset changes; set "
            "`indices` in the inner dataset, or index `random_labels`."
        )

    get_subset_ = get_subset

    def __repr__(self) -> str:
        """One line: the law, and what it is applied to."""
        law = self.metainfo["random_label"]
        settings = ", ".join(f"{key}={value!r}" for key, value in law.items())
        return f"RandomLabelDataset({type(self.dataset).__name__}, {settings})"

    def _locate(self, idx: int) -> tuple[BaseDataset, int, int]:
        """Index -> the dataset with that image, the index in it, where it starts."""
        self.full_init()
        position = operator.index(idx)
        if position < 0:
            position += len(self._labels)
        if not 0 <= position < len(self._labels):
            raise IndexError(
                f"RandomLabelDataset: expected an index below {len(self._labels)}, "
                f"got {idx}."
            )
        part = int(np.searchsorted(self._ends, position, side="right"))
        leaf = self._leaves[part]
        start = int(self._ends[part]) - len(leaf)
        return leaf, position - start, start

    def _relabel(self, info: dict, position: int) -> dict:
        truth = info.pop("gt_label", None)
        info.pop("gt_score", None)
        if truth is not None:
            try:
                info["true_label"] = operator.index(truth)
            except TypeError:  # several labels: these are just images with a remark
                info["true_label"] = truth
        info["gt_label"] = int(self._labels[position])
        info["is_random_label"] = bool(self._redrawn[position])
        info["sample_idx"] = position
        return info

    def _read_true_labels(self) -> np.ndarray:
        why = "exclude_true_label=True" if self.exclude_true_label else "ratio < 1"
        cure = "use ratio=1 with the uniform law, which needs no true label"
        truth = np.empty(int(self._ends[-1]), dtype=np.int64)
        position = 0
        for leaf in self._leaves:
            for leaf_idx in range(len(leaf)):
                label = leaf.get_data_info(leaf_idx).get("gt_label")
                if label is None:
                    raise ValueError(
                        f"RandomLabelDataset: {why} expected a `gt_label` for every "
                        f"image, got none for image {position}; {cure}."
                    )
                try:
                    truth[position] = operator.index(label)
                except TypeError:
                    raise TypeError(
                        f"RandomLabelDataset: {why} expected one class index per "
                        f"image, got gt_label={label!r} for image {position} (several "
                        f"labels, or not an integer); {cure}."
                    ) from None
                position += 1
        outside = np.flatnonzero((truth < 0) | (truth >= self.num_classes))
        if outside.size:
            raise ValueError(
                f"RandomLabelDataset: {why} expected true labels from 0 to "
                f"{self.num_classes - 1}, got {truth[outside[0]]} for image "
                f"{outside[0]}; set num_classes={truth.max() + 1}, or {cure}."
            )
        if truth.min() == truth.max():
            raise ValueError(
                f"RandomLabelDataset: {why} expected images of at least two classes, "
                f"got {len(truth)} of class {truth[0]} only; check that `indices` does "
                f"not cut a set sorted by class, or {cure}."
            )
        return truth


def _leaves(dataset: Any) -> Iterator[BaseDataset]:
    """The datasets that hold the images, in order."""
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from _leaves(part)
    elif isinstance(dataset, BaseDataset):
        yield dataset
    else:
        # RepeatDataset and ClassBalancedDataset show an image under several indices.
        name = type(dataset).__name__
        raise TypeError(
            "RandomLabelDataset: expected a config, a BaseDataset or a ConcatDataset "
            f"of them, got {name}; if it is a wrapper, put it outside, "
            f"{name}(RandomLabelDataset(...)), so that an image has one label only."
        )


def _integer(name: str, value: Any, at_least: int) -> int:
    message = (
        f"RandomLabelDataset: expected an integer {name} of {at_least} or more, "
        f"got {value!r}; "
    )
    message += "give one." if name == "seed" else "one class alone teaches nothing."
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(message)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if number < at_least:
        raise ValueError(message)
    return number


def _share(ratio: Any) -> float:
    message = (
        f"RandomLabelDataset: expected a ratio from 0 to 1, got {ratio!r}; it is the "
        "share of images with a redrawn label, so write 15 % as 0.15."
    )
    if isinstance(ratio, (bool, np.bool_)) or not isinstance(ratio, numbers.Real):
        raise TypeError(message)
    if math.isnan(ratio) or not 0 <= ratio <= 1:
        raise ValueError(message)
    return float(ratio)
