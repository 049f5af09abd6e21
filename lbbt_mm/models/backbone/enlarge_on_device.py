"""Small images are enlarged where the model is, not by the data loader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from lbbt_mm.registry import MODELS

_MODES = ("nearest", "bilinear", "bicubic", "pillow-bicubic")


@MODELS.register_module()
class EnlargeOnDevice(BaseDataPreprocessor):
    """Another data preprocessor whose images are enlarged as its last act.

    A CIFAR image of 32x32 pixels weighs 3 kB, at 224x224 it weighs 150: enlarged here,
    loaders neither compute nor copy the difference. Interpolation and normalisation
    are linear, so their order does not matter. What differs from a ``Resize`` in the
    pipeline: values are not rounded to whole grey levels, and a bicubic overshoot
    beyond black or white is kept.

    Images of a batch may differ in size, as ``lbbt_mm.RandomAreaCrop`` leaves them (and
    ``pseudo_collate`` hands them on): each is enlarged from its own size.

    For classification: an image's ``img_shape`` and ``scale_factor`` follow, boxes and
    masks would not.

    Args:
        preprocessor: Config of a data preprocessor, with its scope, such as
            ``dict(type='mmpretrain.ClsDataPreprocessor', mean=..., std=...)``. It
            moves the batch to the device, normalises and augments it.
        size: Height and width in pixels, or one number for both.
        mode: ``'nearest'``, ``'bilinear'``, ``'bicubic'`` (OpenCV's, a = -0.75) or
            ``'pillow-bicubic'`` (Pillow's and torchvision's, a = -0.5; half the time on
            a CPU). Nothing is low-passed.
        batch_augments: Handed on to ``preprocessor``: mmpretrain's classifiers give
            their ``train_cfg`` to every preprocessor under this name.

    Raises:
        ValueError: ``size`` or ``mode`` is none of these; in a forward pass: an image
            is larger than ``size``, which would alias, or images of several sizes
            shall be mixed (``batch_augments``).

    Example:
        >>> normalise = dict(type="mmpretrain.ClsDataPreprocessor", num_classes=10)
        >>> data_preprocessor = dict(
        ...     type="lbbt_mm.EnlargeOnDevice", size=224, preprocessor=normalise)
    """

    def __init__(
        self,
        preprocessor: Mapping[str, Any],
        size: int | Sequence[int],
        mode: str = "bicubic",
        batch_augments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise ValueError(f"EnlargeOnDevice: size must be positive, got {size!r}.")
        if mode not in _MODES:
            raise ValueError(
                f"EnlargeOnDevice: mode must be one of {', '.join(_MODES)}; got "
                f"{mode!r}."
            )
        self.size = (height, width)
        self.mode = mode
        preprocessor = dict(preprocessor)
        if batch_augments is not None:
            preprocessor.setdefault("batch_augments", batch_augments)
        self.preprocessor = MODELS.build(preprocessor)

    def to(self, *args: Any, **kwargs: Any) -> EnlargeOnDevice:
        """Move both; a model that is moved as a whole tells both by itself."""
        self.preprocessor.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch.

        Args:
            data: ``inputs``, images ``(B, C, H, W)`` or a list of ``(C, H, W)``, and
                ``data_samples`` if there are any; from a data loader.
            training: Whether to apply augmentations of the batch.

        Returns:
            What ``preprocessor`` returns, with enlarged ``inputs``.
        """
        shapes = [image.shape[-2:] for image in data["inputs"]]
        several = len(set(shapes)) > 1
        if several and training and getattr(self.preprocessor, "batch_augments", None):
            raise ValueError(
                "EnlargeOnDevice: expected images of one size to mix "
                f"(batch_augments), got {len(set(shapes))} sizes; resize them in the "
                "pipeline."
            )
        data = self.preprocessor(data, training)
        inputs = data["inputs"]
        if isinstance(inputs, Tensor) and not several:
            data["inputs"] = self._enlarge(inputs)
        else:  # padded to one size or not, an image is at the top left
            parts = [
                self._enlarge(image[None, :, :height, :width])
                for image, (height, width) in zip(inputs, shapes, strict=True)
            ]
            stacked = isinstance(inputs, Tensor)
            data["inputs"] = torch.cat(parts) if stacked else [p[0] for p in parts]
        for sample, shape in zip(data.get("data_samples") or (), shapes, strict=False):
            self._note_size(sample, shape)
        return data

    def _enlarge(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` -> ``(B, C, *size)``, float."""
        height, width = images.shape[-2:]
        if height > self.size[0] or width > self.size[1]:
            raise ValueError(
                f"EnlargeOnDevice: expected images of at most {self.size[0]} x "
                f"{self.size[1]} pixels, got {height} x {width}; shrink them in the "
                f"pipeline, where Resize can low-pass them."
            )
        corners = None if self.mode == "nearest" else False
        pillow = self.mode.startswith("pillow-")
        return F.interpolate(
            images.float(),
            self.size,
            mode=self.mode.removeprefix("pillow-"),
            align_corners=corners,
            antialias=pillow,  # torch has Pillow's kernel under this name only
        )

    def _note_size(self, sample: Any, shape: Sequence[int]) -> None:
        """Let the remarks on an image say what the model sees."""
        if "img_shape" in sample:
            sample.set_metainfo(dict(img_shape=self.size))
        if "scale_factor" in sample:
            across, down = sample.scale_factor
            wider, higher = self.size[1] / shape[1], self.size[0] / shape[0]
            sample.set_metainfo(dict(scale_factor=(across * wider, down * higher)))
