"""Do first-layer weights take over the data's principal directions (theorem 4.1)?

Under random labels the covariance S_w of the first-layer weights comes to share the
eigenvectors of the inputs' covariance S_x, and each eigenvalue s of S_x maps to f(s)
in S_w. Shapes: D values of a patch, in the order of ``kernel.flatten(1)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lbbt_mm.analysis.images import follow_images


class Covariance(NamedTuple):
    """Covariance of vectors, ``mean((x - mean)(x - mean)^T)``, in float64.

    Attributes:
        matrix: ``(D, D)``, in squared units of x.
        mean: ``(D,)``.
        samples: Number of vectors.
    """

    matrix: Tensor
    mean: Tensor
    samples: int


class AlignmentNumbers(NamedTuple):
    """How well a basis fits the weights' covariance S_w; P is S_w in that basis.

    Attributes:
        off_diagonal: Off-diagonal energy share, ``sum_{i != j} P_ij^2 / sum P_ij^2``:
            0 if every direction of the basis is an eigenvector of S_w.
        off_diagonal_deviation: The same of ``P - trace(P) / D * I``. Isotropic weights
            fit every basis, so that `off_diagonal` is small for them; what is left of
            them here is sampling noise, about 1. nan if P is exactly isotropic.
        leading: k -> overlap ``||A^T B||_F^2 / k`` of the basis's first k directions A
            with the leading k eigenvectors B of S_w; 1 if they span the same, k / D by
            chance.
        trailing: k -> the same with the *trailing* k eigenvectors of S_w: where f
            falls, the data's leading directions are found there.
        curve: ``(D,)``: ``f_i = P_ii``, the variance of the weights along the i-th
            direction.
    """

    off_diagonal: float
    off_diagonal_deviation: float
    leading: dict[int, float]
    trailing: dict[int, float]
    curve: Tensor


class Alignment(NamedTuple):
    """Alignment of weights with data.

    Attributes:
        eigenvalues: ``(D,)`` eigenvalues s of S_x, falling; with ``data.curve`` the
            transfer curve (s, f(s)).
        data: In the eigenbasis of S_x.
        rotated: In a random basis (uniform over rotations), for comparison; its curve
            is flat but for chance.
    """

    eigenvalues: Tensor
    data: AlignmentNumbers
    rotated: AlignmentNumbers


def patch_covariance(
    images: Iterable[Tensor], embedding: nn.Conv2d, progress: bool = False
) -> Covariance:
    """Covariance of the patches that a patch embedding cuts out of images.

    Args:
        images: Batches ``(B, C, height, width)``, normalised as in training. Sides
            that the patch does not divide are padded with zeros at the right and the
            bottom, as in :class:`lbbt_mm.models.backbone.patch_tokens.PatchTokens`.
        embedding: The patch embedding (``backbone.patch_embed.projection``): its
            kernel's size and channels count, its weights do not.
        progress: Show a progress bar.

    Returns:
        Over all patches of all images; sums are in float64 on the images' device.

    Raises:
        ValueError: There are no images, they have other channels, are not finite, or
            the embedding's patches overlap or leave gaps.
    """
    _, channels, rows, columns = embedding.weight.shape
    if embedding.stride != (rows, columns) or any(
        side != 0 for side in embedding.padding
    ):
        raise ValueError(
            f"Expected a patch embedding, whose stride is its kernel, got kernel "
            f"{(rows, columns)}, stride {embedding.stride} and padding "
            f"{embedding.padding}: give backbone.patch_embed.projection."
        )
    count, mean_D, scatter_DD = 0, torch.zeros(()), torch.zeros(())
    for batch in follow_images(images, channels, "covariance of patches", progress):
        bottom, right = -batch.shape[2] % rows, -batch.shape[3] % columns
        padded = F.pad(batch.detach().double(), (0, right, 0, bottom))
        cut_BDT = F.unfold(padded, (rows, columns), stride=(rows, columns))
        one = _covariance(cut_BDT.transpose(1, 2).flatten(0, 1), "images")
        # Batch by batch around the common mean (Chan et al. 1979).
        new, away_D = one.samples, one.mean - mean_D
        total = count + new
        scatter_DD = scatter_DD + one.matrix * new
        scatter_DD = scatter_DD + torch.outer(away_D, away_D) * (count * new / total)
        mean_D = mean_D + away_D * (new / total)
        count = total
    return Covariance(scatter_DD / count, mean_D, count)


def weight_covariance(weight: Tensor) -> Covariance:
    """Covariance S_w of first-layer weights over neurons.

    Args:
        weight: ``(neurons, ...)``, such as the kernel of a patch embedding ``(neurons,
            C, rows, columns)``; flattened to ``(neurons, D)``.

    Raises:
        ValueError: There are fewer than two neurons, or weights are not finite.
    """
    if weight.ndim < 2 or len(weight) < 2:
        raise ValueError(
            f"Expected weights (neurons, ...) of two neurons or more, got shape "
            f"{tuple(weight.shape)}: give a first layer's kernel."
        )
    return _covariance(weight.detach().flatten(1).double(), "weights")


def measure_alignment(
    data: Covariance, weights: Covariance, ks: Sequence[int] = (1, 4, 16), seed: int = 0
) -> Alignment:
    """Compare the weights' covariance with the data's eigenbasis.

    Measure it at initialisation too: only the difference tells what training did.

    Args:
        data: S_x, of :func:`patch_covariance`.
        weights: S_w, of :func:`weight_covariance`.
        ks: Sizes of the subspaces to compare.
        seed: Of the random basis.

    Raises:
        ValueError: Sizes differ, a k is not from 1 to D, or there are fewer patches
            than D, which leave the eigenbasis undetermined.

    Example:
        >>> layer = backbone.patch_embed.projection
        >>> data = patch_covariance([images], layer)
        >>> measure_alignment(data, weight_covariance(layer.weight)).data.leading
    """
    size = len(data.matrix)
    if weights.matrix.shape != data.matrix.shape:
        raise ValueError(
            f"Expected covariances of the same size, got {size} for the data and "
            f"{len(weights.matrix)} for the weights: cut patches with this embedding."
        )
    values_D, basis_DD = eigenbasis(data)
    for k in ks:
        if not 1 <= k <= size:
            raise ValueError(
                f"Expected every k from 1 to {size}, the values of a patch, got {k}: "
                f"ask for smaller subspaces."
            )
    weights_DD = weights.matrix.double().cpu()
    return Alignment(
        values_D,
        numbers_in_basis(weights_DD, basis_DD, ks),
        numbers_in_basis(weights_DD, random_basis(size, seed), ks),
    )


def eigenbasis(data: Covariance) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(D,)``, falling, and eigenvectors as columns ``(D, D)``.

    Raises:
        ValueError: There are fewer patches than D, which leave them undetermined.
    """
    size = len(data.matrix)
    if data.samples < size:
        raise ValueError(
            f"Expected at least {size} patches, as many as a patch has values, got "
            f"{data.samples}: give more images."
        )
    values_D, basis_DD = torch.linalg.eigh(data.matrix.double().cpu())
    return values_D.flip(0), basis_DD.flip(1)


