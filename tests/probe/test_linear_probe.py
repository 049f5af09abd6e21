"""The linear probe against a plain PyTorch training loop, and its refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lbbt_mm.probe.linear_probe import LinearProbeResult, linear_probe


def toy_data(images=60, channels=6, classes=3):
    """Noisy, linearly related features and labels."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, channels, generator=generator)
    truth = torch.randn(channels, classes, generator=generator)
    noise = torch.randn(images, classes, generator=generator)
    return features, (features @ truth + noise).argmax(1)


def split(features, labels, train=40):
    return features[:train], labels[:train], features[train:], labels[train:]


def plain_probe(train_x, train_y, test_x, test_y, epochs, batch_size, lr, decay, seed):
    """The same training, written with torch's own modules and nothing of ours."""
    mean, std = train_x.mean(0), train_x.std(0, correction=0)
    train_x, test_x = (train_x - mean) / std, (test_x - mean) / std
    layer = nn.Linear(train_x.shape[1], 3)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(
        [
            dict(params=[layer.weight], weight_decay=decay),
            dict(params=[layer.bias], weight_decay=0),
        ],
        lr=lr,
    )
    steps = epochs * math.ceil(len(train_x) / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    curves = [], []
    for _ in range(epochs):
        right = 0
        for index in torch.randperm(len(train_x), generator=generator).split(
            batch_size
        ):
            scores = layer(train_x[index])
            right += (scores.argmax(1) == train_y[index]).sum().item()
            optimizer.zero_grad()
            nn.functional.cross_entropy(scores, train_y[index]).backward()
            optimizer.step()
            schedule.step()
        curves[0].append(100 * right / len(train_x))
        accuracy = (layer(test_x).argmax(1) == test_y).float().mean().item()
        curves[1].append(100 * accuracy)
    return curves


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_equals_a_plain_training_loop(decay):
    data = split(*toy_data())
    settings = dict(epochs=8, batch_size=16, lr=0.05, seed=3)
    result = linear_probe(*data, 3, weight_decay=decay, **settings)
    train_top1, test_top1 = plain_probe(*data, decay=decay, **settings)
    assert result.train_top1 == pytest.approx(train_top1)
    assert result.test_top1 == pytest.approx(test_top1)
    assert len(set(train_top1)) > 2  # the curve moves, so equality means something


def test_separable_classes_are_separated():
    labels = torch.arange(60) % 3
    generator = torch.Generator().manual_seed(0)
    features = torch.eye(3)[labels] + 0.01 * torch.randn(60, 3, generator=generator)
    result = linear_probe(*split(features, labels), 3, epochs=20, lr=0.05)
    assert result.last_train_top1 == result.last_test_top1 == 100


def test_enormous_channels_do_not_drown_the_others():
    features, labels = toy_data(images=400)
    features[:, 0] = features[:, 0] * 1e3 + 5e4  # as in a language model
    data = split(features, labels, 300)
    with_it, without = (
        linear_probe(*data, 3, epochs=20, standardize=choice).last_test_top1
        for choice in (True, False)
    )
    assert with_it > without + 10


def test_statistics_are_those_of_the_training_images():
    train_x, train_y, test_x, test_y = split(*toy_data())
    alone = linear_probe(train_x, train_y, test_x, test_y, 3, epochs=3)
    more_x = torch.cat([test_x, 1e6 * torch.ones(1, 6)])
    more_y = torch.cat([test_y, torch.zeros(1, dtype=torch.int64)])
    with_outlier = linear_probe(train_x, train_y, more_x, more_y, 3, epochs=3)
    assert with_outlier.train_top1 == alone.train_top1


def test_constant_channels_are_harmless():
    features, labels = toy_data()
    expected = linear_probe(*split(features, labels), 3, epochs=5)
    # Constant up to float32 rounding: scaled to unit size it would be pure noise.
    generator = torch.Generator().manual_seed(1)
    dead = 1e4 + 1e-3 * torch.randn(60, 2, generator=generator)
    dead[:, 1] = 7.0
    result = linear_probe(*split(torch.cat([features, dead], 1), labels), 3, epochs=5)
    assert result.train_top1 == pytest.approx(expected.train_top1)
    assert result.test_top1 == pytest.approx(expected.test_top1)


def test_same_seed_same_curves_and_inputs_are_left_alone():
    data = split(*toy_data())
    copies = [tensor.clone() for tensor in data]
    settings = dict(epochs=3, batch_size=8)
    first = linear_probe(*data, 3, seed=1, **settings)
    assert linear_probe(*data, 3, seed=1, **settings) == first
    assert linear_probe(*data, 3, seed=2, **settings) != first
    for tensor, copy in zip(data, copies, strict=True):
        torch.testing.assert_close(tensor, copy, rtol=0, atol=0)


def test_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    linear_probe(*split(*toy_data()), 3, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_on_epoch_hears_every_epoch():
    heard = []
    result = linear_probe(
        *split(*toy_data()), 3, epochs=3, on_epoch=lambda *a: heard.append(a)
    )
    assert heard == list(
        zip([1, 2, 3], result.train_top1, result.test_top1, strict=True)
    )


def test_result_names():
    result = LinearProbeResult([1.0, 2.0, 3.0], [5.0, 7.0, 7.0], 10.0, 12.0)
    assert (result.last_train_top1, result.last_test_top1) == (3, 7)
    assert (result.best_test_top1, result.best_epoch) == (7, 2)


def test_majority_is_the_commonest_training_class():
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    train_y, test_y = torch.tensor([1, 1, 0]), torch.tensor([0, 0, 1])
    result = linear_probe(x[:3], train_y, x[3:], test_y, 4, epochs=1)
    assert result.majority == pytest.approx(100 / 3)
    assert result.chance == 25


def replaced(position, value):
    data = list(split(*toy_data()))
    data[position] = value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (replaced(0, torch.randn(39, 6)), r"train features \(N, C\) and labels"),
        (replaced(3, torch.zeros(20, 2)), r"test features \(N, C\) and labels"),
        (replaced(0, torch.randn(40)), r"got \(40,\)"),
        (replaced(2, torch.randn(20, 5)), "same width, got 6 and 5 channels"),
        (replaced(1, torch.full((40,), 2)), "at least two classes, got only class 2"),
        (replaced(1, torch.arange(40)), r"train labels in \[0, 3\), got 0 to 39"),
        (replaced(3, torch.full((20,), -1)), r"test labels in \[0, 3\), got -1"),
        (replaced(0, torch.full((40, 6), math.nan)), "40 of 40 train images .* NaN"),
        (replaced(2, torch.full((20, 6), math.inf)), "20 of 20 test images"),
        (replaced(2, torch.empty(0, 6)), "test features"),
    ],
)
def test_bad_data_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        linear_probe(*data, 3, epochs=1)


@pytest.mark.parametrize(
    "bad",
    [
        dict(epochs=0),
        dict(batch_size=0),
        dict(lr=0),
        dict(lr=math.nan),
        dict(weight_decay=-1),
        dict(weight_decay=math.nan),
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="Expected epochs, batch_size and lr above 0"):
        linear_probe(*split(*toy_data()), 3, **bad)


def test_a_learning_rate_that_is_too_large_is_said():
    with pytest.raises(ValueError, match="became NaN or infinite with lr=1e.38"):
        linear_probe(*split(*toy_data()), num_classes=3, epochs=3, lr=1e38)
