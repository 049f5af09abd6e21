"""How much of a visual token lies where a language model's words lie.

After LangBridge (arXiv 2503.19404), which asks in which subspace of the word embeddings
an MLP projector's tokens come to lie. A table of words has more rows than columns, so
that its span is everything; what tells is how many of its *leading* directions, the
right singular vectors of largest singular value, hold how much of a token's energy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Energy(NamedTuple):
    """Energy of vectors within the leading directions of a basis.

    Attributes:
        curve: ``(D,)``, float64: the share within the first k directions, for k from 1
            to D; each vector's energy counts as 1. Random vectors have k / D.
        vectors: How many there were; zeros, which have no direction, do not count.
    """

    curve: Tensor
    vectors: int

    def directions_for(self, share: float) -> int:
        """Return the least number of directions that hold a share of the energy."""
        return int((self.curve < share - 1e-9).sum()) + 1


@torch.no_grad()
def word_directions(rows: Iterable[Tensor]) -> Tensor:
    """Compute the right singular vectors of a table of word embeddings, uncentred.

    Args:
        rows: The table ``(V, D)``, in parts.

    Returns:
        ``(D, D)`` in float64, on the CPU: one direction a column, the leading one
        first.

    Raises:
        ValueError: There are no words, or one is not finite.

    Example:
        >>> directions = word_directions([torch.randn(100, 8)])
        >>> energy_within([torch.randn(50, 8)], directions).curve[-1]
        tensor(1., dtype=torch.float64)
    """
    gram = None
    for part in rows:
        wide = part.double().cpu()
        gram = wide.T @ wide if gram is None else gram.addmm_(wide.T, wide)
    if gram is None or not torch.isfinite(gram).all():
        raise ValueError("Expected finite word embeddings, got none or others.")
    return torch.linalg.eigh(gram).eigenvectors.flip(1)


@torch.no_grad()
def energy_within(vectors: Iterable[Tensor], directions_DD: Tensor) -> Energy:
    """Compute the mean share of energy within the leading directions.

    Args:
        vectors: Batches ``(N, D)``, on any device, in any precision.
        directions_DD: What :func:`word_directions` returned.

    Raises:
        ValueError: No vector has a direction, or one is not finite.
    """
    total = torch.zeros(len(directions_DD), dtype=torch.float64)
    count = 0
    for batch in vectors:
        wide = batch.double().cpu()
        wide = wide[wide.abs().amax(dim=1) > 0]
        energy = (torch.nn.functional.normalize(wide) @ directions_DD).square()
        total += energy.sum(dim=0)
        count += len(wide)
    if not count or not torch.isfinite(total).all():
        raise ValueError("Expected finite vectors that are not all zero, got others.")
    return Energy(total.cumsum(0) / count, count)
