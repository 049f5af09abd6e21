"""The examples run: the script only shorter, the notebook as it stands."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(EXAMPLES), *sys.path]):  # as a script has
        spec.loader.exec_module(example)
    return example


@pytest.mark.parametrize("start", [[], ["--scratch"]], ids=["language", "scratch"])
def test_bridge_and_probe(start: list[str], capsys: pytest.CaptureFixture) -> None:
    load("bridge_and_probe").main([*start, "--images=64", "--blocks=1", "--epochs=2"])
    said = capsys.readouterr().out
    assert "probe before the bridge" in said and "probe after the bridge" in said
    assert "epoch 2" in said


def test_own_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(0)
    for folder, low in (("dark", 0), ("light", 156), ("unlabelled", 100), (".", 100)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for number in range(4):
            pixels = rng.integers(low, low + 100, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    out = tmp_path / "out" / "sheet.png"
    out.parent.mkdir()
    small = ("--labels=2", "--epochs=1", "--size=16", "--patch=8", "--blocks=1")
    load("own_images").main([str(tmp_path), *small, f"--out={out}"])
    said = capsys.readouterr().out
    assert "16 images; 4 labels of 2 classes" in said
    assert "100% right after the bridge" in said and "chance is 50%" in said
    with Image.open(out) as sheet:
        assert sheet.width > 1000
    for wrong, words in (
        ([str(tmp_path / "dark")], "in two folders or more"),
        ([str(tmp_path / "lost")], "is no folder"),
        ([str(tmp_path), f"--out={tmp_path}/no/sheet.png"], "No such file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            load("own_images").main([*wrong, *small])
        assert words in capsys.readouterr().err


def _code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook_runs_and_is_committed_without_outputs(
    path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    plt.close("all")  # what other tests left
    monkeypatch.setattr(plt, "show", lambda: None)
    namespace: dict = {"__name__": "__main__"}
    for number, cell in enumerate(_code_cells(path)):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        source = "".join(cell["source"])
        exec(compile(source, f"{path.name}, code cell {number}", "exec"), namespace)
    assert "the same digit" in capsys.readouterr().out
    assert len(plt.get_fignums()) == 1
    plt.close("all")
    # It is about something: far better than chance, and the loss goes down.
    assert namespace["same_digit"](namespace["before"]) > 0.5
    assert namespace["losses"][-1] < namespace["losses"][0]
