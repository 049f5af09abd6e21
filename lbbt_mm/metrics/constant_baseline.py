"""What is scored without looking at an image: mean boxes, commonest class, answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import RepeatDataset
from mmengine.structures import InstanceData, PixelData


class MeanBoxes(NamedTuple):
    """One box a class: where its objects are on average, and how common it is.

    Attributes:
        boxes: ``(N, 4)``: x1, y1, x2, y2 as shares of the image's width and height.
        labels: ``(N,)``: their classes.
        scores: ``(N,)``: share of all objects that are of this class.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def at(self, height: int, width: int) -> InstanceData:
        """Give the boxes in the pixels of an image.

        Args:
            height: Of the image, in pixels.
            width: Of the image, in pixels.

        Returns:
            ``bboxes`` ``(N, 4)``, ``labels`` ``(N,)`` and ``scores`` ``(N,)``.
        """
        scale = np.array([width, height, width, height])
        return InstanceData(
            bboxes=torch.from_numpy(self.boxes * scale).float(),
            labels=torch.from_numpy(self.labels),
            scores=torch.from_numpy(self.scores).float(),
        )


def mean_boxes(images: Sequence[Mapping[str, Any]]) -> MeanBoxes:
    """Average the boxes of each class over a dataset.

    Args:
        images: What mmdet's ``dataset.get_data_info(i)`` gives: ``height``, ``width``
            and ``instances`` with ``bbox`` (x1, y1, x2, y2 in pixels), ``bbox_label``
            and, if known, ``ignore_flag``.

    Raises:
        ValueError: No image has a box.
    """
    found: dict[int, list[np.ndarray]] = {}
    for image in images:
        scale = np.array([image["width"], image["height"]] * 2, dtype=float)
        for instance in image["instances"]:
            if not instance.get("ignore_flag"):
                box = np.asarray(instance["bbox"], dtype=float) / scale
                if not np.isfinite(box).all():
                    raise ValueError(
                        f"Expected boxes of numbers, got {instance['bbox']} in "
                        f"{image.get('img_path')}; correct the annotations."
                    )
                found.setdefault(int(instance["bbox_label"]), []).append(box)
    if not found:
        raise ValueError(f"Expected boxes in {len(images)} training images, got none.")
    labels = sorted(found)
    counts = np.array([len(found[label]) for label in labels])
    return MeanBoxes(
        np.stack([np.mean(found[label], axis=0) for label in labels]),
        np.array(labels),
        counts / counts.sum(),
    )


def commonest_class(label_maps: Sequence[np.ndarray], ignore_index: int = 255) -> int:
    """Find the class of most pixels.

    Args:
        label_maps: Integer class of each pixel, any shapes.
        ignore_index: Value of pixels without a class.

    Raises:
        ValueError: No pixel has a class.
    """
    counts: Counter[int] = Counter()
    for label_map in label_maps:
        values, numbers = np.unique(np.asarray(label_map), return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    counts.pop(ignore_index, None)
    if not counts:
        raise ValueError(
            f"Expected classes in {len(label_maps)} label maps, got only "
            f"{ignore_index}, which means none."
        )
    return min(counts, key=lambda label: (-counts[label], label))


class ConstantBaseline:
    """Predicts for every image what is right most often over the training images.

    A detector's answer is one box a class, :func:`mean_boxes`; a segmenter's is
    :func:`commonest_class` everywhere.

    Args:
        dataset: Training images of mmdet or of mmseg, wrapped or not, as often as the
            wrappers show them; only annotations are read.

    Raises:
        ValueError: They are neither.
    """

    def __init__(self, dataset: Any) -> None:
        while isinstance(dataset, RepeatDataset):  # all of them equally often
            dataset = dataset.dataset
        if not hasattr(dataset, "get_data_info"):
            raise ValueError(
                "The constant baseline expects a data set of mmengine with "
                f"get_data_info, got {type(dataset).__name__}; give the data set that "
                "it is around."
            )
        images = [dataset.get_data_info(i) for i in range(len(dataset))]
        self.boxes: MeanBoxes | None = None
        if images and "instances" in images[0]:
            self.boxes = mean_boxes(images)
            return
        if not images or "seg_map_path" not in images[0]:
            raise ValueError(
                "The constant baseline expects training images with boxes (mmdet) or "
                f"label maps (mmseg), got {sorted(images[0]) if images else 'none'}."
            )
        ignored = {leaf.ignore_index for leaf in _leaves(dataset)}
        if len(ignored) > 1:
            raise ValueError(
                "The constant baseline expects one ignore_index, got "
                f"{sorted(ignored)} in the parts of {type(dataset).__name__}; give "
                "them the same."
            )
        from mmseg.datasets.transforms import LoadAnnotations

        load = LoadAnnotations()
        maps = [load(dict(image))["gt_seg_map"] for image in images]
        self.commonest = commonest_class(maps, ignored.pop())

    def predict(self, samples: Sequence[Any]) -> list[Any]:
        """Write the prediction into data samples, as a model's ``predict`` does.

        Args:
            samples: Of mmdet or of mmseg.

        Returns:
            The same samples, with ``pred_instances`` or ``pred_sem_seg``.
        """
        for sample in samples:
            height, width = sample.ori_shape
            if self.boxes is not None:
                sample.pred_instances = self.boxes.at(height, width)
            else:
                answer = torch.full((1, height, width), self.commonest)
                sample.pred_sem_seg = PixelData(data=answer)
        return list(samples)


def _leaves(dataset: Any) -> Iterator[Any]:
    """The data sets that wrappers are around."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    for part in inner:
        if part is None:
            yield dataset
        else:
            yield from _leaves(part)


class CommonestAnswers:
    """Answers every question with the commonest training answer of its type.

    Args:
        dataset: A ``lbbt_mm.VQADataset`` of training questions, wrapped or not.

    Raises:
        ValueError: A sample has no answers.
    """

    def __init__(self, dataset: Any) -> None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for number in range(len(dataset)):
            sample = dataset.get_data_info(number)
            if not sample.get("answers") or "question_type" not in sample:
                raise ValueError(
                    "The commonest answers expect training questions of a "
                    f"lbbt_mm.VQADataset with answers, got {sorted(sample)} in number "
                    f"{number}."
                )
            for kind in {sample["question_type"], ""}:
                counts[kind].update(sample["answers"])
        self.answers = {kind: commonest(known) for kind, known in counts.items()}

    def predict(self, data_samples: Sequence[Any]) -> list[Any]:
        """Set ``pred_answer`` of each sample; of an unknown type, the commonest one."""
        for sample in data_samples:
            kind = sample.get("question_type")
            said = self.answers.get(kind, self.answers[""])
            sample.set_field(said, "pred_answer")
        return list(data_samples)


def commonest(counts: Mapping[str, int]) -> str | None:
    """Find the commonest answer; of equally common ones the first in the alphabet."""
    return min(counts, key=lambda answer: (-counts[answer], answer), default=None)
