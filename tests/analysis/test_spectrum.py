"""Numbers of a spectrum: by hand, and against all eigenvalues of a small network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_losses import mlp, quadratic
from torch.testing import assert_close

from lbbt_mm.analysis.curvature import (
    Eigenvalues,
    extreme_eigenvalues,
    spectral_density,
)
from lbbt_mm.analysis.scalar_loss import Estimate
from lbbt_mm.analysis.spectrum import (
    density_curve,
    eigenvalue_numbers,
    spectral_gap,
    summarise,
)


@pytest.fixture(scope="module")
def network():
    return mlp()


@pytest.fixture(scope="module")
def exact(network) -> np.ndarray:
    return torch.linalg.eigvalsh(network.exact).numpy()


def test_a_summary_worked_by_hand() -> None:
    found = summarise([1.0, -4.0, 0.5, 2.0], number=3)
    assert found.eigenvalues == (-4.0, 2.0, 1.0)
    # 7^2 / (3 * 21); one of three is negative
    assert found.participation_ratio == pytest.approx(49 / 63)
    assert found.negative_share == pytest.approx(1 / 3)
    # Any three equal weights: mean -1/3, deviations -11/3, 7/3, 4/3.
    fourth = (11**4 + 7**4 + 4**4) / 81 / 3
    variance = (11**2 + 7**2 + 4**2) / 9 / 3
    assert found.kurtosis == pytest.approx(fourth / variance**2 - 3)


def test_the_decay_rate_of_a_power() -> None:
    values = [(-1) ** i * 7 * i**-1.5 for i in range(1, 21)]
    assert summarise(values, number=20).decay_rate == pytest.approx(-1.5)
    assert math.isnan(summarise([1.0, 0.0], number=2).decay_rate)
    assert summarise([0.0, 0.0], number=2).participation_ratio is not None
    assert math.isnan(summarise([2.0, 2.0], number=2).kurtosis)


def test_one_outlier_among_twenty_has_the_papers_kurtosis() -> None:
    # n - 2 + 1 / (n - 1) - 3 for n = 20: 15.05; the paper reports 14.5.
    found = summarise([1e6] + [0.0] * 19, number=20)
    assert found.kurtosis == pytest.approx(18 + 1 / 19 - 3)
    assert found.participation_ratio == pytest.approx(1 / 20)


def test_the_gap_carries_both_errors(network, exact) -> None:
    eigenvalues = extreme_eigenvalues(network, k=2, iterations=12)
    gap = spectral_gap(eigenvalues)
    assert gap.error == eigenvalues.leading[0].error + eigenvalues.leading[1].error
    assert abs(gap.value - (exact[-1] - exact[-2])) <= gap.error
    assert (gap.iterations, gap.samples) == (12, 8)
    twice = spectral_gap(extreme_eigenvalues(network, k=2, iterations=24))
    assert abs(gap.value - twice.value) <= gap.error
    assert 0 < twice.error < gap.error


@pytest.mark.parametrize(("k", "iterations"), [(4, 16), (6, 24), (6, 40)])
@pytest.mark.parametrize("seed", range(2))
def test_numbers_of_the_largest_ones_are_within_their_error(
    network, exact, k, iterations, seed
) -> None:
    found = eigenvalue_numbers(extreme_eigenvalues(network, k, iterations, seed), k)
    longer = extreme_eigenvalues(network, k, 2 * iterations, seed)
    twice = eigenvalue_numbers(longer, k)
    true = summarise(exact.tolist(), k)._asdict()
    assert list(found) == list(true)[1:]
    for name, one in found.items():
        # to rounding, where nothing moved
        assert abs(one.value - true[name]) <= one.error + 1e-9
        assert abs(one.value - twice[name].value) <= one.error + 1e-9
        assert twice[name].error <= one.error
        assert one[2:] == (1, iterations, 8)


def test_errors_of_a_summary_by_hand() -> None:
    def one(value: float, error: float) -> Estimate:
        return Estimate(value, error, 1, 9, 5)

    # 2 and -1; the first may be off by 0.5
    ends = Eigenvalues((one(2.0, 0.5),), (one(-1.0, 0.0), one(0.1, 0.0)))
    found = eigenvalue_numbers(ends, number=2)
    # (2 + 1)^2 / (2 * 5), and 2.5^2 / (2 * 3.25) or 3.5^2 / (2 * 7.25)
    assert found["participation_ratio"].value == pytest.approx(0.9)
    assert found["participation_ratio"].error == pytest.approx(6.25 / 6.5 - 0.9)
    assert found["negative_share"].value == 0.5
    assert found["negative_share"].error == 0
    # log 2 over log 2, and log 1.5 over log 2
    assert found["decay_rate"].value == pytest.approx(-1)
    assert found["decay_rate"].error == pytest.approx(1 - math.log(1.5) / math.log(2))
    assert found["decay_rate"][2:] == (1, 9, 5)
    # with three eigenvalues 5, 4 and 1 both ends have the 4
    both = Eigenvalues((one(5.0, 0.0), one(4.0, 0.0)), (one(1.0, 0.0), one(4.0, 0.0)))
    three = eigenvalue_numbers(both, number=3)["participation_ratio"]
    assert three.value == pytest.approx(100 / (3 * 42))
    # one whose sign is not known
    ends = Eigenvalues((one(2.0, 0.0),), (one(-0.5, 0.6),))
    assert eigenvalue_numbers(ends, number=2)["negative_share"].error == 0.5
    # and three of which nothing is known: no further than to 1
    ends = Eigenvalues((one(2.0, 9.0), one(1.0, 9.0)), (one(1.5, 9.0),))
    assert eigenvalue_numbers(ends, number=2)["negative_share"].error == 1


def test_the_curve_of_two_eigenvalues() -> None:
    density = spectral_density(quadratic([-1.0, 3.0]), probes=2, iterations=4)
    grid = np.linspace(-3, 5, 801)
    curve = density_curve(density, grid, width=0.2)

    def bell(at: float) -> np.ndarray:
        return np.exp(-(((grid - at) / 0.2) ** 2) / 2) / (0.2 * math.sqrt(2 * math.pi))

    # half of the eigenvalues each: every vector of two signs weighs them equally
    assert_close(curve.values, 0.5 * bell(-1.0) + 0.5 * bell(3.0))
    assert curve.values.sum() * 0.01 == pytest.approx(1)
    assert_close(curve.errors, np.zeros(801), rtol=0, atol=1e-12)


def test_the_curve_of_a_network_integrates_to_one(network) -> None:
    density = spectral_density(network, probes=4, iterations=20)
    grid = np.linspace(-3, 6, 2000)
    curve = density_curve(density, grid, width=0.05)
    area = curve.values.sum() * (grid[1] - grid[0])
    assert area == pytest.approx(1, abs=1e-3)
    assert (curve.errors > 0).any()


def test_the_curve_is_within_its_errors(network, exact) -> None:
    probes = spectral_density(network, probes=16, iterations=20)
    start = probes._replace(probes=probes.probes[:8])
    longer = spectral_density(network, probes=8, iterations=40)
    # outside of the spectrum there is nothing whose spread could be seen
    grid = np.linspace(exact[0], exact[-1], 41)
    one, two, more = (density_curve(d, grid, 0.1) for d in (start, probes, longer))
    bells = np.exp(-(((grid[:, None] - exact) / 0.1) ** 2) / 2)
    true = bells.mean(axis=1) / (0.1 * math.sqrt(2 * math.pi))
    # two standard errors, neighbours on the grid alike: 0.9, 0.93 and 1 of them
    for values in (true, two.values, more.values):
        assert (abs(one.values - values) <= one.errors).mean() > 0.85
    assert (two.errors < one.errors).mean() > 0.8


# Bad input -------------------------------------------------------------------------


def test_bad_input_is_one_sentence(network) -> None:
    with pytest.raises(ValueError, match="two leading eigenvalues, got 1: ask for k=2"):
        spectral_gap(extreme_eigenvalues(network, k=1, iterations=8))
    with pytest.raises(
        ValueError, match=r"at least 3 finite eigenvalues, got \[1.0, 2"
    ):
        summarise([1.0, 2.0], number=3)
    with pytest.raises(ValueError, match="finite eigenvalues, got .*nan"):
        summarise([1.0, math.nan], number=2)
    density = spectral_density(network, probes=2, iterations=4)
    with pytest.raises(ValueError, match="a positive width to smooth with, got 0: 1 %"):
        density_curve(density, np.zeros(1), width=0)
