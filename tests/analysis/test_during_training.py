"""The cheap counts are the counts of the thorough functions, not estimates."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lbbt_mm.analysis import during_training as watch
from lbbt_mm.analysis import (
    measure_alignment,
    patch_covariance,
    weight_covariance,
    weight_statistics,
)
from lbbt_mm.analysis.during_training import AlignmentWatch, count_outliers


def tensors() -> dict[str, torch.Tensor]:
    heavy = torch.distributions.StudentT(3.0)
    some = {
        "h.0.attn.weight": heavy.sample((60, 50)) * 0.3,
        "h.0.mlp.weight": torch.randn(40, 30, dtype=torch.float64) - 0.5,
        "h.1.mlp.weight": (heavy.sample((50, 70)) * 0.2).bfloat16(),
        "h.1.narrow.weight": 1 + 1e-6 * heavy.sample((30, 30)).double(),
        "h.1.constant.weight": torch.full((4, 4), 1.5),
        # Only just above and below the threshold, and on it.
        "wte.weight": torch.tensor([[1.0, 0.1, 1 + 2e-7, -1 - 2e-7, 1 - 1e-7, 0.1]]),
        "norm.weight": torch.full((9,), 5.0),  # no matrix: not counted
    }
    return some


@pytest.mark.parametrize("threshold", [1.0, 0.1, 0.7])  # 0.1 is no float32
@pytest.mark.parametrize(("sigmas", "chunk"), [(2.0, 100), (6.0, 1 << 22)])
def test_counts_are_exact(monkeypatch, threshold, sigmas, chunk) -> None:
    monkeypatch.setattr(watch, "_CHUNK", chunk)
    weights = tensors()
    fast = count_outliers(weights.items(), threshold, sigmas)
    slow = weight_statistics(weights.items(), threshold=threshold, sigmas=sigmas)
    assert fast.total.above > 0 and fast.total.above_sigmas > 0
    groups = {"total": (fast.total, slow.total)}
    assert list(fast.by_block) == list(slow.by_block) == ["h.0", "h.1"]
    for name, one in fast.by_block.items():
        groups[name] = (one, slow.by_block[name])
    for name, (found, expected) in groups.items():
        counts = expected.count, expected.above, expected.above_sigmas
        assert tuple(found) == counts, name
        assert found.share_above_sigmas == expected.share_above_sigmas


def test_a_limit_between_two_floats() -> None:
    """torch would round 0.1 up to the weight itself and so miss it."""
    weight = torch.tensor([[0.1, -0.1], [0.0, 0.0]])
    assert weight.double().abs().max() > 0.1
    assert not (weight > 0.1).any()
    assert count_outliers([("a", weight)], threshold=0.1).total.above == 2


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite(bad) -> None:
    weight = torch.randn(5, 4)
    weight[3, 1] = bad
    with pytest.raises(ValueError, match="nan or infinity in h.0.up.weight"):
        count_outliers([("h.0.up.weight", weight)])


def test_nothing_to_count() -> None:
    with pytest.raises(ValueError, match="got none to measure"):
        count_outliers(nn.LayerNorm(3))


def test_alignment_is_the_same() -> None:
    images = [torch.randn(4, 2, 9, 8).cumsum(2) for _ in range(2)]
    before, after = nn.Conv2d(2, 20, 3, stride=3), nn.Conv2d(2, 20, 3, stride=3)
    measured = AlignmentWatch(images, before, ks=(1, 4, 16, 99))
    for embedding in (before, after):
        expected = measure_alignment(
            patch_covariance(images, embedding),
            weight_covariance(embedding.weight),
            ks=(1, 4, 16),
        ).data
        found = measured(embedding)
        assert found.leading == pytest.approx(expected.leading, rel=1e-9)
        assert found.off_diagonal == pytest.approx(expected.off_diagonal, rel=1e-9)
        assert_close(found.curve, expected.curve, rtol=1e-9, atol=0)


def test_too_few_patches_for_an_alignment() -> None:
    with pytest.raises(ValueError, match=r"at least 18 patches.*got 9: give more"):
        AlignmentWatch([torch.randn(1, 2, 9, 9)], nn.Conv2d(2, 20, 3, stride=3))
