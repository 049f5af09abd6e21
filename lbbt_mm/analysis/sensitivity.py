"""How a loss answers to moving the parameters (table 15).

The paper names these numbers and does not define them; the definitions here do not
depend on the scale of the loss or of a tensor. Where nothing is random the error is
that of the choice of images, see :func:`lbbt_mm.analysis.scalar_loss.image_error`: it
needs losses in several batches, and costs three times as much again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.analysis.scalar_loss import Estimate, ScalarLoss, image_error
from lbbt_mm.progress import follow


class NoiseSensitivity(NamedTuple):
    """Answer to random noise.

    Attributes:
        area: Area under the changes from 0 to the largest scale.
        scales: ``(S,)`` with a 0 in front: root-mean-square of the noise over that of
            each tensor.
        changes: ``(S,)`` mean relative change of the loss.
        errors: ``(S,)`` twice its standard error over draws.
    """

    area: Estimate
    scales: np.ndarray
    changes: np.ndarray
    errors: np.ndarray


class GradientPredictiveness(NamedTuple):
    """How far the gradient tells the gradients along its own way.

    Attributes:
        mean: Mean of the cosines; its error is that of the choice of images.
        steps: ``(S,)`` length of the step over that of the parameter vector.
        cosines: ``(S,)``.
    """

    mean: Estimate
    steps: np.ndarray
    cosines: np.ndarray


class ParameterSensitivity(NamedTuple):
    """Answer to the worst move of a single tensor.

    Attributes:
        largest: Of all tensors; its error is that of the choice of images.
        name: The tensor that it belongs to.
        by_tensor: Name -> sensitivity.
    """

    largest: Estimate
    name: str
    by_tensor: dict[str, float]


def noise_sensitivity(
    loss: ScalarLoss,
    scales: Sequence[float] = (0.02, 0.04, 0.06, 0.08, 0.1),
    draws: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> NoiseSensitivity:
    """Area under the loss's relative change against the size of random noise.

    ``change(s) = mean over draws of (L(theta + s * rms(theta_t) * e) - L) / |L|`` with
    normal numbers e and the root-mean-square of each tensor t; the area by trapezoids
    from ``change(0) = 0`` on. A draw keeps its direction over all scales, and the
    area's error is twice the standard error over draws. Negative: noise improves.

    Args:
        loss: The loss L; its model's parameters are as before afterwards.
        scales: Relative sizes of the noise, positive and rising.
        draws: Random directions.
        seed: Of the directions; more draws begin with the same ones.
        progress: Show a progress bar.

    Raises:
        ValueError: Scales do not rise, there are fewer than two draws, or the loss is
            0 or not finite somewhere.
    """
    grid = np.array([0.0, *scales])
    if draws < 2 or len(grid) < 2 or not (np.diff(grid) > 0).all():
        raise ValueError(
            f"Expected rising positive scales and two draws or more, got "
            f"{list(scales)} and {draws}: sort the scales, and draw more often."
        )
    here = _nonzero(loss)
    generator = torch.Generator().manual_seed(seed)
    rms = torch.cat(
        [p.detach().square().mean().sqrt().expand(p.numel()) for p in loss.parameters]
    )
    changes = np.zeros((draws, len(grid)))
    for draw in follow(range(draws), "noise", progress):
        noise = torch.randn(loss.size, generator=generator).to(rms) * rms
        for place, scale in enumerate(scales, start=1):
            with loss.moved(scale * noise):
                changes[draw, place] = (loss.value() - here) / abs(here)
    areas = (((changes[:, 1:] + changes[:, :-1]) / 2) * np.diff(grid)).sum(axis=1)
    to_error = 2 / math.sqrt(draws)
    area = Estimate(
        float(areas.mean()),
        to_error * float(areas.std(ddof=1)),
        draws,
        0,
        loss.samples,
    )
    errors = to_error * changes.std(axis=0, ddof=1)
    return NoiseSensitivity(area, grid, changes.mean(axis=0), errors)


def gradient_predictiveness(
    loss: ScalarLoss,
    steps: Sequence[float] = (1e-3, 3e-3, 1e-2, 3e-2),
    progress: bool = False,
) -> GradientPredictiveness:
    """Mean cosine of the gradient with the gradients further along its own way.

    ``cos(g(theta), g(theta - r * ||theta|| * g / ||g||))``, averaged over relative step
    lengths r; after Santurkar et al. (arXiv 1805.11604), who take the distance. 1
    where the loss is linear, at most 0 where the step leads over a valley.

    Args:
        loss: The loss; its model's parameters are as before afterwards.
        steps: Relative lengths r, positive.
        progress: Show a progress bar.

    Raises:
        ValueError: A length is not positive, or the gradient is 0 or not finite.
    """
    if not steps or min(steps) <= 0:
        raise ValueError(
            f"Expected positive lengths of steps, got {list(steps)}: 0.001 is a "
            f"thousandth of the parameter vector."
        )

    def measure(some: ScalarLoss) -> np.ndarray:
        here = some.gradient()
        way = some.flat().norm() * here / _length(here)
        cosines = []
        for step in follow(steps, "gradients", progress):
            with some.moved(-step * way):
                there = some.gradient()
            cosine = torch.dot(here.double(), there.double())
            cosines.append(float(cosine) / _length(here) / _length(there))
        return np.array(cosines)

    cosines = measure(loss)
    error = image_error(lambda some: float(measure(some).mean()), loss)
    mean = Estimate(float(cosines.mean()), error, 0, 0, loss.samples)
    return GradientPredictiveness(mean, np.array(steps), cosines)


def parameter_sensitivity(loss: ScalarLoss) -> ParameterSensitivity:
    """Largest relative change of the loss per relative change of one tensor.

    ``max over tensors t of ||dL/dtheta_t|| * ||theta_t|| / |L|``: to first order, what
    a move of one tensor along its gradient by its own length would change. 0 for a
    tensor of zeros, such as a new bias.

    Args:
        loss: The loss L.

    Raises:
        ValueError: The loss is 0, or a gradient is not finite.
    """

    def measure(some: ScalarLoss) -> dict[str, float]:
        here = abs(_nonzero(some))
        slopes = some.split(some.gradient())
        return {
            name: float(slope.norm()) * float(parameter.detach().norm()) / here
            for name, slope, parameter in zip(
                some.names, slopes, some.parameters, strict=True
            )
        }

    by_tensor = measure(loss)
    name = max(by_tensor, key=lambda one: by_tensor[one])
    error = image_error(lambda some: max(measure(some).values()), loss)
    largest = Estimate(by_tensor[name], error, 0, 0, loss.samples)
    return ParameterSensitivity(largest, name, by_tensor)


def _length(gradient: Tensor) -> float:
    length = float(gradient.double().norm())
    if length == 0:
        raise ValueError(
            "Expected a gradient that is not 0, got 0: the loss is flat here, choose a "
            "point that is not a minimum."
        )
    return length


def _nonzero(loss: ScalarLoss) -> float:
    here = loss.value()
    if here == 0:
        raise ValueError(
            "Expected a loss that is not 0, got 0: changes are measured relative to it."
        )
    return here
