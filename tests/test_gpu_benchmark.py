"""benchmarks/gpu.py has to run the first time that somebody has a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from forked import ForkedScript

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.py"


def run(folder: Path, *options: str) -> dict:
    command = [SCRIPT, "--miniature", "--out", folder / "out.json", *options]
    done = ForkedScript(command, folder)
    said, _ = done.communicate()
    assert done.returncode == 0, said
    return json.loads((folder / "out.json").read_text())


@pytest.mark.slow
def test_every_part_is_measured_without_an_accelerator(tmp_path: Path) -> None:
    found = run(tmp_path)
    parts = [name for name, rows in found.items() if isinstance(rows, list)]
    assert parts == [
        "matrix_products", "steps", "waiting", "first_blocks", "validation", "loading",
        "detr", "checkpoint",
    ]  # fmt: skip
    rows = [row for part in parts for row in found[part]]
    assert not [row for row in rows if "failed" in row]
    arms = {(row["arm"], row["dropout"]) for row in found["steps"]}
    names = "transformers", "ours", "ours in the Runner", "ours, compiled"
    assert arms == {(name, dropout) for name in names for dropout in (0.1, 0.0)}
    assert all(row["share_of_peak"] > 0 for row in found["steps"])
    theirs, ours = found["waiting"]
    assert ours["numbers_read_a_step"] < theirs["numbers_read_a_step"]
    page = (tmp_path / "out.md").read_text()
    assert page.count("\n## ") == len(parts) and "| ours, compiled |" in page


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu

    yield gpu
    for name in ("gpu", "_gpu_runs", "_gpu_machine"):
        sys.modules.pop(name)


def test_what_fails_is_a_line_and_the_rest_goes_on(gpu, tmp_path: Path) -> None:
    import torch

    machine = gpu.Machine(gpu.MINIATURE, 1.0, tmp_path)
    rows: list = []

    def raises(error: Exception):
        def measure():
            raise error

        return measure

    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
    gpu.attempt(machine, rows, dict(arm="a"), raises(full))
    gpu.attempt(machine, rows, dict(arm="b"), raises(ValueError("one\ntwo")))
    gpu.attempt(machine, rows, dict(arm="c"), lambda: dict(ms=1.5))
    machine.ends = 0
    gpu.attempt(machine, rows, dict(arm="d"), lambda: dict(ms=1.5))
    assert rows == [
        dict(arm="a", failed="out of memory"),
        dict(arm="b", failed="ValueError: one"),
        dict(arm="c", ms=1.5),
        dict(arm="d", failed="left out: the time is over"),
    ]
    lines = gpu.table("steps", rows).splitlines()
    assert lines[4:] == [
        "| arm | failed | ms |",
        "| --- | --- | --- |",
        "| a | out of memory |  |",
        "| b | ValueError: one |  |",
        "| c |  | 1.5 |",
        "| d | left out: the time is over |  |",
    ]


def test_a_gpus_trace_gives_waits_and_idle_time(gpu, tmp_path: Path) -> None:
    def event(cat, name, ts, dur):
        return dict(ph="X", cat=cat, name=name, ts=ts, dur=dur)

    events = [
        event("kernel", "gemm", 0, 40),
        event("kernel", "gelu", 20, 30),  # of another stream: 0 to 50 is busy
        event("gpu_memcpy", "Memcpy HtoD", 70, 10),
        event("kernel", "gemm", 90, 10),
        event("cuda_runtime", "cudaStreamSynchronize", 0, 5),
        event("cuda_runtime", "cudaLaunchKernel", 0, 5),
        event("cpu_op", "aten::_local_scalar_dense", 0, 5),
        dict(ph="i", name="a mark without a duration"),
    ]
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps(dict(traceEvents=events)))
    assert gpu.read_trace(trace, 2) == dict(
        waits_a_step=0.5,
        numbers_read_a_step=0.5,
        idle_share=pytest.approx(0.3),
        kernels_a_step=1.5,
    )
