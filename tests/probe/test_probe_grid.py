"""The grid of table 3: every point is an ordinary probe."""

from __future__ import annotations

import pytest
import torch

from lbbt_mm.probe.grid import probe_grid
from lbbt_mm.probe.linear_probe import linear_probe


def noisy_data(images: int = 240):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(images) % 3
    features = torch.randn(images, 40, generator=generator)
    features[:, :3] += 1.5 * torch.eye(3)[labels]
    return (
        features[: images // 2],
        labels[: images // 2],
        features[images // 2 :],
        (labels[images // 2 :]),
    )


def test_every_point_is_an_ordinary_probe():
    data, settings = noisy_data(), dict(epochs=15, batch_size=32, seed=3)
    lrs, decays = [1e-3, 3e-2], [0.0, 0.5, 5.0]
    found = probe_grid(*data, 3, lrs=lrs, weight_decays=decays, **settings)
    for row, lr in enumerate(lrs):
        for column, decay in enumerate(decays):
            probe = linear_probe(*data, 3, lr=lr, weight_decay=decay, **settings)
            assert found.test_top1[row][column] == pytest.approx(probe.last_test_top1)
            assert found.train_top1[row][column] == pytest.approx(probe.last_train_top1)
    different = {round(value, 6) for row in found.test_top1 for value in row}
    assert len(different) > 2  # the grid does matter on these data


def test_a_grid_without_points_or_with_one_class_is_refused():
    x, y, test_x, test_y = noisy_data()
    with pytest.raises(ValueError, match="one or more learning rates"):
        probe_grid(x, y, test_x, test_y, 3, lrs=[])
    with pytest.raises(ValueError, match="at least two classes"):
        probe_grid(x, torch.zeros_like(y), test_x, test_y, 3)
    with pytest.raises(ValueError, match="weight_decay at least 0"):
        probe_grid(x, y, test_x, test_y, 3, weight_decays=[0.1, -1.0])
