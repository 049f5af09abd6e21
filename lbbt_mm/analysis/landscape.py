"""The loss around a model's weights, on a plane through them (figure 4).

Both directions of the plane are drawn from a normal distribution on the CPU: the same
on every device, for both initialisations and all normalisations where the trainable
tensors are of the same shapes. They differ in how long a direction is:

- ``'plain'``: the whole direction is as long as the whole parameter vector.
- ``'unit'``: the whole direction is of length 1, as in the authors' released code, on a
  grid of 20 x 20. Against weights of a length in the hundreds that is a small step.
- ``'filter_normalised'`` (Li et al., arXiv 1712.09913): each filter of the direction is
  as long as the same filter of the weights, so that scaling a layer up and the next
  one down, which changes nothing that the network computes, does not change the
  surface either. A filter is what one output reads: a row of a matrix ``(out, in)``, a
  kernel ``(in, rows, columns)``, a row of a table. Biases and norms (tensors of one
  dimension) stay as they are, as in their code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.analysis.scalar_loss import ScalarLoss
from lbbt_mm.progress import follow

NORMALISATIONS = ("filter_normalised", "plain")
RELEASED = "unit"
_ALL = (*NORMALISATIONS, RELEASED)


class Landscape(NamedTuple):
    """Loss on a grid around the weights.

    Attributes:
        steps: ``(G,)`` positions along either axis, from -radius to radius; 0 is in
            the middle where G is odd.
        loss: ``(G, G)``: ``loss[i, j]`` at ``theta + steps[i] * first + steps[j] *
            second``; nan where the loss is not finite.
        centre: Loss of the model itself.
        normalisation: Of the directions, see the module.
        radius: Of the square, in lengths of a direction.
        seed: Of the directions.
        samples: Images in the loss.
    """

    steps: np.ndarray
    loss: np.ndarray
    centre: float
    normalisation: str
    radius: float
    seed: int
    samples: int


def loss_landscape(
    loss: ScalarLoss,
    normalisation: str = "filter_normalised",
    radius: float = 1.0,
    points: int = 21,
    seed: int = 0,
    progress: bool = False,
) -> Landscape:
    """Compute the loss on a square around the weights.

    Two directions, one step and a copy of the weights are kept: four times the
    trainable parameters.

    Args:
        loss: The loss; its model's parameters are as before afterwards, whatever
            happens.
        normalisation: ``'filter_normalised'``, ``'plain'`` or ``'unit'``.
        radius: How far to go along each direction, in its lengths.
        points: Along each axis; ``points ** 2`` passes over the images. Only an odd
            number has the weights themselves in the middle.
        seed: Of the directions.
        progress: Show a progress bar.

    Raises:
        ValueError: The normalisation is unknown, points are fewer than 3, the radius is
            not positive, the weights are all 0, or the loss at the centre is not
            finite.
    """
    if points < 3 or not (radius > 0 and math.isfinite(radius)):
        raise ValueError(
            f"Expected 3 points or more and a positive radius, got {points} and "
            f"{radius}: 21 points have the weights themselves in the middle."
        )
    first, second = random_directions(loss, normalisation, seed)
    centre = loss.value()
    steps = np.linspace(-radius, radius, points)
    steps = (steps - steps[::-1]) / 2  # so that the middle is 0 itself
    surface = np.full((points, points), np.nan)
    places = [(i, j) for i in range(points) for j in range(points)]
    for i, j in follow(places, f"landscape, {normalisation}", progress):
        if steps[i] == steps[j] == 0:
            surface[i, j] = centre
            continue
        step = float(steps[i]) * first
        step.add_(second, alpha=float(steps[j]))
        with loss.moved(step):
            value = loss.value(finite=False)
        if math.isfinite(value):
            surface[i, j] = value
    return Landscape(
        steps, surface, centre, normalisation, float(radius), seed, loss.samples
    )


def random_directions(
    loss: ScalarLoss, normalisation: str, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw the two directions of a landscape.

    Args:
        loss: Whose parameters they are for.
        normalisation: ``'filter_normalised'``, ``'plain'`` or ``'unit'``.
        seed: Of the directions.

    Returns:
        Two vectors ``(P,)``, to be added to ``loss.flat()``; two random vectors of so
        many numbers are as good as orthogonal.

    Raises:
        ValueError: The normalisation is unknown, or a direction would be 0.
    """
    if normalisation not in _ALL:
        raise ValueError(
            f"Expected a normalisation among {', '.join(_ALL)}, got "
            f"{normalisation!r}: take one of them."
        )
    generator = torch.Generator().manual_seed(seed)
    first, second = (_direction(loss, normalisation, generator) for _ in range(2))
    if not (first.any() and second.any()):
        raise ValueError(
            f"Expected weights to measure a direction by, got none that is not 0 for "
            f"{normalisation!r} directions: train a matrix, or take 'plain' where only "
            f"biases and norms are trained."
        )
    return first, second


def _direction(
    loss: ScalarLoss, normalisation: str, generator: torch.Generator
) -> Tensor:
    parts = []
    for parameter in loss.parameters:
        normal = torch.randn(parameter.shape, generator=generator).to(parameter)
        if normalisation == "filter_normalised":
            normal = _as_long_as(normal, parameter.detach())
        parts.append(normal)
    direction = torch.cat([part.reshape(-1) for part in parts])
    if normalisation == "plain":
        direction *= _length(loss.parameters) / _length(parts)
    elif normalisation == RELEASED:
        direction /= _length(parts)
    return direction


def _as_long_as(normal: Tensor, weight: Tensor) -> Tensor:
    """Give each filter of a direction the length of the same filter of a weight."""
    if weight.ndim < 2:
        return torch.zeros_like(weight)
    # In float64: squares of small bfloat16 weights vanish.
    wanted = weight.flatten(1).double().norm(dim=1)
    found = normal.flatten(1).double().norm(dim=1)
    factor = (wanted / found).to(weight)
    return normal * factor.view(-1, *[1] * (weight.ndim - 1))


def _length(tensors: Sequence[Tensor]) -> float:
    """Length of all of them as one vector, with no more than one in float64."""
    return math.hypot(*(float(one.detach().double().norm()) for one in tensors))
