"""Accuracy on the random and on the true labels, from one clean pass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from lbbt_mm.registry import METRICS


def _as_label(name: str, value: Any) -> int:
    """One class index from an int, or from a tensor or list of one element."""
    label = torch.as_tensor(value)
    if label.numel() != 1:
        raise ValueError(
            f"BridgeAccuracy expects one {name} per image, got {label.numel()} "
            f"({value!r}): multi-label data has no top-1 accuracy."
        )
    return int(label)


def most_probable(score: Tensor) -> int | None:
    """Find the class of the highest score.

    Args:
        score: ``(num_classes,)``.

    Returns:
        The class; None if a score is NaN or the highest is infinite, as those of a
        diverged model are: ``argmax`` would call that a class.
    """
    highest, place = torch.as_tensor(score).max(dim=-1)
    return int(place) if highest.isfinite() else None


@METRICS.register_module()
class BridgeAccuracy(BaseMetric):
    """Top-1 accuracy on the labels that are trained and on those that are true.

    Meant for the training images, wrapped in ``RandomLabelDataset`` and run through a
    pipeline without augmentation. mmpretrain's Accuracy knows one label only, and does
    not tell scores that are not finite from wrong ones. Reports, in per cent:

    - ``random_label/top1``: against ``gt_label``, the label that the bridge trains.
    - ``true_label/top1``: against ``true_label``, over the images that carry one. It
      reaches the metric with ``dict(type='PackInputs',
      meta_keys=(..., 'true_label'))``; if no image has it, the number is absent.
    - ``not_finite``, if there are any: images whose scores are NaN or infinite, which
      are right in neither of the above.
    - ``chance``: 100 / number of classes, if the predictions carry ``pred_score``.

    Args:
        collect_device: ``'cpu'`` or ``'gpu'``: where results of several processes
            are collected.
        prefix: Put before the names above, if given.
        label: What ``gt_label`` is. Under another name than ``random_label``, for
            example ``rotation_label``, the first number is ``rotation_label/top1``, and
            the second is absent: such labels are no guesses at the true ones.

    Example:
        >>> val_evaluator = dict(type="lbbt_mm.BridgeAccuracy")
    """

    # Not None, which mmengine warns about: the names above are complete.
    default_prefix = ""

    def __init__(
        self,
        collect_device: str = "cpu",
        prefix: str | None = None,
        label: str = "random_label",
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.label = label

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Remember for each image whether the prediction met either label.

        Args:
            data_batch: Unused.
            data_samples: ``pred_label`` or ``pred_score`` ``(num_classes,)``,
                ``gt_label``, and ``true_label`` where it is known.

        Raises:
            ValueError: An image has no ``gt_label``, or several.
        """
        for sample in _on_cpu(data_samples):
            if "gt_label" not in sample:
                raise ValueError(
                    "BridgeAccuracy expects `gt_label` in each data sample, got "
                    f"{sorted(sample)}. Wrap the dataset in RandomLabelDataset."
                )
            score, true = sample.get("pred_score"), sample.get("true_label")
            predicted: int | None
            if score is None:
                predicted = _as_label("pred_label", sample["pred_label"])
            else:
                predicted = most_probable(score)
            if true is not None:
                true = predicted == _as_label("true_label", true)
            self.results.append(
                dict(
                    random=predicted == _as_label("gt_label", sample["gt_label"]),
                    true=true,
                    finite=predicted is not None,
                    num_classes=None if score is None else len(score),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over the dataset; see the class for the names."""
        metrics = {f"{self.label}/top1": _percentage([r["random"] for r in results])}
        known = [r["true"] for r in results if r["true"] is not None]
        if known and self.label == "random_label":
            metrics["true_label/top1"] = _percentage(known)
        lost = sum(not r["finite"] for r in results)
        if lost:
            metrics["not_finite"] = float(lost)
            print_log(
                f"BridgeAccuracy: the scores of {lost} of {len(results)} images are "
                "NaN or infinite, and count as wrong: has the training diverged?",
                "current",
                logging.WARNING,
            )
        if results[0]["num_classes"]:
            metrics["chance"] = 100.0 / results[0]["num_classes"]
        return metrics


def _on_cpu(samples: Sequence[dict]) -> list[dict]:
    """Fetch what is on a device in one copy a key, not in four an image."""
    here = [dict(sample) for sample in samples]
    for key in ("pred_score", "pred_label", "gt_label", "true_label"):
        values = [sample.get(key) for sample in here]
        tensors = [value for value in values if isinstance(value, Tensor)]
        same = len({(value.shape, value.dtype) for value in tensors}) == 1
        if same and len(tensors) == len(values):
            for sample, value in zip(here, torch.stack(tensors).cpu(), strict=True):
                sample[key] = value
    return here


def _percentage(hits: list[bool]) -> float:
    return 100.0 * sum(hits) / len(hits)
