"""Two processes train what one process trains, and freezing needs no DDP option."""

from __future__ import annotations

import pytest
import torch
from experiment import BATCH, IMAGES, Runs, mean_losses
from torch.testing import assert_close

from lbbt_mm.datasets import IdxDataset, RandomLabelDataset

pytestmark = pytest.mark.slow

FROZEN = ["all", "first", "last", "none", "none+last", "norms", "early"]
FROZEN += ["lora", "lora-alone"]


def images_of(epoch: int, ranks: list[dict]) -> list[int]:
    steps = [step for rank in ranks for step in rank["steps"]]
    return sorted(i for s in steps if s["epoch"] == epoch for i, _ in s["labels"])


def test_two_processes_see_the_labels_of_one(runs: Runs) -> None:
    """Two worker processes load in each; the batch of a step holds the same images."""
    images = IdxDataset(
        data_root=str(runs.folder / "data"), classes="fashion_mnist", split="train"
    )
    expected = RandomLabelDataset(images, 10, ratio=1, seed=0).random_labels
    ranks, one = (
        runs.ranks("data_parallel", "exact"),
        runs.one("data_parallel", "exact"),
    )
    assert len(one["steps"]) == 8  # 2 epochs of 8 + 8 + 8 + 4 images
    for step, *parts in zip(
        one["steps"], *(rank["steps"] for rank in ranks), strict=True
    ):
        together = [pair for part in parts for pair in part["labels"]]
        assert sorted(together) == sorted(step["labels"])
        assert len(parts[0]["labels"]) == len(parts[1]["labels"])
        for index, label in together:
            assert label == expected[index]
    for epoch in range(2):
        assert images_of(epoch, ranks) == list(range(IMAGES))


def test_two_processes_compute_the_loss_of_one(runs: Runs) -> None:
    ranks, one = (
        runs.ranks("data_parallel", "exact"),
        runs.one("data_parallel", "exact"),
    )
    losses = [step["loss"] for step in one["steps"]]
    assert losses[-1] != pytest.approx(losses[0], rel=1e-2)  # it has learned
    assert mean_losses(ranks) == pytest.approx(losses, rel=1e-5)
    for rank in ranks:
        norms = [step["norm"] for step in rank["steps"]]
        assert norms == pytest.approx([s["norm"] for s in one["steps"]], rel=1e-4)
        assert_close(rank["weights"], one["weights"], rtol=1e-4, atol=1e-5)
    # What the log of two processes shows is the first one's half of the batch.
    assert ranks[0]["steps"][0]["loss"] != pytest.approx(losses[0], rel=1e-4)


def test_an_odd_number_of_images_repeats_one(runs: Runs) -> None:
    """And then, only then, the two are not the same experiment."""
    ranks, one = runs.ranks("data_parallel", "odd"), runs.one("data_parallel", "odd")
    assert images_of(0, [one]) == list(range(IMAGES - 1))
    seen = images_of(0, ranks)
    assert len(seen) == IMAGES and set(seen) == set(range(IMAGES - 1))
    losses = [step["loss"] for step in one["steps"]]
    whole_batches = IMAGES // BATCH
    expected = pytest.approx(losses[:whole_batches], rel=1e-5)
    assert mean_losses(ranks)[:whole_batches] == expected
    last = pytest.approx(losses[whole_batches], rel=1e-5)
    assert mean_losses(ranks)[whole_batches] != last


@pytest.mark.parametrize("name", FROZEN)
def test_freezing_needs_no_unused_parameters(runs: Runs, name: str) -> None:
    """DDP would stop in the second step if a trainable parameter got no gradient."""
    first, second = runs.ranks("data_parallel", name)
    assert len(first["steps"]) == 4
    start = runs.one("data_parallel", "exact")["trains"]  # every parameter there is
    trains = set(first["trains"])
    assert trains == set(second["trains"]) and "head.fc.weight" in trains
    assert (trains == set(start)) == (name == "all")
    assert_close(first["weights"], second["weights"], rtol=0, atol=0)


def test_frozen_weights_stay(runs: Runs) -> None:
    from lbbt_mm.language import open_checkpoint

    source = open_checkpoint(str(runs.folder / "data_parallel"))
    trained = {"first": {0}, "last": {2}, "none": set(), "none+last": {2}, "early": {0}}
    for name, blocks in trained.items():
        weights = runs.ranks("data_parallel", name)[1]["weights"]
        for index in range(3):
            stored = source.block(index)["qkv.weight"]
            found = weights[f"backbone.language.blocks.{index}.qkv.weight"]
            assert torch.equal(stored, found) == (index not in blocks), name


def test_transformers_own_layers_train_alike(runs: Runs) -> None:
    ranks, one = (
        runs.ranks("data_parallel", "fallback"),
        runs.one("data_parallel", "fallback"),
    )
    losses = [step["loss"] for step in one["steps"]]
    assert mean_losses(ranks) == pytest.approx(losses, rel=1e-5)
    for rank in ranks:
        assert_close(rank["weights"], one["weights"], rtol=1e-4, atol=1e-5)
        assert any(".layer.self_attn." in name for name in rank["trains"])
