"""Curvature against the exact Hessian of a small network, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_losses import mlp, quadratic
from torch.testing import assert_close

from lbbt_mm.analysis.curvature import (
    extreme_eigenvalues,
    hessian_trace,
    spectral_density,
)
from lbbt_mm.analysis.lanczos import Tridiagonal, lanczos
from lbbt_mm.analysis.scalar_loss import ScalarLoss


@pytest.fixture(scope="module")
def network() -> ScalarLoss:
    return mlp()


@pytest.fixture(scope="module")
def exact(network: ScalarLoss) -> np.ndarray:
    """Its eigenvalues, falling."""
    return torch.linalg.eigvalsh(network.exact).flip(0).numpy()


# Eigenvalues -----------------------------------------------------------------------


def test_as_many_iterations_as_parameters_are_exact(network, exact) -> None:
    found = extreme_eigenvalues(network, k=6, iterations=83)
    leading = [estimate.value for estimate in found.leading]
    trailing = [estimate.value for estimate in found.trailing]
    # float64, through 83 products
    assert_close(leading, exact[:6].tolist(), rtol=1e-9, atol=1e-11)
    assert_close(trailing, exact[::-1][:6].tolist(), rtol=1e-9, atol=1e-11)
    assert exact[0] > 0 > exact[-1]
    first = found.leading[0]
    assert (first.probes, first.samples) == (1, 8)
    # Scores may move together and change nothing: eight or so eigenvalues are 0.
    assert 70 <= first.iterations <= 83


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("iterations", [12, 20, 40])
def test_eigenvalues_are_within_their_error(network, exact, seed, iterations) -> None:
    found = extreme_eigenvalues(network, 3, iterations, seed)
    twice = extreme_eigenvalues(network, 3, 2 * iterations, seed)
    for end, true in (("leading", exact), ("trailing", exact[::-1])):
        for one, more, value in zip(
            getattr(found, end), getattr(twice, end), true, strict=False
        ):
            assert one.iterations == iterations
            assert abs(one.value - value) <= one.error
            assert abs(one.value - more.value) <= one.error
            # values that have converged to rounding keep rounding as their error
            assert more.error <= one.error * (1 + 1e-6)


def test_single_precision_says_how_much_it_rounds(exact) -> None:
    found = extreme_eigenvalues(mlp(dtype=torch.float32), k=2, iterations=60)
    for one, value in zip(found.leading, exact, strict=False):
        assert abs(one.value - value) <= one.error
        assert one.error < 1e-4


def test_a_diagonal_hessian_worked_by_hand() -> None:
    # Three different eigenvalues, one of them twice: it is found once.
    loss = quadratic([5.0, -2.0, -2.0, 1.0])
    found = extreme_eigenvalues(loss, k=2, iterations=8)
    assert [e.value for e in found.leading] == pytest.approx([5.0, 1.0])
    assert [e.value for e in found.trailing] == pytest.approx([-2.0, 1.0])
    assert found.leading[0].iterations == 3
    assert found.leading[0].error < 1e-12


def test_one_step_of_lanczos_by_hand() -> None:
    found = lanczos(quadratic([1.0, 3.0]), torch.tensor([1.0, 1.0]), 1)
    # From (1, 1) / sqrt 2: H q = (1, 3) / sqrt 2, mean 2, left over (-1, 1) / sqrt 2.
    assert_close(found.diagonal, np.array([2.0]))
    assert_close(found.beside, np.array([1.0]))
    assert not found.complete
    whole = lanczos(quadratic([1.0, 3.0]), torch.tensor([1.0, 1.0]), 5)
    assert whole.complete
    assert_close(whole.eigh()[0], np.array([1.0, 3.0]))


def test_the_basis_stays_orthogonal_where_plain_lanczos_sees_ghosts() -> None:
    # Without reorthogonalisation 60 iterations find the largest value several times.
    values = np.concatenate([[100.0], np.linspace(0, 1, 99)])
    found = lanczos(quadratic(values.tolist()), torch.ones(100), 60)
    nodes = found.eigh()[0]
    assert (nodes > 50).sum() == 1
    assert nodes[-1] == pytest.approx(100.0, rel=1e-12)


# Trace and density -----------------------------------------------------------------


def test_the_trace_is_within_its_error_as_often_as_two_standard_errors_are(
    network, exact
) -> None:
    runs, right, stayed = 30, 0, 0
    for seed in range(runs):
        found = hessian_trace(network, probes=15, seed=seed)
        twice = hessian_trace(network, probes=30, seed=seed)  # 15 of them the same
        right += abs(found.value - exact.sum()) <= found.error
        stayed += abs(found.value - twice.value) <= found.error
        assert twice.error < 1.3 * found.error
        assert found[2:] == (15, 0, 8)
    # 95 of 100 by the normal distribution, a little less for 15 probes; doubling moves
    # the value by 0.7 standard errors on average, so that 99 of 100 stay.
    assert right >= 0.85 * runs
    assert stayed >= 0.95 * runs


def test_the_trace_of_a_diagonal_hessian_is_exact() -> None:
    # v^T H v is the trace for every vector of signs.
    found = hessian_trace(quadratic([3.0, -1.0, 0.5]), probes=2)
    assert found.value == pytest.approx(2.5, rel=1e-15)
    assert found.error < 1e-14


def test_the_density_has_the_moments_of_the_spectrum(network, exact) -> None:
    density = spectral_density(network, probes=40, iterations=10)
    assert (density.size, density.samples, len(density.probes)) == (83, 8, 40)
    pairs = [density.quadrature(probe) for probe in range(40)]
    for power in (1, 2, 3):
        found = [(shares * nodes**power).sum() for nodes, shares in pairs]
        error = np.std(found, ddof=1) / 40**0.5
        assert abs(np.mean(found) - (exact**power).mean()) <= 3 * error
        assert error < 0.2 * np.mean(np.abs(found))
    # The weights of a probe add up to 1.
    assert density.quadrature(3)[1].sum() == pytest.approx(1)


def test_seeds(network) -> None:
    state = torch.get_rng_state()
    assert hessian_trace(network, 3, seed=1) == hessian_trace(network, 3, seed=1)
    assert hessian_trace(network, 3, seed=1) != hessian_trace(network, 3, seed=2)
    few, more = (spectral_density(network, n, 4, seed=1).probes for n in (2, 3))
    assert_close(few[1].diagonal, more[1].diagonal, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_tridiagonal_matrix_is_read_up_to_a_step() -> None:
    found = Tridiagonal(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 9.0]), False)
    half = 0.5 * 2**0.5
    assert_close(found.eigh()[0], np.array([1.5 - half, 1.5 + half, 3.0]))
    assert_close(found.eigh(1)[0], np.array([1.0]))


# Bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "iterations"), [(0, 40), (42, 400), (11, 40)])
def test_k_that_does_not_fit(network, k: int, iterations: int) -> None:
    with pytest.raises(ValueError, match=f"half of the 83 parameters.*got k={k} and"):
        extreme_eigenvalues(network, k, iterations)


def test_too_few_probes_or_iterations(network) -> None:
    for measure in (hessian_trace, spectral_density):
        with pytest.raises(ValueError, match="two probes or more, got 1: their spread"):
            measure(network, probes=1)
    with pytest.raises(ValueError, match="four iterations or more, got 3: half"):
        spectral_density(network, iterations=3)
