"""In two processes the first measures, the other waits, and nothing else changes."""

from __future__ import annotations

import json

import pytest
from experiment import Runs
from torch.testing import assert_close

pytestmark = pytest.mark.slow


def test_two_processes_train_as_without_the_monitor(runs: Runs) -> None:
    """Dropout, drop path and recomputation are on: every random number counts."""
    without, watched = (
        runs.ranks("data_parallel", name) for name in ("all", "watched")
    )
    for rank in range(2):
        assert_close(watched[rank]["weights"], without[0]["weights"], rtol=0, atol=0)
    folder = runs.folder / "work2" / "data_parallel" / "watched"
    (scalars,) = folder.glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    found = [record for record in records if "monitor/seconds" in record]
    # Of 4 iterations: before the first, the third, and after the last.
    assert [record["step"] for record in found] == [0, 3, 4]
    for name in ("activation_ratio/block_2", "accuracy/true_label"):
        assert f"monitor/{name}" in found[0]
