"""The examples run as they stand, only shorter."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("start", [[], ["--scratch"]], ids=["language", "scratch"])
def test_bridge_and_probe(start: list[str], capsys: pytest.CaptureFixture) -> None:
    path = EXAMPLES / "bridge_and_probe.py"
    spec = importlib.util.spec_from_file_location("bridge_and_probe", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main([*start, "--images=64", "--blocks=1", "--epochs=2"])
    said = capsys.readouterr().out
    assert "probe before the bridge" in said and "probe after the bridge" in said
    assert "epoch 2" in said
