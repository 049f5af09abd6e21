"""Shared fixtures; no test may use the network or a fixed path."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import struct
import sys
from pathlib import Path

# Before torch is imported: two busy OpenMP pools on two cores slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import quick_logs  # noqa: E402
import torch  # noqa: E402
import torch.utils.data._utils  # noqa: E402

quick_logs.install(ahead=1)
# In a quarter of all cases torch waits that long for a worker whose batch failed: 5 s.
torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.5

# A small project, and tools/ and projects/ run in it or loaded into this process.
pytest_plugins = ["tool_project", "report_work_dir"]


# A shell ignores it in what it starts in the background, and tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


_modules = 0  # when garbage was collected last


def pytest_runtest_setup() -> None:
    """Take what libraries hold out of the collections that every data set asks for."""
    global _modules
    if len(sys.modules) > _modules + 100:
        gc.collect()
        gc.freeze()
        _modules = len(sys.modules)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut():
    """Files need not be on the disk: waiting for it takes seconds on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


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


@pytest.fixture(scope="session")
def toy_garments():
    """Bright ellipses and bars of ten classes, as the garments of both splits."""
    from fashion_scenes.scenes import Garments

    rng = np.random.RandomState(0)
    y, x = np.mgrid[:28, :28] - 13.5

    def draw(number: int) -> np.ndarray:
        a, b = rng.uniform(6, 14, 2)
        inside = (x / a) ** 2 + (y / b) ** 2 < 1 if number % 2 else abs(x) < a
        return inside * rng.randint(60, 256, (28, 28))

    return {
        split: Garments(
            np.array([draw(number) for number in range(30)], np.uint8),
            np.arange(30) % 10,
        )
        for split in ("train", "val")
    }


@pytest.fixture(scope="session")
def toy_scenes(toy_garments, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of toy garments on disk; tests only read it."""
    from fashion_scenes.files import Sizes, write_fashion_scenes
    from fashion_scenes.scenes import Recipe

    folder = tmp_path_factory.mktemp("scenes") / "fashion_scenes"
    sizes = Sizes(train=12, val=12, tiny_train=3, tiny_val=2)
    write_fashion_scenes(toy_garments, Recipe(empty=0.2, seed=3), sizes, folder)
    return folder


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny LLaMA with a tokeniser and a chat template; tests only read it."""
    from llava_tiny import write_chat_model

    return write_chat_model(tmp_path_factory.mktemp("chat_model") / "llama")


@pytest.fixture(autouse=True)
def _leave_no_processes():
    """Workers of data loaders that a test forgot would slow down those after it."""
    yield
    if not multiprocessing.active_children():
        return
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    for one in gc.get_objects():
        if isinstance(one, _MultiProcessingDataLoaderIter):
            one._shutdown_workers()
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


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
