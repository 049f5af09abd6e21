"""Shared fixtures; no test may use the network or a fixed path."""

from __future__ import annotations

import os
import struct
from pathlib import Path

# Before torch is imported: two busy OpenMP pools on two cores slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def write_idx_images():
    """Write random 28x28 images of ten classes as the four idx files of MNIST."""

    def write(folder: Path, count: int) -> None:
        images = np.random.RandomState(0).randint(0, 256, (count, 28, 28), np.uint8)
        for split in ("train", "t10k"):
            header = struct.pack(">IIII", 0x803, count, 28, 28)
            path = folder / f"{split}-images-idx3-ubyte"
            path.write_bytes(header + images.tobytes())
            labels = struct.pack(">II", 0x801, count)
            labels += bytes(i % 10 for i in range(count))
            (folder / f"{split}-labels-idx1-ubyte").write_bytes(labels)

    return write


@pytest.fixture(autouse=True)
def _leave_no_instances():
    """Tests that build runners must not change those of later tests.

    Neither the default scope nor the logger: mmengine names it by the second, so that
    a quick test would get the one, and the log file, of the test before.
    """
    yield
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    for kind in (DefaultScope, MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()


def pytest_terminal_summary(terminalreporter) -> None:
    """Say why a skip fails the run."""
    if terminalreporter.stats.get("skipped"):
        terminalreporter.write_line(
            "A skipped test is a failure here: the environment must hold everything "
            "that the suite needs (bash tools/run_tests.sh installs it)."
        )


def pytest_sessionfinish(session, exitstatus) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = 1
