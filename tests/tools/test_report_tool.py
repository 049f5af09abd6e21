"""tools/report.py: one command, one page, and one sentence where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def report(ended: Callable) -> Callable:
    return lambda *words: ended("report.py", *words)


def write_run(folder: Path, top1: float) -> None:
    """Write the least that is a run: a log, and the probe after it."""
    log = folder / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps(dict(train_acc=55.5, epoch=1, step=9)) + "\n")
    probe = dict(last_test_top1=top1, checkpoint="epoch_1.pth", chance=10.0)
    (folder / "linear_probe.json").write_text(json.dumps(probe))


def test_a_page_and_its_panels(report: Callable, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "one", 71.3)
    said = report(tmp_path / "runs", "--figures", tmp_path / "figures")
    assert said.returncode == 0, said.stderr
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "71.3" in page and "Runs: 1; measurements: 0" in said.stdout
    assert "tools/report.py" in page  # the command that made it
    assert list((tmp_path / "figures").glob("curves-*.svg"))
    assert not list(tmp_path.rglob("*.part"))

    other = tmp_path / "deep" / "page.html"
    assert report(tmp_path / "runs", "--out", other).returncode == 0
    assert "71.3" in other.read_text()


def test_nothing_to_report_is_one_sentence(report: Callable, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    said = report(empty)
    assert said.returncode != 0
    assert "Nothing to report below" in said.stderr and "--work-dir" in said.stderr
    assert "Traceback" not in said.stderr
    assert list(empty.iterdir()) == []


def test_where_it_cannot_write_is_one_sentence(report, tmp_path: Path) -> None:
    write_run(tmp_path / "one", 71.3)
    (tmp_path / "taken").write_text("a file")
    said = report(tmp_path, "--out", tmp_path / "taken" / "page.html")
    assert said.returncode != 0 and "Traceback" not in said.stderr
    assert "taken" in said.stderr
