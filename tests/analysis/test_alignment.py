"""Alignment of weights with data: against numpy, by hand, and the theorem itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lbbt_mm.analysis.alignment import (
    Covariance,
    measure_alignment,
    patch_covariance,
    random_basis,
    weight_covariance,
)
from lbbt_mm.analysis.synthetic_alignment import synthetic_check
from lbbt_mm.models.backbone.patch_tokens import PatchTokens


def conv(channels: int = 2, side: int = 4) -> nn.Conv2d:
    return PatchTokens(8, (16, 16), side, channels, "none").projection


def covariance(matrix: torch.Tensor) -> Covariance:
    return Covariance(matrix.double(), torch.zeros(len(matrix)), 1000)


def rotation(angle: float) -> torch.Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


# Covariances -----------------------------------------------------------------------


def test_patches_agree_with_numpy_in_any_batches() -> None:
    images = torch.randn(7, 2, 12, 8) * 3 + 100  # far from zero: sums would cancel
    patches = [
        image[:, y : y + 4, x : x + 4].numpy().astype(np.float64).ravel()
        for image in images
        for y in (0, 4, 8)
        for x in (0, 4)
    ]
    expected = np.cov(np.array(patches).T, ddof=0)
    for size in (1, 3, 7):
        found = patch_covariance(images.split(size), conv())
        assert found.samples == 7 * 6
        # float64 in another order
        assert_close(found.matrix.numpy(), expected, rtol=1e-9, atol=1e-9)
        assert_close(found.mean.numpy(), np.mean(patches, axis=0), rtol=1e-12, atol=0)


def test_patches_are_those_that_the_embedding_sees() -> None:
    # Variance of tokens is w^T S w, of this very module, padding included.
    tokens = PatchTokens(5, (16, 16), 4, 3, "none")
    images = torch.randn(20, 3, 14, 10)
    found = patch_covariance(images.split(8), tokens.projection)
    weight = tokens.projection.weight.detach().flatten(1).double()
    seen = tokens(images)[0].detach().flatten(0, 1).double()
    expected = torch.cov(seen.t(), correction=0)
    # the tokens are float32
    assert_close(weight @ found.matrix @ weight.t(), expected, rtol=1e-4, atol=1e-5)


def test_weights_agree_with_numpy() -> None:
    weight = torch.randn(9, 2, 2, 2)
    found = weight_covariance(weight)
    expected = np.cov(weight.numpy().reshape(9, 8).astype(np.float64).T, ddof=0)
    assert_close(found.matrix.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert found.samples == 9


# Alignment -------------------------------------------------------------------------


def test_two_directions_worked_by_hand() -> None:
    data = covariance(torch.diag(torch.tensor([1.0, 3.0])))
    turn = rotation(math.pi / 6)
    weights = covariance(
        turn @ torch.diag(torch.tensor([4.0, 2.0]).double()) @ turn.t()
    )
    found = measure_alignment(data, weights, ks=(1, 2))
    # By hand: S_w = 3 I + [[cos 60, sin 60], [sin 60, -cos 60]], squares sum to 20.
    assert_close(found.eigenvalues, torch.tensor([3.0, 1.0]).double())
    assert_close(found.data.curve, torch.tensor([2.5, 3.5]).double())
    assert found.data.off_diagonal == pytest.approx(2 * 0.75 / 20)
    assert found.data.off_diagonal_deviation == pytest.approx(0.75)  # sin(60)^2
    # The data's first direction is the second axis, 60 degrees from S_w's first.
    assert found.data.leading == {1: pytest.approx(0.25), 2: pytest.approx(1.0)}
    assert found.data.trailing == {1: pytest.approx(0.75), 2: pytest.approx(1.0)}


def test_shared_eigenvectors_and_a_curve_that_falls() -> None:
    basis = random_basis(12, 3)
    s = torch.logspace(0, -3, 12, dtype=torch.float64)
    data = covariance((basis * s) @ basis.t())
    weights = covariance((basis / (1 + s)) @ basis.t())
    found = measure_alignment(data, weights, ks=(3,))
    assert_close(found.eigenvalues, s)
    assert_close(found.data.curve, 1 / (1 + s))
    assert found.data.off_diagonal == pytest.approx(0, abs=1e-20)
    assert found.data.off_diagonal_deviation == pytest.approx(0, abs=1e-12)
    assert found.data.trailing[3] == pytest.approx(1)
    assert found.data.leading[3] == pytest.approx(0, abs=1e-12)
    assert found.rotated.off_diagonal_deviation > 0.7
    assert found.rotated.curve.sum() == pytest.approx(found.data.curve.sum().item())


def test_isotropic_weights_fit_every_basis() -> None:
    data = covariance(torch.diag(torch.arange(1.0, 7.0)))
    found = measure_alignment(data, covariance(0.3 * torch.eye(6)), ks=(2,))
    assert found.data.off_diagonal == 0
    assert found.rotated.off_diagonal == pytest.approx(0, abs=1e-20)
    assert math.isnan(found.data.off_diagonal_deviation)
    assert math.isnan(found.rotated.off_diagonal_deviation)


def test_chance_is_what_the_docstring_says() -> None:
    size, count = 48, 20
    data = covariance(torch.diag(torch.arange(size, 0.0, -1)))
    found = [
        measure_alignment(data, weight_covariance(torch.randn(96, size)), (6,), seed)
        for seed in range(count)
    ]
    for numbers in ([f.data for f in found], [f.rotated for f in found]):
        # D (D - 1) of D (D + 1) - 2 equal parts of the energy are off the diagonal
        share = np.mean([n.off_diagonal_deviation for n in numbers])
        assert share == pytest.approx(size * (size - 1) / (size * (size + 1) - 2), 0.02)
        # k / D; one draw's standard deviation is about 0.03, 20 draws' 0.007
        assert np.mean([n.leading[6] for n in numbers]) == pytest.approx(
            1 / 8, abs=0.03
        )


def test_the_random_basis_is_seeded_by_itself() -> None:
    state = torch.get_rng_state()
    one = random_basis(5, 7)
    assert_close(one.t() @ one, torch.eye(5).double())
    assert_close(one, random_basis(5, 7), rtol=0, atol=0)
    assert not torch.allclose(one, random_basis(5, 8))
    assert torch.equal(torch.get_rng_state(), state)


# The theorem -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_on_random_labels_aligns(seed: int) -> None:
    state = torch.get_rng_state()
    found = synthetic_check(seed=seed)
    before, after = found.before.data, found.after.data
    # At initialisation the data's basis is any basis; after training it is S_w's own.
    assert before.off_diagonal_deviation > 0.7
    assert after.off_diagonal_deviation < 0.3
    assert after.off_diagonal < before.off_diagonal
    assert found.after.rotated.off_diagonal_deviation > 0.7
    assert after.trailing[4] > 0.6 > before.trailing[4]  # f falls with s
    assert found.last_loss < found.first_loss
    assert torch.equal(torch.get_rng_state(), state)


def test_a_covariance_of_ones_own() -> None:
    turn = rotation(0.4)
    mine = turn @ torch.diag(torch.tensor([2.0, 0.1]).double()) @ turn.t()
    found = synthetic_check(mine, neurons=200, inputs=500, ks=(1,))
    assert_close(found.before.eigenvalues, torch.tensor([2.0, 0.1]).double())
    # The layer's own eigenvectors are the ones that were put into the inputs.
    assert found.after.data.off_diagonal_deviation < 0.05
    assert found.before.data.leading.keys() == {1}


# Bad input -------------------------------------------------------------------------


def test_streams_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(B, 2, height, width\), got \(2, 3, "):
        patch_covariance([torch.randn(2, 3, 8, 8)], conv())
    for empty in ([], [torch.randn(0, 2, 8, 8)]):
        with pytest.raises(ValueError, match="at least one image, got an empty stream"):
            patch_covariance(empty, conv())
    with pytest.raises(ValueError, match="Expected finite images, got nan or infinity"):
        patch_covariance([torch.full((1, 2, 8, 8), math.nan)], conv())
    with pytest.raises(ValueError, match=r"kernel \(4, 4\), stride \(2, 2\)"):
        patch_covariance([torch.randn(2, 2, 8, 8)], nn.Conv2d(2, 8, 4, stride=2))


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="two neurons or more, got shape"):
        weight_covariance(torch.randn(1, 5))
    with pytest.raises(ValueError, match="Expected finite weights, got nan"):
        weight_covariance(torch.full((3, 5), math.nan))


def test_covariances_that_do_not_fit() -> None:
    four, three = covariance(torch.eye(4)), covariance(torch.eye(3))
    with pytest.raises(ValueError, match="got 4 for the data and 3 for the weights"):
        measure_alignment(four, three)
    for k in (5, 0):
        with pytest.raises(ValueError, match=f"every k from 1 to 4.*got {k}: ask"):
            measure_alignment(four, four, ks=(k,))
    with pytest.raises(ValueError, match="at least 4 patches.*got 3: give more images"):
        measure_alignment(four._replace(samples=3), four, ks=(1,))
    for bad in ([[1.0, 0.0], [0.0, -1.0]], [[1.0, 0.5], [0.0, 1.0]]):
        with pytest.raises(
            ValueError, match="symmetric positive definite covariance, "
        ):
            synthetic_check(torch.tensor(bad), ks=(1,))
    with pytest.raises(ValueError, match="finite loss after training, got nan: lower"):
        synthetic_check(torch.eye(2), neurons=20, inputs=100, ks=(1,), lr=1e30)
