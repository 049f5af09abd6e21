"""One progress bar for everything here that takes long."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from torch import Tensor
from tqdm import tqdm

T = TypeVar("T")


def follow(
    items: Iterable[T], description: str, progress: bool, total: int | None = None
) -> Iterator[T]:
    """Loop over items, with a bar on stderr if it is asked for.

    The bar is gone when the loop ends, however it ends. Into a file it writes a line
    every half a minute.

    Args:
        items: What to loop over.
        description: What is being done.
        progress: Whether to show the bar.
        total: How many items there are; their own length by default, if they have one.

    Yields:
        The items.
    """
    if not progress:
        yield from items
        return
    with tqdm(
        items,
        description,
        total,
        leave=False,
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 30,
    ) as bar:
        yield from bar


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
