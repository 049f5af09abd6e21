"""Language blocks in a detector and a segmenter, on two processes as on one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TASKS = ["segmenter", "detr"]


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.append(str(HERE.parent / "hooks"))
    import vision_runs

    folder = tmp_path_factory.mktemp("dense")
    bert = vision_runs.save_bert(folder / "bert")
    paths = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        + ["--nproc_per_node=2", str(HERE / "dense_worker.py"), str(folder), bert],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths))),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_is_that_of_one_process(launch: Path, task: str) -> None:
    one, first, second = (
        json.loads((launch / f"losses_{who}.json").read_text())[task]
        for who in ("one", "0", "1")
    )
    assert len(one) == 3
    both = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    assert both == pytest.approx(one, rel=1e-4)
    assert first != pytest.approx(second, rel=1e-4), "each has images of its own"


@pytest.mark.parametrize("task", TASKS)
def test_the_processes_hold_the_same_bits(launch: Path, task: str) -> None:
    log = next((launch / f"{task}2").glob("*/*.log")).read_text()
    found = re.search(r"filled parameters, by process: 0: (\w+), 1: (\w+)", log)
    assert found and found[1] == found[2]
    both, one = (
        json.loads((launch / f"{task}{n}" / "language_init.json").read_text())
        for n in (2, 1)
    )
    assert both == one
