"""Pictures are read as their cameras were held, as mmcv reads them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps


def read_upright(path: str | Path) -> Image.Image:
    """Read a picture in RGB, turned as its EXIF orientation says.

    Args:
        path: Of the file.

    Raises:
        OSError: It cannot be read, or is no picture; Pillow may also raise SyntaxError.

    Example:
        >>> read_upright("cat.jpg").size
        (640, 480)
    """
    with Image.open(path) as file:
        return ImageOps.exif_transpose(file).convert("RGB")
