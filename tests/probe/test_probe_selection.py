"""The learning rate of the probe: what is held out, what is chosen, what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from lbbt_mm.probe import selection as probe_selection
from lbbt_mm.probe.linear_probe import linear_probe
from lbbt_mm.probe.selection import (
    LearningRateSelection,
    hold_out,
    select_learning_rate,
)

GRID = [1e-5, 1e-2, 100.0]  # too timid, right, wild


def noisy_data(images: int = 400, seed: int = 1):
    """Four classes that a linear layer finds, under noise it can learn by heart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % 4
    features = torch.randn(images, 60, generator=generator)
    features[:, :4] += 2 * torch.eye(4)[labels]
    return features, labels


def test_a_share_of_each_class_is_held_out():
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 4 + [3] * 2 + [4])
    labels = labels[torch.randperm(len(labels))]
    kept, held = hold_out(labels, 0.1, seed=0)
    assert torch.cat([kept, held]).sort().values.tolist() == list(range(77))
    # A tenth, at least one, and never the only image of a class.
    assert labels[held].bincount(minlength=5).tolist() == [5, 2, 1, 1, 0]
    kept, held = hold_out(labels, 0.99, seed=0)
    assert labels[kept].bincount().tolist() == [1, 1, 1, 1, 1]


def test_the_seed_draws_the_images():
    _, labels = noisy_data()
    state = torch.get_rng_state()
    drawn = [hold_out(labels, 0.1, seed)[1].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_chosen_is_best_on_held_out_images():
    """Each accuracy is that of an ordinary probe which is tested on them."""
    x, y = noisy_data()
    settings = dict(epochs=20, batch_size=32, seed=3)
    found = select_learning_rate(x, y, 4, GRID, held_out=0.2, **settings)
    kept, held = hold_out(y, 0.2, seed=3)
    expected = [
        linear_probe(x[kept], y[kept], x[held], y[held], 4, lr=lr, **settings)
        for lr in GRID[:2]
    ]
    assert found.held_out_top1[:2] == pytest.approx(
        [probe.last_test_top1 for probe in expected]
    )
    assert (found.held_out_images, found.train_images) == (80, 320)
    assert found.chosen == 1e-2 and not found.at_edge
    assert found.held_out_top1[1] > max(found.held_out_top1[::2]) + 5


def test_held_out_images_are_not_in_the_statistics():
    x, y = noisy_data()
    settings = dict(epochs=2, seed=3)
    found = select_learning_rate(x, y, 4, GRID, **settings)
    _, held = hold_out(y, 0.1, seed=3)
    x[held[0]] = 1e6
    outlier = select_learning_rate(x, y, 4, GRID, **settings)
    change = torch.tensor(outlier.held_out_top1) - torch.tensor(found.held_out_top1)
    assert change.abs().max() <= 2.5 + 1e-5  # that image itself: one of forty


def test_the_better_loss_decides_between_equal_accuracies():
    found = LearningRateSelection([1, 2, 3, 4], [50, 90, 90, 60], [4, 3, 2, 1], 10, 90)
    assert found.chosen == 3 and not found.at_edge
    for top1, chosen in (([9, 8, 8, 8], 1), ([8, 8, 8, 9], 4)):
        found = LearningRateSelection([1, 2, 3, 4], top1, [1, 1, 1, 1], 10, 90)
        assert found.chosen == chosen and found.at_edge


def test_the_grid_is_sorted_and_each_rate_counted_once():
    x, y = noisy_data(40)
    found = select_learning_rate(x, y, 4, [1.0, 1e-3, 1.0, 0.1], epochs=1)
    assert found.lrs == [1e-3, 0.1, 1.0]
    assert len(found.held_out_top1) == len(found.held_out_loss) == 3


def test_few_labels():
    x, y = noisy_data(100)
    y = y.clone()
    y[:8] = torch.arange(4, 12)  # eight classes of one image, which is trained on
    found = select_learning_rate(x, y, 12, GRID, epochs=2)
    assert found.held_out_images == 8 and found.train_images == 92


def test_one_image_a_class_is_refused():
    with pytest.raises(ValueError, match="got 4 classes of one image: give the learn"):
        select_learning_rate(torch.randn(4, 3), torch.arange(4), 4, GRID)


def test_inputs_are_left_alone_and_every_epoch_is_heard():
    x, y = noisy_data(40)
    copies, heard = (x.clone(), y.clone()), []
    select_learning_rate(x, y, 4, GRID, epochs=3, on_epoch=heard.append)
    assert heard == [1, 2, 3]
    assert torch.equal(x, copies[0]) and torch.equal(y, copies[1])


def test_one_training_for_all_rates(monkeypatch):
    trainings = []
    original = probe_selection.train_epochs
    monkeypatch.setattr(
        probe_selection,
        "train_epochs",
        lambda *a: (trainings.append(1), original(*a))[1],
    )
    select_learning_rate(*noisy_data(40), 4, GRID, epochs=1)
    assert len(trainings) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(lrs=[0.1]), "expects two or more of them, all above 0, got 0.1"),
        (dict(lrs=[0.1, 0.1]), "two or more"),
        (dict(lrs=[]), "got none"),
        (dict(lrs=[0.1, -1]), "all above 0, got 0.1, -1"),
        (dict(lrs=[0.1, math.nan]), "all above 0, got 0.1, nan"),
        (dict(lrs=[0.1, math.inf]), "all above 0"),
        (dict(held_out=0.0), "held_out: expected a share between 0 and 1, got 0.0"),
        (dict(held_out=1.0), "held_out: expected a share"),
        (dict(held_out=math.nan), "held_out: expected a share"),
        (dict(epochs=0), "Expected epochs, batch_size and lr above 0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        select_learning_rate(*noisy_data(40), 4, **{"lrs": GRID, **options})


def test_bad_features_are_refused():
    x, y = noisy_data(40)
    x[3, 3] = math.nan
    with pytest.raises(ValueError, match="1 of 40 train images"):
        select_learning_rate(x, y, 4, GRID)
    with pytest.raises(ValueError, match="at least two classes"):
        select_learning_rate(torch.randn(9, 2), torch.ones(9, dtype=torch.int64), 4)
