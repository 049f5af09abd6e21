"""mmpretrain's preprocessor of images, which sends them without waiting."""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.models import ClsDataPreprocessor as _ClsDataPreprocessor
from torch import Tensor


class ClsDataPreprocessor(_ClsDataPreprocessor):
    """mmpretrain's ``ClsDataPreprocessor``, whose copies to a GPU wait for nothing.

    That one waits after each copy until the GPU has done all that it was given before,
    and leaves it idle until the next step is launched. Copies overtake the computation
    out of pinned memory only; what the loader has not pinned is pinned here.

    Args:
        *args: As for mmpretrain's ``ClsDataPreprocessor``.
        **kwargs: Likewise.

    Example:
        >>> data_preprocessor = dict(type="lbbt_mm.ClsDataPreprocessor", num_classes=10)
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Send images and labels, and go on as inherited."""
        if self.device.type != "cpu":
            images = data["inputs"]
            sent = (
                self._send(images)
                if isinstance(images, Tensor)
                else [self._send(image) for image in images]
            )
            data = dict(data, inputs=sent)
            self._send_labels(data.get("data_samples") or [])
        return super().forward(data, training)

    def _send(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _send_labels(self, samples: list[Any]) -> None:
        """Send the labels of single classes in one copy; others as inherited."""
        labels: list[Any] = [getattr(sample, "gt_label", None) for sample in samples]
        if not labels or any(
            not isinstance(label, Tensor) or label.shape != labels[0].shape
            for label in labels
        ):
            return
        parts = self._send(torch.cat(labels)).split(len(labels[0]))
        for sample, label in zip(samples, parts, strict=True):
            sample.set_gt_label(label)
