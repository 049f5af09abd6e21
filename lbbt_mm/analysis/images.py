"""Images as the measurements read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from lbbt_mm.progress import follow


def follow_images(
    images: Iterable[Tensor], channels: int, description: str, progress: bool
) -> Iterator[Tensor]:
    """Loop over batches ``(B, channels, height, width)`` with images in them.

    Raises:
        ValueError: A batch is of another shape, or there is no image.
    """
    empty = True
    for batch in follow(images, description, progress):
        if batch.ndim != 4 or batch.shape[1] != channels:
            raise ValueError(
                f"Expected batches of images (B, {channels}, height, width), got "
                f"{tuple(batch.shape)}: prepare them as in training."
            )
        if len(batch):
            empty = False
            yield batch
    if empty:
        raise ValueError(
            "Expected at least one image, got an empty stream: check the dataset, and "
            "give a list or a data loader rather than an iterator that was read before."
        )
