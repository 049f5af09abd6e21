"""What the dataset wrappers of this room share: around, not instead of, a dataset."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from lbbt_mm.datasets.arguments import with_pipeline
from lbbt_mm.datasets.checks.damaged import DamagedImageError, stop_if_damaged
from lbbt_mm.datasets.checks.left_out import say_left_out
from lbbt_mm.datasets.checks.same_images import (
    describe_images,
    enlist,
    join_descriptions,
)


class DatasetWrapper(BaseDataset):
    """A dataset around others, which decides what an index means.

    A subclass says so in :meth:`_prepare`, :meth:`_source`, :meth:`_index` and
    :meth:`_edit`; each is the identity here. It is a ``BaseDataset`` only so that
    mmengine's own wrappers accept one that is built already: it holds no data.

    Number and names of the images stand in every checkpoint, for what is drawn depends
    on them: a run that is resumed with others stops with a sentence.

    Args:
        dataset: Config or built dataset: a ``BaseDataset``, a ``ConcatDataset`` of
            them, mmpretrain's ``KFoldDataset`` as a config, or a wrapper named in
            ``_inside``.
        pipeline: Exchanges that of the dataset inside, which must be a config then.
            mmpretrain's cross-validation tool sets it.
        accept_changed_images: Go on although images came or went since the run was
            begun.
    """

    # Whether the label of an image is another than its true one, or that of a part of
    # the images only: probes and measurements look inside. A subclass inherits it.
    gives_other_labels = False
    _inside: tuple[type, ...] = (BaseDataset,)
    _labels: np.ndarray  # shape (n,), int64, read-only; made by _prepare

    _settings: tuple[str, ...] = ()  # attributes that repr shows
    _restricts = False  # whether it shows a part of the images only
    _only: Callable[[], np.ndarray] | None = None  # which ones a wrapper outside shows
    _images: list | None = None  # number and fingerprint, once somebody asked
    _enlisted: str | None = None  # in which run they are noted

    def __init__(
        self,
        dataset: Any,
        pipeline: list | None = None,
        accept_changed_images: bool = False,
    ) -> None:
        self.dataset = self._built(dataset, pipeline)
        self._leaves = list(self._walk(self.dataset))
        self._accept_changed = accept_changed_images or any(
            getattr(leaf, "_accept_changed", False) for leaf in self._leaves
        )
        if self._accept_changed:
            self._accept_inside()
        self._fully_initialized = False
        if self.dataset._fully_initialized:  # else it was asked to be lazy: so are we
            self.full_init()

    def _built(self, dataset: Any, pipeline: list | None) -> Any:
        from lbbt_mm.datasets.folds import build_folds

        if not isinstance(dataset, Mapping):
            if pipeline is not None:
                raise TypeError(
                    f"{type(self).__name__}: expected the dataset as a config to "
                    f"exchange its pipeline, got {type(dataset).__name__}; give that "
                    "one the pipeline."
                )
            return dataset
        if pipeline is not None:
            dataset = with_pipeline(dataset, pipeline)
        # From the root, as mmengine's wrappers do: the user's default scope decides.
        return build_folds(dataset) or MMENGINE_DATASETS.build(dataset)

    def _walk(self, dataset: Any) -> Iterator[Any]:
        """The datasets that hold the images, in order."""
        from lbbt_mm.datasets.folds import Subset, is_folds

        wrappers = tuple(kind for kind in self._inside if kind is not BaseDataset)
        inner = dataset
        while isinstance(inner, Subset):
            inner = inner.dataset
        if isinstance(dataset, ConcatDataset):
            for part in dataset.datasets:
                yield from self._walk(part)
        elif is_folds(dataset):
            if not hasattr(dataset, "whole"):
                raise TypeError(
                    f"{type(self).__name__}: expected a KFoldDataset as a config, got "
                    "one that is built, which no longer knows all images; give its "
                    f"config, or put it outside, KFoldDataset({type(self).__name__}"
                    "(...))."
                )
            yield from self._walk(dataset.dataset)
        elif isinstance(inner, wrappers) or (
            BaseDataset in self._inside
            and isinstance(inner, BaseDataset)
            and not isinstance(inner, DatasetWrapper)
        ):
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

    def _accept_inside(self) -> None:
        for leaf in self._leaves:
            if isinstance(leaf, DatasetWrapper):
                leaf._accept_changed = True
                leaf._accept_inside()

    def _origin(self) -> tuple[int, np.ndarray]:
        """How many images there were before any fold was taken, and which are ours."""
        from lbbt_mm.datasets.folds import origin_inside

        return origin_inside(self.dataset)

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
        self._leaves = list(self._walk(self.dataset))  # a fold is taken just now
        self._ends = np.cumsum([len(leaf) for leaf in self._leaves])
        if self._ends[-1] == 0:
            raise ValueError(
                f"{type(self).__name__}: expected at least one image, got an empty "
                "dataset; check its folder, filter and `indices`."
            )
        self._length = self._prepare(int(self._ends[-1]))
        self._fully_initialized = True

    def __len__(self) -> int:
        """Number of images.

        Raises:
            ChangedImagesError: They are others than before the run was resumed.
        """
        self.full_init()
        enlist(self, self._describe(), self._accept_changed)
        return self._length

    def _describe(self) -> list:
        if self._images is None:
            for leaf in self._leaves:
                say_left_out(leaf)
            self._images = join_descriptions(
                leaf._describe()
                if isinstance(leaf, DatasetWrapper)
                else describe_images(leaf)
                for leaf in self._leaves
            )
        return self._images

    def __getitem__(self, idx: int) -> Any:
        """Run the inner pipeline on our data info.

        All of the inner ``__getitem__`` applies (``test_mode``, ``max_refetch``, what
        a subclass adds), and an image fetched in place of a broken one has *its* label.

        Raises:
            DamagedImageError: The pipeline failed because its loader cannot read the
                image's file.
            ChangedImagesError: See :meth:`__len__`.
        """
        leaf, leaf_idx, start = self._locate(self._checked(idx))
        view = self._view(leaf, start)
        try:
            data = view[leaf_idx]
        except DamagedImageError:
            raise  # of a wrapper inside
        except Exception as error:
            if view.asked is not None:
                path = self.get_data_info(view.asked).get("img_path")
                stop_if_damaged(
                    getattr(leaf, "pipeline", None),
                    path,
                    error,
                    name=f"{type(self).__name__}: image {view.asked}, {path},",
                    cure="wrap lbbt_mm.SkipDamagedImages around this dataset to go on "
                    "without it",
                )
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
        if self._only is not None or self._restricts:
            # An image that is read in place of a broken one is one that we show.
            def others() -> np.ndarray:
                shown = self._shown()
                low, high = np.searchsorted(shown, (start, start + len(leaf)))
                return shown[low:high] - start

            def another() -> int:
                found = others()
                return int(found[np.random.randint(len(found))])

            if isinstance(leaf, DatasetWrapper):
                view._only = others
            else:
                view._rand_another = another
        return view

    def _shown(self) -> np.ndarray:
        """The images inside that may be shown, ascending."""
        own = range(len(self)) if self._only is None else self._only()
        return np.unique([self._source(int(index)) for index in own])

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

    def get_subset(self, indices: Sequence[int] | int) -> DatasetWrapper:
        """Some of the images, each with the label that it has among all of them.

        Args:
            indices: Which ones; a number n means the first n, or the last -n.
        """
        from lbbt_mm.datasets.folds import Subset

        self.full_init()
        return Subset(self, indices)

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Refused: see the message."""
        raise NotImplementedError(
            f"{type(self).__name__} does not shrink in place, because what it does "
            "with an image depends on all images; use get_subset, which returns a part "
            "with the labels of the whole, or set `indices` in the inner dataset."
        )

    def __repr__(self) -> str:
        """One line: the settings, and what they are applied to."""
        settings = (f", {name}={getattr(self, name)!r}" for name in self._settings)
        inner = type(self.dataset).__name__
        return f"{type(self).__name__}({inner}{''.join(settings)})"

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
