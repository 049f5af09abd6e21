"""What the dataset wrappers of this room share: around, not instead of, a dataset."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from lbbt_mm.datasets.damaged import DamagedImageError, why_unreadable


def private_stream(
    purpose: int, num_images: int, num_classes: int, seed: int
) -> np.random.RandomState:
    """A private generator; its numbers never change between numpy versions.

    NumPy froze ``RandomState`` for good (NEP 19) and may still improve
    ``default_rng``, which would silently relabel every image of a resumed run.

    Args:
        purpose: What the numbers are used for; two purposes never share a stream, so
            that, say, the choice of images says nothing about their labels.
        num_images: Number of images.
        num_classes: Number of classes.
        seed: 0 or more, of any size.

    Returns:
        The generator, a pure function of the arguments.
    """
    words = [purpose, num_images & 0xFFFFFFFF, num_images >> 32, num_classes]
    for shift in range(0, max(seed.bit_length(), 1), 32):
        words.append(seed >> shift & 0xFFFFFFFF)
    return np.random.RandomState(np.array(words, dtype=np.uint32))


class DatasetWrapper:
    """A dataset around others, which decides what an index means.

    A subclass says so in :meth:`_prepare`, :meth:`_source`, :meth:`_index` and
    :meth:`_edit`; each is the identity here.

    Args:
        dataset: Config or built dataset: a ``BaseDataset``, a ``ConcatDataset`` of
            them, or a wrapper named in ``_inside``.
    """

    # Whether the label of an image is another than its true one, or that of a part of
    # the images only: probes and measurements look inside. A subclass inherits it.
    gives_other_labels = False
    _inside: tuple[type, ...] = (BaseDataset,)
    _labels: np.ndarray  # shape (n,), int64, read-only; made by _prepare

    def __init__(self, dataset: Any) -> None:
        # From the root, as mmengine's wrappers do: the user's default scope decides.
        self.dataset = (
            MMENGINE_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        )
        self._leaves = list(self._walk(self.dataset))
        self._fully_initialized = False
        if self.dataset._fully_initialized:  # else it was asked to be lazy: so are we
            self.full_init()

    def _walk(self, dataset: Any) -> Iterator[Any]:
        """The datasets that hold the images, in order."""
        if isinstance(dataset, ConcatDataset):
            for part in dataset.datasets:
                yield from self._walk(part)
        elif isinstance(dataset, self._inside):
            yield dataset
        else:
            # RepeatDataset and ClassBalancedDataset show an image under several
            # indices.
            name, ours = type(dataset).__name__, type(self).__name__
            raise TypeError(
                f"{ours}: expected a config, a BaseDataset or a ConcatDataset of them, "
                f"got {name}; if it is a wrapper, put it outside, {name}({ours}(...)), "
                "so that an image has one index and one label only."
            )

    # ------------------------------------------------------- what a subclass decides

    def _prepare(self, num_images: int) -> int:
        """Once per process: number of images inside -> number of images here."""
        return num_images

    def _source(self, index: int) -> int:
        """Our index -> the index among all images inside."""
        return index

    def _index(self, source: int) -> int:
        """The way back."""
        return source

    def _edit(self, info: dict, index: int) -> dict:
        """What the inner pipeline gets to see of an image."""
        return info

    # --------------------------------------------------------- what mmengine asks for

    @property
    def metainfo(self) -> dict:
        """A copy of the inner dataset's."""
        return copy.deepcopy(self.dataset.metainfo)

    @property
    def truth_key(self) -> str:
        """Under which name a data info has the true label, if there is one."""
        return getattr(self._leaves[0], "truth_key", "gt_label")

    @property
    def CLASSES(self) -> tuple[str, ...] | None:
        """Class names, where mmpretrain's ``ClassNumCheckHook`` looks for them."""
        classes = self.metainfo.get("classes")
        return None if classes is None else tuple(classes)

    def full_init(self) -> None:
        """Initialise the inner dataset and what depends on it, once per process."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        self._ends = np.cumsum([len(leaf) for leaf in self._leaves])
        if self._ends[-1] == 0:
            raise ValueError(
                f"{type(self).__name__}: expected at least one image, got an empty "
                "dataset; check its folder, filter and `indices`."
            )
        self._length = self._prepare(int(self._ends[-1]))
        self._fully_initialized = True

    def __len__(self) -> int:
        """Number of images."""
        self.full_init()
        return self._length

    def __getitem__(self, idx: int) -> Any:
        """Run the inner pipeline on our data info.

        All of the inner ``__getitem__`` applies (``test_mode``, ``max_refetch``, what
        a subclass adds), and an image fetched in place of a broken one has *its* label.

        Raises:
            DamagedImageError: The pipeline failed because its loader cannot read the
                image's file.
        """
        leaf, leaf_idx, start = self._locate(self._checked(idx))
        view = self._view(leaf, start)
        try:
            data = view[leaf_idx]
        except DamagedImageError:
            raise  # of a wrapper inside
        except Exception as error:
            if view.asked is not None:
                self._stop_if_damaged(view.asked, leaf, error)
            raise
        if view.asked is None:
            raise RuntimeError(
                f"{type(self).__name__}: expected an inner dataset that reads through "
                f"get_data_info, got {type(leaf).__name__}, which bypasses it and "
                "would train on its own labels; make its prepare_data call "
                "self.get_data_info(idx)."
            )
        return data

    def _view(self, leaf: Any, start: int) -> Any:
        """A shallow copy of an inner dataset that asks *us* for its data infos.

        The inner ``__getitem__`` asks its own get_data_info, where the true label is.
        The copy costs microseconds, and a hook that replaces the inner pipeline later
        is still heard.
        """
        view = copy.copy(leaf)
        view.asked = None  # our index of the image that it asked for last

        def our_info(leaf_idx: int) -> dict:
            view.asked = self._index(start + leaf_idx)
            return self.get_data_info(view.asked)

        view.get_data_info = our_info
        return view

    def _stop_if_damaged(self, index: int, leaf: Any, error: Exception) -> None:
        path = self.get_data_info(index).get("img_path")
        why = path and why_unreadable(getattr(leaf, "pipeline", None), path)
        if why:
            raise DamagedImageError(
                f"{type(self).__name__}: image {index}, {path}, cannot be read "
                f"({why}); replace the file, or wrap lbbt_mm.SkipDamagedImages around "
                "this dataset to go on without it.",
                path,
                why,
            ) from error

    def get_data_info(self, idx: int) -> dict:
        """The inner data info as the inner pipeline gets to see it."""
        index = self._checked(idx)
        leaf, leaf_idx, _ = self._locate(index)
        info = self._edit(leaf.get_data_info(leaf_idx), index)
        info["sample_idx"] = index
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label to train on, as a list: what ``ClassBalancedDataset`` asks for."""
        self.full_init()
        return [int(self._labels[idx])]

    def get_gt_labels(self) -> np.ndarray:
        """The labels to train on, shape (n,), int64, as mmpretrain's datasets do."""
        self.full_init()
        return self._labels.copy()

    def get_subset(self, indices: Any) -> None:
        """Refused: see the message."""
        raise NotImplementedError(
            f"{type(self).__name__} has no subsets, because what it does with an image "
            "depends on all images, which a subset changes; set `indices` in the inner "
            "dataset."
        )

    get_subset_ = get_subset

    # ---------------------------------------------------------------------- machinery

    def _checked(self, idx: int) -> int:
        """An index as Python counts -> one from 0 to n - 1."""
        length = len(self)
        index = operator.index(idx)
        if index < 0:
            index += length
        if not 0 <= index < length:
            raise IndexError(
                f"{type(self).__name__}: expected an index below {length}, got {idx}."
            )
        return index

    def _locate(self, index: int) -> tuple[Any, int, int]:
        """Our index -> the dataset with that image, the index in it, its start."""
        source = self._source(index)
        part = int(np.searchsorted(self._ends, source, side="right"))
        leaf = self._leaves[part]
        start = int(self._ends[part]) - len(leaf)
        return leaf, source - start, start

    def _true_labels(self, why: str, cure: str, below: int | None = None) -> np.ndarray:
        """Read the class of every image inside; one sentence if there is none.

        Args:
            why: What they are needed for, between name and "expected"; may be empty.
            cure: What to do without them.
            below: Number of classes, if it is given.
        """
        wants = f"{type(self).__name__}: {why} expected".replace(":  ", ": ")
        truth = np.empty(int(self._ends[-1]), dtype=np.int64)
        position = 0
        for leaf in self._leaves:
            for leaf_idx in range(len(leaf)):
                info = leaf.get_data_info(leaf_idx)
                label = info.get(getattr(leaf, "truth_key", "gt_label"))
                if label is None:
                    raise ValueError(
                        f"{wants} a `gt_label` for every image, got none for image "
                        f"{position}; {cure}."
                    )
                try:
                    truth[position] = operator.index(label)
                except TypeError:
                    raise TypeError(
                        f"{wants} one class index per image, got gt_label={label!r} "
                        f"for image {position} (several labels, or not an integer); "
                        f"{cure}."
                    ) from None
                position += 1
        limit = below or truth.max() + 1
        outside = np.flatnonzero((truth < 0) | (truth >= limit))
        if outside.size:
            settings = f"set num_classes={truth.max() + 1}, or " if below else ""
            raise ValueError(
                f"{wants} true labels from 0 to {limit - 1}, got {truth[outside[0]]} "
                f"for image {outside[0]}; {settings}{cure}."
            )
        if truth.min() == truth.max():
            raise ValueError(
                f"{wants} images of at least two classes, got {len(truth)} of class "
                f"{truth[0]} only; check that `indices` does not cut a set sorted by "
                f"class, or {cure}."
            )
        return truth


def checked_integer(owner: str, name: str, value: Any, at_least: int, cure: str) -> int:
    """An integer argument, or one sentence.

    Args:
        owner: The class that wants it.
        name: The argument.
        value: What was given.
        at_least: The smallest that will do.
        cure: The end of the sentence.

    Returns:
        The value as an ``int``.

    Raises:
        TypeError: Not an integer; True and False are not taken for one.
        ValueError: Below ``at_least``.
    """
    message = (
        f"{owner}: expected an integer {name} of {at_least} or more, got {value!r}; "
        f"{cure}."
    )
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(message)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if number < at_least:
        raise ValueError(message)
    return number