def random_basis(size: int, seed: int) -> Tensor:
    """Draw an orthogonal matrix ``(size, size)``, uniformly, from its own generator."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(size, size, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    # Without the signs of R the factor Q is not uniform over rotations.
    return q * r.diagonal().sign()


def _covariance(x_ND: Tensor, name: str) -> Covariance:
    if not torch.isfinite(x_ND).all():
        raise ValueError(
            f"Expected finite {name}, got nan or infinity: look for what made them so."
        )
    mean_D = x_ND.mean(dim=0)
    away_ND = x_ND - mean_D
    return Covariance(away_ND.t() @ away_ND / len(x_ND), mean_D, len(x_ND))


def numbers_in_basis(
    weights_DD: Tensor, basis_DD: Tensor, ks: Sequence[int]
) -> AlignmentNumbers:
    """Compare the weights' covariance with a basis that is known already.

    Args:
        weights_DD: S_w, ``(D, D)`` in float64.
        basis_DD: Orthonormal columns ``(D, D)``, the leading directions first.
        ks: Sizes of the subspaces to compare, each from 1 to D.
    """
    projected = basis_DD.t() @ weights_DD @ basis_DD
    curve_D = projected.diagonal()
    total, diagonal = projected.square().sum(), curve_D.square().sum()
    away = (curve_D - curve_D.mean()).square().sum()
    off = (projected - torch.diag(curve_D)).square().sum()
    deviation = away + off
    own_DD = torch.linalg.eigh(weights_DD)[1]

    def overlap(k: int, vectors: Tensor) -> float:
        return float((basis_DD[:, :k].t() @ vectors).square().sum() / k)

    return AlignmentNumbers(
        float(off / (diagonal + off)) if total > 0 else math.nan,
        # Below rounding there is nothing whose share one could tell.
        float(off / deviation) if deviation > 1e-24 * total else math.nan,
        {k: overlap(k, own_DD[:, -k:]) for k in ks},
        {k: overlap(k, own_DD[:, :k]) for k in ks},
        curve_D.clone(),
    )
