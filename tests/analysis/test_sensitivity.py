"""Sensitivities: by hand where the loss is a formula, and parameters left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_losses import Point, mlp, quadratic
from torch.testing import assert_close

from lbbt_mm.analysis.scalar_loss import ScalarLoss, image_error
from lbbt_mm.analysis.sensitivity import (
    gradient_predictiveness,
    noise_sensitivity,
    parameter_sensitivity,
)


def test_noise_on_a_quadratic() -> None:
    # L = 1 + 3 * 1000 / 2 at x = 1: the change is 3 s^2 |e|^2 / 2 + a term of mean 0.
    loss = quadratic([3.0] * 1000)
    found = noise_sensitivity(loss, scales=[0.1, 0.2], draws=50)
    expected = np.array([0.0, 15.0, 60.0]) / 1501
    assert found.scales.tolist() == [0.0, 0.1, 0.2]
    assert (abs(found.changes - expected) <= 1.5 * found.errors).all()
    # trapezoids: 0.1 * 15 / 2 + 0.1 * (15 + 60) / 2
    assert abs(found.area.value - 4.5 / 1501) <= 1.5 * found.area.error
    assert found.area[2:] == (50, 0, 1)


def test_noise_on_a_linear_loss_follows_each_tensors_scale() -> None:
    model = Point(x=[100.0, -100.0], zero=[0.0], small=[0.01])
    weight = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def value() -> torch.Tensor:
        # the zero tensor's noise, were there any, would drown the rest
        return 5 + model.x @ weight + 1e9 * model.zero.sum() + model.small.sum()

    found = noise_sensitivity(ScalarLoss(model, value, 7), [0.5, 1.0], draws=2, seed=3)
    generator = torch.Generator().manual_seed(3)
    draws = [torch.randn(4, generator=generator).double() for _ in range(2)]
    slopes = [float(100 * e[0] + 0.01 * e[3]) / 105.01 for e in draws]
    assert found.changes[2] == pytest.approx(np.mean(slopes), rel=1e-9)
    assert found.changes[1] == pytest.approx(np.mean(slopes) / 2, rel=1e-9)
    # a straight line: the area is a triangle
    assert found.area.value == pytest.approx(np.mean(slopes) / 2, rel=1e-9)
    assert found.area.samples == 7


def test_twice_the_draws_stay_within_the_error() -> None:
    loss = mlp()
    for seed in range(3):
        found = noise_sensitivity(loss, draws=10, seed=seed).area
        twice = noise_sensitivity(loss, draws=20, seed=seed).area
        assert abs(found.value - twice.value) <= found.error
        assert twice.error < found.error


def test_a_gradient_that_points_to_the_minimum_predicts_until_there() -> None:
    # A bowl around 0, seen from (1, 1): the way of steepest descent is straight, and
    # as long as the parameter vector; past the minimum the gradient turns round.
    loss = quadratic([2.0, 2.0])
    found = gradient_predictiveness(loss, steps=[0.5, 0.9, 1.5])
    assert_close(found.cosines, np.array([1.0, 1.0, -1.0]))
    assert found.mean.value == pytest.approx(1 / 3)
    assert math.isnan(found.mean.error)  # a single batch tells nothing of others


def test_a_valley_worked_by_hand() -> None:
    # Gradient (1, 3) at (1, 1), length sqrt 10; a step of sqrt 2 / 2 along it leads to
    # (1 - s, 1 - 3 s) with s = 1 / (2 sqrt 5), where it is (1 - s, 3 - 9 s).
    found = gradient_predictiveness(quadratic([1.0, 3.0]), steps=[0.5])
    s = 1 / (2 * math.sqrt(5))
    there = np.array([1 - s, 3 - 9 * s])
    cosine = there @ [1.0, 3.0] / np.linalg.norm(there) / math.sqrt(10)
    assert found.cosines[0] == pytest.approx(cosine)


def test_the_most_sensitive_tensor_by_hand() -> None:
    model = Point(x=[3.0, 4.0], y=[2.0], zero=[0.0])
    loss = ScalarLoss(
        model, lambda: 2 * model.x.sum() - 5 * model.y.sum() + model.zero.sum(), 4
    )
    # L = 4; x: sqrt(8) * 5 / 4, y: 5 * 2 / 4
    found = parameter_sensitivity(loss)
    assert found.name == "x"
    assert found.largest.value == pytest.approx(5 * math.sqrt(8) / 4)
    assert found.by_tensor["y"] == pytest.approx(2.5)
    assert found.by_tensor["zero"] == 0.0
    assert found.largest.samples == 4


@pytest.mark.parametrize(
    "measure",
    [
        lambda loss: gradient_predictiveness(loss).mean,
        lambda loss: parameter_sensitivity(loss).largest,
    ],
    ids=["predictiveness", "sensitivity"],
)
def test_twice_the_images_stay_within_the_error(measure) -> None:
    whole = mlp(batches=16)
    quarters = [whole.without(i, 2).without(j, 2) for i in (0, 1) for j in (0, 1)]
    pairs = [
        (half, whole.without(place // 2, 2)) for place, half in enumerate(quarters)
    ]
    pairs += [(whole.without(i, 2), whole) for i in (0, 1)]
    kept = 0
    for half, full in pairs:
        one, two = measure(half), measure(full)
        assert two.samples == 2 * one.samples
        kept += 0 < abs(one.value - two.value) <= one.error
        assert one.error < 0.6 * abs(one.value)  # it says something
    assert kept >= 5  # of six: 95 of 100 stay


def test_the_error_over_images_by_hand() -> None:
    # Means of batches 1, 2, 6 and 7: leaving one out 5, 14/3, 10/3, 3; mean 4.
    model = Point(x=[1.0])
    losses = [lambda c=c: c * model.x.sum() for c in (1.0, 2.0, 6.0, 7.0)]
    loss = ScalarLoss(model, losses, samples=8)
    squares = 1 + 4 / 9 + 4 / 9 + 1
    error = image_error(lambda some: some.value(), loss)
    assert error == pytest.approx(3.182 * math.sqrt(3 / 4 * squares))
    # which for a mean is the ordinary standard error of the four
    spread = np.std([1, 2, 6, 7], ddof=1)
    assert error == pytest.approx(3.182 * spread / math.sqrt(4))
    # two groups: batches 1 and 6, 2 and 7
    halves = image_error(lambda some: some.value(), loss, groups=2)
    assert halves == pytest.approx(12.71 * math.sqrt(1 / 2 * (0.5**2 + 0.5**2)))
    rest = loss.without(1, 4)
    assert (rest.value(), rest.samples) == (pytest.approx(14 / 3), 6)
    assert loss.value() == 4


def test_parameters_are_as_before() -> None:
    loss = mlp()
    before = loss.flat()
    noise_sensitivity(loss, draws=2)
    gradient_predictiveness(loss)
    parameter_sensitivity(loss)
    assert torch.equal(loss.flat(), before)


# Bad input -------------------------------------------------------------------------


@pytest.mark.parametrize("scales", [[], [0.2, 0.1], [-0.1, 0.2]])
def test_scales_that_do_not_rise(scales: list[float]) -> None:
    with pytest.raises(
        ValueError, match="rising positive scales and two draws or more"
    ):
        noise_sensitivity(quadratic([1.0]), scales)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"got \[0.1\] and 1: sort the scales, and draw"
    ):
        noise_sensitivity(quadratic([1.0]), [0.1], draws=1)
    for steps in ([], [0.0, 0.1]):
        with pytest.raises(ValueError, match=r"positive lengths of steps, got \["):
            gradient_predictiveness(quadratic([1.0]), steps)
    with pytest.raises(
        ValueError, match="a gradient that is not 0, got 0: the loss is flat"
    ):
        gradient_predictiveness(quadratic([0.0, 0.0]))
    model = Point(x=[1.0])
    zero = ScalarLoss(model, lambda: (model.x - 1).sum(), 1)
    for measure in (noise_sensitivity, parameter_sensitivity):
        with pytest.raises(ValueError, match="a loss that is not 0, got 0: changes"):
            measure(zero)
