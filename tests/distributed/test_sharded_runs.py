"""mmengine's FSDP strategy, as the sharded configs use it, on CPU in two processes."""

from __future__ import annotations

import pytest
import torch
from experiment import Runs, mean_losses
from torch.testing import assert_close

from lbbt_mm.language import open_checkpoint
from lbbt_mm.language.fallback_checkpoint import open_fallback
from lbbt_mm.language.storage import load_pickle

pytestmark = pytest.mark.slow

RECORD = "backbone.language._extra_state"


@pytest.mark.parametrize("name", ["exact", "partial", "scratch"])
def test_shards_compute_the_loss_of_one_process(runs: Runs, name: str) -> None:
    """And the norm that clips is the whole gradient's, not a shard's."""
    ranks, one = runs.ranks("sharded", name), runs.one("sharded", name)
    losses = [step["loss"] for step in one["steps"]]
    assert len(losses) == 8
    assert mean_losses(ranks) == pytest.approx(losses, rel=1e-5)
    norms = [step["norm"] for step in one["steps"]]
    for rank in ranks:
        found = [step["norm"] for step in rank["steps"]]
        assert found == pytest.approx(norms, rel=1e-4)
    assert all(norm > 1 for norm in norms)  # max_norm: they were clipped


@pytest.mark.parametrize("name", ["exact", "partial", "scratch"])
def test_the_first_process_gathers_all_weights(runs: Runs, name: str) -> None:
    (first, second), one = runs.ranks("sharded", name), runs.one("sharded", name)
    assert_close(first["weights"], one["weights"], rtol=1e-4, atol=1e-5)
    assert set(second["weights"]) == {RECORD}
    assert set(first["trains"]) == set(one["trains"])


def test_no_process_holds_or_reads_what_it_need_not(runs: Runs) -> None:
    ranks, one = runs.ranks("sharded", "exact"), runs.one("sharded", "exact")
    # Half each; units are padded to equal shards.
    held = [rank["held"] for rank in ranks]
    assert sum(held) == one["held"] and max(held) < 0.55 * one["held"]
    assert [rank["opened"] for rank in ranks] == [1, 0]
    for rank in ranks:
        # Three blocks and the root, each block recomputed inside its unit.
        assert rank["modules"].count("FullyShardedDataParallel") == 3
        assert rank["modules"].count("MMFullyShardedDataParallel") == 1
        assert rank["modules"].count("CheckpointWrapper") == 3


def test_partial_training_keeps_its_norms_and_frozen_weights(runs: Runs) -> None:
    """``train()`` freezes again, now inside the wrappers."""
    trains = runs.ranks("sharded", "partial")[0]["trains"]
    blocks = "backbone.language.blocks"
    assert f"{blocks}.0.qkv.weight" in trains and f"{blocks}.1.qkv.weight" not in trains
    norms = {f"{blocks}.{index}.{n}_norm.weight" for index in (1, 2) for n in "qk"}
    assert norms <= set(trains)
    weights = runs.ranks("sharded", "partial")[0]["weights"]
    source = open_checkpoint(str(runs.folder / "sharded"))
    for index, frozen in ((0, False), (1, True), (2, True)):
        found = weights[f"{blocks}.{index}.qkv.weight"]
        assert torch.equal(found, source.block(index)["qkv.weight"]) == frozen
        found = weights[f"{blocks}.{index}.ffn_norm.weight"]
        assert not torch.equal(found, source.block(index)["ffn_norm.weight"])


def test_resuming_goes_on_as_if_nothing_had_happened(runs: Runs) -> None:
    ranks, again = runs.ranks("sharded", "exact"), runs.ranks("sharded", "resumed")
    for rank, resumed in zip(ranks, again, strict=True):
        assert resumed["steps"] == rank["steps"][4:]
    assert_close(again[0]["weights"], ranks[0]["weights"], rtol=0, atol=0)


def test_a_sharded_checkpoint_is_one_file_like_any_other(runs: Runs) -> None:
    folder = runs.folder / "work2" / "sharded" / "exact"
    assert {p.name for p in folder.glob("*.pth*")} == {"epoch_1.pth", "epoch_2.pth"}
    path = folder / "epoch_2.pth"
    state = load_pickle(path)["state_dict"]
    weights = runs.ranks("sharded", "exact")[0]["weights"]
    assert_close(dict(state), weights, rtol=0, atol=0)
    opened = open_checkpoint(str(path))
    assert opened.record["origin"]["source"] == str(runs.folder / "sharded")
    found = opened.block(2)["down.weight"]
    assert_close(found, weights["backbone.language.blocks.2.down.weight"])


def test_bfloat16_as_shipped_stays_near(runs: Runs) -> None:
    """Gathered weights are rounded, and the loss with them; what is saved is not."""
    ranks = runs.ranks("sharded", "bf16")
    exact = mean_losses(runs.ranks("sharded", "exact"))
    assert mean_losses(ranks) == pytest.approx(exact, rel=0.05)
    assert mean_losses(ranks) != pytest.approx(exact, rel=1e-6)
    weights = ranks[0]["weights"]
    assert {v.dtype for v in weights.values()} == {torch.float32, torch.uint8}  # record


def test_transformers_own_layers_are_sharded_too(runs: Runs) -> None:
    ranks, one = runs.ranks("sharded", "fallback"), runs.one("sharded", "fallback")
    losses = [step["loss"] for step in one["steps"]]
    assert len(losses) == 8
    assert mean_losses(ranks) == pytest.approx(losses, rel=1e-5)
    for rank in ranks:
        norms = [step["norm"] for step in rank["steps"]]
        assert norms == pytest.approx([s["norm"] for s in one["steps"]], rel=1e-4)
        # A unit a block, and not the layer of transformers in it once more.
        assert rank["modules"].count("FullyShardedDataParallel") == 3
        assert rank["modules"].count("CheckpointWrapper") == 3
    held = [rank["held"] for rank in ranks]
    assert sum(held) == one["held"] and max(held) < 0.55 * one["held"]
    assert [rank["opened"] for rank in ranks] == [1, 0]
    assert_close(ranks[0]["weights"], one["weights"], rtol=1e-4, atol=1e-5)
    path = runs.folder / "work2" / "sharded" / "fallback" / "epoch_2.pth"
    opened = open_fallback(str(path))
    assert opened.record["origin"]["source"] == str(runs.folder / "fallback")
    bf16 = mean_losses(runs.ranks("sharded", "fallback_bf16"))  # with dropout
    assert bf16 == pytest.approx(losses, rel=0.2)
