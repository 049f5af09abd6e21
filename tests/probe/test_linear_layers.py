"""Layers trained side by side against torch's own modules, one after the other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lbbt_mm.probe.linear_layers import LinearLayers, evaluate, train_epochs

LRS, DECAY, EPOCHS, BATCH = [1e-3, 0.03, 0.4], 0.3, 4, 16


def toy_data(images: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    features = 3 + 2 * torch.randn(images, 6, generator=generator)
    return features, torch.randint(4, (images,), generator=generator)


def plain_layer(x, y, lr):
    """nn.Linear, autograd, torch's AdamW and torch's cosine."""
    layer = nn.Linear(6, 4)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    groups = [
        dict(params=[layer.weight], weight_decay=DECAY),
        dict(params=[layer.bias], weight_decay=0),
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    steps = EPOCHS * math.ceil(len(x) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(5)
    running = []
    for _ in range(EPOCHS):
        hits = 0
        for index in torch.randperm(len(x), generator=generator).split(BATCH):
            scores = layer(x[index])
            hits += (scores.argmax(1) == y[index]).sum().item()
            optimizer.zero_grad()
            nn.functional.cross_entropy(scores, y[index]).backward()
            optimizer.step()
            schedule.step()
        running.append(100 * hits / len(x))
    return layer, running


def test_each_layer_is_what_torch_makes_of_its_learning_rate():
    x, y = toy_data(41)  # the last batch of an epoch is smaller
    test_x, test_y = toy_data(30, seed=1)
    layers = LinearLayers(x, LRS, 4, DECAY, standardize=True)
    running = list(train_epochs(layers, x, y, EPOCHS, BATCH, seed=5))
    top1, loss = evaluate(layers, test_x, test_y)
    mean, std = x.mean(0), x.std(0, correction=0)
    for i, lr in enumerate(LRS):
        layer, expected = plain_layer((x - mean) / std, y, lr)
        assert [epoch[i] for epoch in running] == pytest.approx(expected)
        assert_close(layers.params_RKD[i, :, :-1], layer.weight, rtol=1e-4, atol=1e-6)
        assert_close(layers.params_RKD[i, :, -1], layer.bias, rtol=1e-4, atol=1e-6)
        scores = layer((test_x - mean) / std)
        assert loss[i] == pytest.approx(
            nn.functional.cross_entropy(scores, test_y).item(), rel=1e-4
        )
        assert top1[i] == pytest.approx(
            100 * (scores.argmax(1) == test_y).float().mean().item()
        )
    assert len({tuple(layer.flatten().tolist()) for layer in layers.params_RKD}) == 3


def test_standardising_is_a_choice():
    x, y = toy_data(20)
    layers = LinearLayers(x, LRS, 4, DECAY, standardize=False)
    list(train_epochs(layers, x, y, EPOCHS, BATCH, seed=5))
    layer, _ = plain_layer(x, y, LRS[1])
    assert_close(layers.params_RKD[1, :, :-1], layer.weight, rtol=1e-4, atol=1e-6)


def test_evaluating_in_parts_changes_nothing():
    x, y = toy_data(20)
    layers = LinearLayers(x, LRS, 4, DECAY, standardize=True)
    list(train_epochs(layers, x, y, 1, BATCH, seed=5))
    once = evaluate(layers, x, y)
    often = evaluate(layers, x.repeat(300, 1), y.repeat(300))  # more than one part
    assert_close(torch.tensor(often), torch.tensor(once))


def test_a_layer_that_diverged_is_right_in_nothing():
    x, y = toy_data(40)
    layers = LinearLayers(x, LRS, 4, DECAY, True)
    layers.params_RKD[1, :, 0] = torch.nan
    assert layers.step(x, torch.zeros_like(y), 1.0)[1] == 0
    top1, loss = evaluate(layers, x, torch.zeros_like(y))
    assert top1[1] == 0 and math.isnan(loss[1]) and top1[0] > 0
