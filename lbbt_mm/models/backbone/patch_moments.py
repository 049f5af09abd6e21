"""Patches whitened and given the mean and covariance of word embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lbbt_mm.files import write_whole
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.storage import load_state_dict

# Enlarged images have directions that hold nothing but rounding.
_WEAKEST = 1e-4


@dataclass(frozen=True)
class PatchMoments:
    """First and second moments of patches, flattened to ``F = channels * side**2``.

    Attributes:
        mean: ``(F,)``, float64.
        covariance: ``(F, F)``, float64.
    """

    mean: Tensor
    covariance: Tensor

    def save(self, path: str | Path) -> None:
        """Write them to a file, for ``LanguageBackbone(patch_moments=...)``."""
        moments = dict(mean=self.mean, covariance=self.covariance)
        write_whole(path, lambda part: torch.save(moments, part))


def measure_patches(images: Iterable[Tensor], patch_size: int) -> PatchMoments:
    """Measure the patches of images as :class:`PatchTokens` cuts them.

    Args:
        images: Batches ``(B, channels, height, width)``, normalised as in training.
        patch_size: Side of a patch.

    Example:
        >>> measure_patches([torch.rand(8, 3, 32, 32)], 4).mean.shape
        torch.Size([48])
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in images:
        height, width = batch.shape[-2:]
        padded = F.pad(batch, (0, -width % patch_size, 0, -height % patch_size))
        columns = F.unfold(padded.float(), patch_size, stride=patch_size)
        patches = columns.transpose(1, 2).flatten(0, 1).double().cpu()
        count += len(patches)
        total = total + patches.sum(0)
        squares = squares + patches.t() @ patches
    mean = total / count
    return PatchMoments(mean, squares / count - torch.outer(mean, mean))


def read_moments(path: str, channels: int) -> PatchMoments:
    """Read what :meth:`PatchMoments.save` wrote.

    Args:
        path: The file.
        channels: ``F`` of the patch embedding that it is for.

    Raises:
        CheckpointError: It is no such file, or is of other patches.
    """
    how = "make it with: python -m lbbt_mm.measure.patch_moments CONFIG FILE"
    if not Path(path).is_file():
        raise CheckpointError(f"patch_moments: there is no file {path}; {how}.")
    stored = load_state_dict(Path(path))
    if set(stored) != {"mean", "covariance"}:
        raise CheckpointError(f"patch_moments: {path} holds other things; {how}.")
    if stored["covariance"].shape != (channels, channels):
        raise CheckpointError(
            f"patch_moments: {path} is of patches of {len(stored['mean'])} numbers, "
            f"the model's have {channels} (channels x patch_size²); {how}."
        )
    return PatchMoments(stored["mean"].double(), stored["covariance"].double())


def matched(patches: PatchMoments, words: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a linear map from patches to tokens with the moments of words.

    Patches are whitened, turned by a random rotation, and given the strongest
    directions of the words. Directions with less than 1e-4 of the strongest one's
    variance, and the weakest if patches have more of them than tokens, are left out.

    Args:
        patches: Of the images.
        words: ``(words, C)``, more than C of them.

    Returns:
        Kernel ``(C, F)`` and bias ``(C,)``, float64.
    """
    words = words.double()
    mean_C = words.mean(0)
    spread_C, into_CC = torch.linalg.eigh(torch.cov(words.t(), correction=0))
    variance_F, out_of_FF = torch.linalg.eigh(patches.covariance)
    kept = min(len(spread_C), int((variance_F > _WEAKEST * variance_F[-1]).sum()))
    white = out_of_FF[:, -kept:] / variance_F[-kept:].sqrt()
    turn = torch.linalg.qr(torch.randn(kept, kept, dtype=torch.float64)).Q
    colour = into_CC[:, -kept:] * spread_C[-kept:].clamp(min=0).sqrt()
    kernel_CF = colour @ turn @ white.t()
    return kernel_CF, mean_C - kernel_CF @ patches.mean
