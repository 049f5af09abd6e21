"""Loss surfaces: a quadratic by formula, filters by hand, weights left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_losses import Point, mlp, quadratic
from torch import Tensor, nn
from torch.testing import assert_close

from lbbt_mm.analysis.landscape import loss_landscape, random_directions
from lbbt_mm.analysis.scalar_loss import ScalarLoss

BOTH = ["filter_normalised", "plain"]


def test_the_plain_surface_of_a_quadratic_is_its_formula() -> None:
    diagonal = [3.0, -1.0, 0.5, 2.0]
    loss = quadratic(diagonal)
    found = loss_landscape(loss, "plain", radius=0.5, points=5, seed=4)
    assert_close(found.steps, np.array([-0.5, -0.25, 0.0, 0.25, 0.5]))
    first, second = random_directions(loss, "plain", seed=4)
    d = torch.tensor(diagonal, dtype=torch.float64)
    for i, a in enumerate(found.steps):
        for j, b in enumerate(found.steps):
            x = 1 + a * first + b * second
            expected = 1 + float((d * x**2).sum()) / 2
            assert found.loss[i, j] == pytest.approx(expected, rel=1e-12)
    assert found.loss.dtype == np.float64
    assert found.centre == found.loss[2, 2] == 1 + 4.5 / 2
    assert found[3:] == ("plain", 0.5, 4, 1)


def test_a_plain_direction_is_as_long_as_all_weights_together() -> None:
    loss = mlp()
    for direction in random_directions(loss, "plain"):
        assert float(direction.norm()) == pytest.approx(float(loss.flat().norm()))
    first, second = random_directions(loss, "plain")
    assert not torch.equal(first, second)


def test_filters_of_a_direction_are_as_long_as_those_of_the_weights() -> None:
    model = Point(
        matrix=[[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]],
        kernel=[[[[1.0, 2.0], [2.0, 0.0]]], [[[0.0, 0.0], [0.0, 5.0]]]],
        bias=[7.0, 8.0],
    )
    loss = ScalarLoss(
        model, lambda: model.matrix.sum() * model.kernel.sum() * model.bias.sum(), 1
    )
    for direction in random_directions(loss, "filter_normalised", seed=1):
        matrix, kernel, bias = loss.split(direction)
        assert_close(matrix.norm(dim=1), torch.tensor([5.0, 0.0, 2.0]).double())
        lengths = kernel.flatten(1).norm(dim=1)
        assert_close(lengths, torch.tensor([3.0, 5.0]).double())
        assert not bias.any()
    assert all(part.all() for part in loss.split(random_directions(loss, "plain")[0]))


def test_initialisations_share_the_draws_and_only_their_lengths_differ() -> None:
    # One architecture, two initialisations: weights differ, directions do not.
    one, other = mlp(), mlp()
    with torch.no_grad():
        other.parameters[0].mul_(3)
    for normalisation in BOTH:
        for a, b in zip(
            random_directions(one, normalisation, seed=2),
            random_directions(other, normalisation, seed=2),
            strict=True,
        ):
            rows_a, rows_b = one.split(a)[0], other.split(b)[0]
            assert_close(F.normalize(rows_a, dim=1), F.normalize(rows_b, dim=1))
    plain = one.split(random_directions(one, "plain")[0])[0]
    filtered = one.split(random_directions(one, "filter_normalised")[0])[0]
    assert_close(F.normalize(plain, dim=1), F.normalize(filtered, dim=1))


def rectified(scale: float) -> ScalarLoss:
    """The same function for every scale: one layer up, the next one down."""
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Linear(5, 7, bias=False), nn.Linear(7, 3, bias=False)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1]).double()
    for layer, factor in zip(layers, (scale, 1 / scale), strict=True):
        normal = torch.randn(layer.weight.shape, generator=generator)
        layer.weight.data = normal.double() * factor
    x = torch.randn(16, 5, generator=generator).double()
    y = torch.randint(3, (16,), generator=generator)
    return ScalarLoss(model, lambda: F.cross_entropy(model(x), y), len(x))


def test_filter_normalised_surfaces_do_not_depend_on_the_layers_scales() -> None:
    surfaces = {
        (name, scale): loss_landscape(rectified(scale), name, points=3, seed=0).loss
        for name in BOTH
        for scale in (1.0, 10.0)
    }
    assert_close(
        surfaces["filter_normalised", 1.0], surfaces["filter_normalised", 10.0]
    )
    corner = [surfaces["plain", scale][0, 0] for scale in (1.0, 10.0)]
    assert abs(corner[0] - corner[1]) > 0.1


@pytest.mark.parametrize("normalisation", BOTH)
def test_seeds_and_nothing_random_outside(normalisation: str) -> None:
    loss = mlp()
    before, state = loss.flat(), torch.get_rng_state()
    one, same, other = (
        loss_landscape(loss, normalisation, points=3, seed=seed).loss
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert one[1, 1] == other[1, 1] == loss.value()
    assert not np.allclose(one[0], other[0])
    assert torch.equal(loss.flat(), before)
    assert torch.equal(torch.get_rng_state(), state)


def guarded(bad: Tensor | None = None) -> tuple[ScalarLoss, list[int]]:
    """``1 + sum x^2``, but something else once a parameter has moved far."""
    model = Point(x=[1.0, 1.0, 1.0, 1.0])
    calls: list[int] = []

    def value() -> Tensor:
        calls.append(1)
        loss = 1 + model.x.square().sum()
        if float((model.x.detach() - 1).norm()) > 1.5:
            if bad is None:
                raise RuntimeError("out of memory")
            return loss * bad
        return loss

    return ScalarLoss(model, value, 1), calls


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_far_out_is_a_gap(bad: float) -> None:
    loss, _ = guarded(torch.tensor(bad).double())
    before = loss.flat()
    # A direction is 2 long: the corners are far, the neighbours of the middle are not.
    found = loss_landscape(loss, "plain", radius=1.0, points=5)
    assert np.isnan(found.loss[0, 0]) and np.isnan(found.loss[4, 4])
    assert np.isfinite(found.loss[2, [1, 2, 3]]).all()
    assert not np.isinf(found.loss).any()
    assert torch.equal(loss.flat(), before)


def test_parameters_are_as_before_when_the_loss_fails() -> None:
    loss, _ = guarded()
    before = loss.flat()
    with pytest.raises(RuntimeError, match="out of memory"):
        loss_landscape(loss, "plain", points=5)
    assert torch.equal(loss.flat(), before)


def test_every_point_is_one_pass() -> None:
    loss, calls = guarded(torch.tensor(1.0).double())
    calls.clear()
    loss_landscape(loss, "plain", points=3)
    assert len(calls) == 9


# Bad input -------------------------------------------------------------------------


def test_nan_at_the_centre_is_an_error() -> None:
    loss, _ = guarded(torch.tensor(math.nan).double())
    with torch.no_grad():
        loss.parameters[0].add_(9)
    with pytest.raises(ValueError, match="one finite number, got nan"):
        loss_landscape(loss, "plain", points=3)


def test_directions_of_length_1_on_a_grid_of_20() -> None:
    """The authors' code: a step of 1 is a step of length 1, whatever the weights."""
    loss = quadratic([1.0, 2.0, 3.0])
    first, second = random_directions(loss, "unit", seed=4)
    assert first.norm() == pytest.approx(1) and second.norm() == pytest.approx(1)
    found = loss_landscape(loss, "unit", radius=1.0, points=20, seed=4)
    assert found.loss.shape == (20, 20) and 0 not in found.steps
    assert_close(found.steps, np.linspace(-1, 1, 20))
    with loss.moved(found.steps[3] * first + found.steps[17] * second):
        assert found.loss[3, 17] == pytest.approx(loss.value())


@pytest.mark.parametrize(("points", "radius"), [(2, 1.0), (1, 1.0), (3, 0.0)])
def test_grids_that_are_none(points: int, radius: float) -> None:
    with pytest.raises(ValueError, match=f"3 points or more .* got {points} and"):
        loss_landscape(quadratic([1.0]), "plain", radius, points)


def test_bad_normalisation_and_weights_without_filters() -> None:
    loss = quadratic([1.0, 2.0])
    with pytest.raises(ValueError, match="plain, unit, got 'layer'"):
        loss_landscape(loss, "layer")
    with pytest.raises(ValueError, match="none that is not 0 for 'filter_normalised'"):
        loss_landscape(loss)
