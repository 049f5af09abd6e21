"""CIFAR-10 as a folder of one folder a class, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)


def load(root: str, split: str, images: int, skip: int = 0) -> tuple[Tensor, Tensor]:
    """Read as many images of each class, in the order of their names.

    Args:
        root: Folder with ``train/CLASS/*`` and ``test/CLASS/*``.
        split: ``'train'`` or ``'test'``.
        images: How many, over all ten classes together.
        skip: How many to leave out before them.

    Returns:
        Images ``(N, 3, 32, 32)`` of about unit variance, and their classes ``(N,)``.

    Raises:
        FileNotFoundError: The folder is not there, or has too few images.
    """
    folders = sorted(path for path in Path(root, split).glob("*") if path.is_dir())
    if len(folders) != 10:
        raise FileNotFoundError(
            f"Expected ten folders, one a class, in {Path(root, split)}, got "
            f"{len(folders)}. See projects/cifar10/README.md."
        )
    first, last = skip // 10, (skip + images) // 10
    pixels, labels = [], []
    for label, folder in enumerate(folders):
        files = sorted(folder.iterdir())[first:last]
        if len(files) < last - first:
            raise FileNotFoundError(
                f"Expected {last} images or more in {folder}, got fewer: ask for less "
                f"than {10 * last}."
            )
        pixels += [np.asarray(Image.open(file).convert("RGB")) for file in files]
        labels += [label] * len(files)
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return (stacked.float() / 255 - MEAN) / STD, torch.tensor(labels)
