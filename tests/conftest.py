"""Shared fixtures; no test may use the network or a fixed path."""

from __future__ import annotations

import os

# Before torch is imported: two busy OpenMP pools on two cores slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _leave_no_scope():
    """Tests that build runners must not change the default scope of later ones."""
    yield
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()


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
