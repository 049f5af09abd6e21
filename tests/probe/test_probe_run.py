"""A probe's run: the lines while it goes, its table and its record."""

from __future__ import annotations

import json

import pytest
import torch

from lbbt_mm.probe.features import Features
from lbbt_mm.probe.linear_probe import linear_probe
from lbbt_mm.probe.run import ProbeSettings, run_probe
from lbbt_mm.probe.setup import ProbeData


@pytest.fixture(scope="module")
def data() -> ProbeData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 5, generator=generator)
    features[:, :3] += 2 * torch.eye(3)[labels]
    train = Features(features[:40], labels[:40])
    test = Features(features[40:], labels[40:])
    return ProbeData(train, test, 3, "abc", dict(train=True), dict(train=1.0, test=2.0))


def test_a_given_learning_rate(data) -> None:
    said: list[str] = []
    settings = ProbeSettings(epochs=20, batch_size=8, lr=1e-2, seed=3)
    run = run_probe(data, settings, say=said.append)
    train, test = data.train, data.test
    expected = linear_probe(
        *(train.features, train.labels, test.features, test.labels, 3),
        **dict(epochs=20, batch_size=8, lr=1e-2, seed=3),
    )
    assert run.result == expected and run.selection is None
    assert run.settings == settings
    assert len(said) == 10 and said[0].startswith("epoch    2/20: train ")
    lines = run.table("epoch_6.pth").splitlines()
    assert lines[0] == (
        "Linear probe of epoch_6.pth: 40 training and 20 test images, 5 channels, "
        "3 classes"
    )
    found = {line[:24].strip(): line[24:].split() for line in lines[3:]}
    last = [f"{expected.last_train_top1:.2f}", f"{expected.last_test_top1:.2f}"]
    assert found["last epoch (20)"] == last
    best = found[f"best epoch ({expected.best_epoch})"]
    assert best[0] == f"{expected.best_test_top1:.2f}"
    assert found["chance"] == ["33.33"]


def test_a_chosen_learning_rate_and_the_record(data) -> None:
    said: list[str] = []
    settings = ProbeSettings(epochs=5, weight_decay=0.1, standardize=False)
    run = run_probe(data, settings, [1e-6, 1e-1], 0.25, say=said.append)
    assert run.selection and run.settings.lr == run.selection.chosen == 1e-1
    assert "0.1 is at the edge of the grid" in "".join(said)
    assert "learning rate 0.1 of 2, chosen on held-out" in run.table("x")
    record = json.loads(json.dumps(run.record(config="c.py", model_seed=7)))
    assert record["probe"] == dict(
        optimizer="AdamW",
        schedule="cosine to 0",
        epochs=5,
        batch_size=128,
        lr=1e-1,
        weight_decay=0.1,
        standardize=False,
    )
    sweep = record["lr_sweep"]
    assert sweep["chosen"] == 1e-1 and sweep["at_edge"]
    assert sweep["images"] == dict(train=30, held_out=10)
    assert (record["config"], record["model_seed"], record["seed"]) == ("c.py", 7, 0)
    assert record["images"] == dict(train=40, test=20)
    assert record["seconds"].keys() == {
        *("train_features", "test_features", "lr_sweep", "probing")
    }
    assert record["last_test_top1"] == record["test_top1"][-1]
