"""Rotated images, labelled with their rotation: a task that needs no annotation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from torch import Tensor

from lbbt_mm.datasets.arguments import checked_integer, private_stream
from lbbt_mm.datasets.folds import origin_inside
from lbbt_mm.datasets.label_field import LabelFieldDataset
from lbbt_mm.datasets.wrapper import DatasetWrapper
from lbbt_mm.registry import DATASETS

CLASSES = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")
_ROTATIONS = 3  # a purpose of private_stream; 0 to 2 are of random and few labels


def draw_rotations(num_images: int, seed: int) -> np.ndarray:
    """Draw one rotation for each image, all four equally likely.

    Args:
        num_images: Number of images, n.
        seed: Another seed, another independent draw.

    Returns:
        Quarter turns counter-clockwise, 0 to 3, shape (n,), int64.
    """
    stream = private_stream(_ROTATIONS, num_images, len(CLASSES), seed)
    return stream.randint(0, len(CLASSES), size=num_images, dtype=np.int64)


def rotate(image: Any, turns: int) -> Any:
    """Rotate a square image counter-clockwise by quarter turns, without interpolation.

    Args:
        image: An array (H, W) or (H, W, C), or a tensor (C, H, W); or a list of such
            views, which are all rotated.
        turns: How many quarter turns.

    Returns:
        The same kind, of the same shape, contiguous.

    Raises:
        TypeError: None of these.
        ValueError: It is not square: rotated ones would have another shape.
    """
    if isinstance(image, (list, tuple)):
        return [rotate(view, turns) for view in image]
    if not isinstance(image, (np.ndarray, Tensor)):
        raise TypeError(
            "RotationDataset: expected an image as an array or a tensor in `img`, got "
            f"{type(image).__name__}; load it in the inner pipeline."
        )
    height, width = image.shape[-2:] if isinstance(image, Tensor) else image.shape[:2]
    if height != width:
        raise ValueError(
            "RotationDataset: expected square images at the end of the inner pipeline, "
            f"got {height} x {width} pixels; crop or resize them to a square there."
        )
    if isinstance(image, Tensor):
        return torch.rot90(image, turns, (-2, -1)).contiguous()
    return np.ascontiguousarray(np.rot90(image, turns))


class _Rotated:
    """The inner pipeline, which rotates the image when it is otherwise done with it.

    Last, because a flip turns 90 degrees into 270: augmentations of the rotated image
    would falsify its label.
    """

    def __init__(self, pipeline: Callable[[dict], Any]) -> None:
        self.pipeline = pipeline
        self.transforms = getattr(pipeline, "transforms", None)

    def __call__(self, info: dict) -> Any:
        turns = info.pop("rotation")
        if self.transforms is None:
            raise TypeError(
                "RotationDataset: expected an inner pipeline made of a list of "
                f"transforms, got {type(self.pipeline).__name__}."
            )
        data: Any = info
        rotated = False
        for transform in self.transforms:
            if not rotated and _is_packer(transform):
                data, rotated = self._rotate(data, turns), True
            data = transform(data)
            if data is None:  # a broken image, which mmengine replaces
                return None
        return data if rotated else self._rotate(data, turns)

    @staticmethod
    def _rotate(data: dict, turns: int) -> dict:
        if "img" not in data:
            raise ValueError(
                "RotationDataset: expected an image in `img` at the end of the inner "
                f"pipeline, got {sorted(data)}; begin it with LoadImageFromFile."
            )
        data["img"] = rotate(data["img"], turns)
        return data


def _is_packer(transform: Any) -> bool:
    """Whether it is what all libraries call Pack...Inputs, or inherits from it."""
    return any(kind.__name__.startswith("Pack") for kind in type(transform).__mro__)


@DATASETS.register_module()
class RotationDataset(LabelFieldDataset):
    """Any image dataset, rotated; the label says by how much (Gidaris et al. 2018).

    Label k is a rotation of k times 90 degrees, counter-clockwise: four classes. It
    needs no annotation, and images may be anything that is square at the end of the
    inner pipeline. An image is rotated there, after all augmentations and before it is
    packed: a flip afterwards would exchange 90 and 270 degrees.

    Which rotations are shown, so that one can count images:

    - ``copies=4``: all four of each image, as in Gidaris et al.; the dataset is four
      times as long. Index i is image i // 4, rotated i % 4 times.
    - ``copies=1``: one of each image, and the dataset is as long as before. The
      rotation is a pure function of (seed, index, number of images): the same on every
      rank, worker, epoch and resume.

    A data info gets ``field`` (and ``true_label`` and ``sample_idx``, our index). No
    global random state is read or changed.

    Args:
        dataset: Config or built dataset: a ``BaseDataset``, a ``ConcatDataset`` of
            them, or a wrapper such as ``RandomLabelDataset``, whose label an image
            keeps in all its rotations.
        copies: 4 or 1, see above.
        seed: Of the rotations if ``copies=1``, otherwise without effect.
        field: Where the label goes. Under another name than ``gt_label``, it stands
            beside the label of the dataset inside, for a mix of objectives.
        **kwargs: ``pipeline`` and ``accept_changed_images``, see ``DatasetWrapper``.

    Raises:
        TypeError: ``copies`` or ``seed`` is no integer.
        ValueError: ``copies`` is neither 4 nor 1. When an image is read: it is not
            square, or there is none.

    Example::

        dataset = dict(type="lbbt_mm.RotationDataset", dataset=images, copies=4)
    """

    label_source = "self-made"  # see lbbt_mm.safety.dumped_config
    gives_other_labels = True
    _settings = ("copies", "seed", "field")

    def __init__(
        self,
        dataset: BaseDataset | ConcatDataset | DatasetWrapper | dict,
        copies: int = 4,
        seed: int = 0,
        field: str = "gt_label",
        **kwargs: Any,
    ) -> None:
        why = "4: each image in all rotations; 1: each in one of them"
        self.copies = checked_integer("RotationDataset", "copies", copies, 1, why)
        if self.copies not in (1, 4):
            raise ValueError(
                f"RotationDataset: expected copies=4 or copies=1, got {copies}; {why}."
            )
        self.seed = checked_integer("RotationDataset", "seed", seed, 0, "give one")
        self._copy = 0  # of the image that is being read; see __getitem__
        super().__init__(dataset, field, **kwargs)

    @property
    def metainfo(self) -> dict:
        """A copy of the inner dataset's, plus ``rotation``, and the classes' names."""
        metainfo = super().metainfo
        if self.field == "gt_label":
            metainfo["classes"] = CLASSES
        return dict(metainfo, rotation=dict(copies=self.copies, seed=self.seed))

    def _prepare(self, num_images: int) -> int:
        if self.copies == 1:
            whole, numbers = origin_inside(self.dataset)  # of a fold: as without folds
            self._labels = draw_rotations(whole, self.seed)[numbers]
        else:
            self._labels = np.tile(np.arange(self.copies), num_images)
        self._labels.flags.writeable = False
        return len(self._labels)

    def _origin(self) -> tuple[int, np.ndarray]:
        whole, numbers = origin_inside(self.dataset)
        copies = np.arange(self.copies)
        return whole * self.copies, (numbers[:, None] * self.copies + copies).ravel()

    def _source(self, index: int) -> int:
        return index // self.copies

    def _index(self, source: int) -> int:
        # An image that is read in place of a broken one is the same copy of it.
        return source * self.copies + self._copy

    def _edit(self, info: dict, index: int) -> dict:
        info["rotation"] = int(self._labels[index])
        return super()._edit(info, index)

    def __getitem__(self, idx: int) -> Any:
        """Run the inner pipeline, and rotate its image before it is packed."""
        mine = copy.copy(self)  # two threads may read two copies at once
        mine._copy = self._checked(idx) % self.copies
        return super(RotationDataset, mine).__getitem__(idx)

    def _view(self, leaf: Any, start: int) -> Any:
        return _rotating(super()._view(leaf, start))


def _rotating(view: Any) -> Any:
    """Let a view's pipeline rotate; of a wrapper, that of its own views."""
    if isinstance(view, DatasetWrapper):
        inner = view._view
        slot: Any = view  # mypy knows no method that differs on one object
        slot._view = lambda leaf, start: _rotating(inner(leaf, start))
    else:
        view.pipeline = _Rotated(view.pipeline)
    return view
