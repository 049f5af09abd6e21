"""Test images as poor cameras, weather and compression leave them."""

from __future__ import annotations

import contextlib
import inspect
import io
import zlib
from typing import Any

import numpy as np

from lbbt_mm.registry import TRANSFORMS
from lbbt_mm.version import require

_LEAST = 32  # pixels: the library's smallest side


@TRANSFORMS.register_module()
class CorruptImage:
    """Corrupt an image by a recipe of CIFAR-10-C and ImageNet-C (arXiv 1903.12261).

    The recipes are those of the library ``imagecorruptions``
    (``pip install imagecorruptions-imaug``). Its numbers are ImageNet-C's, which are
    harsher than CIFAR-10-C's at the same severity: results compare with each other, not
    with those of the published files.

    What is drawn at random is a pure function of the image's pixels, the recipe and the
    seed: the same in any order, process or subset of a dataset. It goes first in a test
    pipeline, before images are resized. Linear probes and measurements, whose training
    images go through the test pipeline too, leave it out there.

    Grey images go through as three channels and come back as the middle one; sides
    below 32 pixels are extended by their mirror image meanwhile.

    Args:
        corruption: ``'gaussian_noise'``, ``'shot_noise'``, ``'impulse_noise'``,
            ``'defocus_blur'``, ``'glass_blur'``, ``'motion_blur'``, ``'zoom_blur'``,
            ``'snow'``, ``'frost'``, ``'fog'``, ``'brightness'``, ``'contrast'``,
            ``'elastic_transform'``, ``'pixelate'``, ``'jpeg_compression'``; and
            ``'speckle_noise'``, ``'gaussian_blur'``, ``'spatter'``, ``'saturate'``.
        severity: 1 to 5.
        channel_order: ``'bgr'``, as files are read, or ``'rgb'``, as in mmpretrain's
            ``CIFAR10``.
        seed: Of what is drawn.

    Raises:
        ImportError: The library is not installed.
        ValueError: There is no such recipe, severity or order; or an image is not
            uint8 of one or three channels, or grey where colours are changed.

    Example::

        pipeline = [
            dict(type="LoadImageFromFile"),
            dict(type="lbbt_mm.CorruptImage", corruption="fog", severity=3),
            dict(type="PackInputs"),
        ]
    """

    of_test_images = True

    def __init__(
        self,
        corruption: str,
        severity: int = 3,
        channel_order: str = "bgr",
        seed: int = 0,
    ) -> None:
        self._library = require("imagecorruptions", "lbbt_mm.CorruptImage")
        names = self._library.get_corruption_names("all")
        if corruption not in names:
            raise ValueError(
                f"CorruptImage expects a corruption among {', '.join(names)}; got "
                f"{corruption!r}."
            )
        if severity not in (1, 2, 3, 4, 5) or isinstance(severity, bool):
            raise ValueError(
                f"CorruptImage expects a severity from 1 to 5, got {severity!r}."
            )
        if channel_order not in ("bgr", "rgb"):
            raise ValueError(
                f"CorruptImage expects channel_order='bgr' or 'rgb', got "
                f"{channel_order!r}."
            )
        self.corruption, self.severity = corruption, severity
        self.channel_order, self.seed = channel_order, seed
        recipe = self._library.corruption_dict[corruption]
        # Two recipes draw from generators of their own.
        self._takes_seed = "seed" in inspect.signature(recipe).parameters

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Corrupt ``img`` ``(H, W, C)`` or ``(H, W)``, whose shape stays."""
        image = results["img"]
        channels = image.shape[2] if image.ndim == 3 else 1
        if image.dtype != np.uint8 or channels not in (1, 3):
            raise ValueError(
                f"CorruptImage expects an uint8 image of one or three channels, got "
                f"{image.dtype} {image.shape}: put it before what changes that."
            )
        if channels == 1 and self.corruption == "saturate":
            raise ValueError(
                "CorruptImage: 'saturate' changes colours, and the images are grey: "
                "take another corruption."
            )
        said = f"{self.corruption} {self.severity} {self.seed}".encode()
        seed = zlib.crc32(said, zlib.crc32(np.ascontiguousarray(image).tobytes()))
        corrupted = self._corrupt(_as_rgb(image, self.channel_order), seed)
        if channels == 1:
            corrupted = corrupted[..., 1].reshape(image.shape)
        elif self.channel_order == "bgr":
            corrupted = corrupted[..., ::-1]
        results["img"] = np.ascontiguousarray(corrupted)
        return results

    def _corrupt(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Run the recipe on RGB ``(H, W, 3)``, whatever was drawn before."""
        sides = image.shape[:2]
        room = [max(0, _LEAST - side) for side in sides]
        pads = [(more // 2, more - more // 2) for more in room]
        large = np.pad(image, (*pads, (0, 0)), mode="symmetric")
        own = dict(seed=seed) if self._takes_seed else {}
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # two of them print
                found = self._library.corrupt(
                    large, self.severity, self.corruption, **own
                )
        finally:
            np.random.set_state(before)
        (top, _), (left, _) = pads
        return found[top : top + sides[0], left : left + sides[1]]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.corruption!r}, severity={self.severity}, "
            f"channel_order={self.channel_order!r}, seed={self.seed})"
        )


def _as_rgb(image: np.ndarray, order: str) -> np.ndarray:
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return image[..., ::-1] if order == "bgr" else image
