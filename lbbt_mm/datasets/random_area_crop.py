"""A random resized crop whose resizing is left to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbbt_mm.registry import TRANSFORMS
from lbbt_mm.version import require


@TRANSFORMS.register_module()
class RandomAreaCrop:
    """Cut out what ``RandomResizedCrop`` would, and leave it at its own size.

    With ``lbbt_mm.EnlargeOnDevice`` a small image is interpolated once, from the crop
    to the size that the model sees, as by a ``RandomResizedCrop`` of that size. Images
    of a batch differ in size: the loader's ``collate_fn`` is ``pseudo_collate``.

    Args:
        crop_ratio_range: Share of the image's area, at least and at most.
        aspect_ratio_range: Width / height, at least and at most.

    Example::

        train_pipeline = [
            dict(type="lbbt_mm.RandomAreaCrop", crop_ratio_range=(0.2, 1.0)),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ]
    """

    def __init__(
        self,
        crop_ratio_range: Sequence[float] = (0.08, 1.0),
        aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
    ) -> None:
        require("mmpretrain", "lbbt_mm.RandomAreaCrop")
        from mmpretrain.datasets import RandomResizedCrop

        self._law = RandomResizedCrop(
            1, tuple(crop_ratio_range), tuple(aspect_ratio_range)
        )

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop ``img`` ``(H, W, C)``; ``img_shape`` follows."""
        top, left, height, width = self._law.rand_crop_params(results["img"])
        results["img"] = results["img"][top : top + height, left : left + width]
        results["img_shape"] = results["img"].shape
        return results

    def __repr__(self) -> str:
        law = self._law
        return (
            f"{type(self).__name__}(crop_ratio_range={law.crop_ratio_range}, "
            f"aspect_ratio_range={law.aspect_ratio_range})"
        )
