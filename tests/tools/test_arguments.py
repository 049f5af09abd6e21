"""What the command line gets back before anything heavy is imported."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
# All but the forwarder of a command that moved.
NAMES = sorted({p.stem for p in TOOLS.glob("[a-z]*.py")} - {"sweep"})
HEAVY = ("torch", "mmengine", "transformers", "numpy", "matplotlib")
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, {folder!r})
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(*(n for n in {heavy} if n in sys.modules), file=sys.stderr)
"""


def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    code = RUN.format(folder=str(TOOLS), heavy=HEAVY)
    command = [sys.executable, "-c", code, str(TOOLS / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("name", NAMES)
def test_help_comes_before_anything_heavy(name: str) -> None:
    said = run(name, "--help")
    assert said.returncode == 0 and "usage:" in said.stdout
    assert not said.stderr.split(), said.stderr


@pytest.mark.parametrize(
    "name", ["analyze", "constant_baseline", "linear_probe", "test", "train"]
)
def test_a_wrong_path_is_said_before_anything_heavy(name: str) -> None:
    said = run(name, "configs/nothing.py", *([__file__] if name == "test" else []))
    assert said.returncode == 2
    sentence, heavy, *_ = [*said.stderr.splitlines(), ""]
    assert "the config configs/nothing.py does not exist" in sentence
    assert not heavy


@pytest.mark.parametrize("name", ["analyze", "linear_probe", "test"])
def test_so_is_a_lost_checkpoint(name: str) -> None:
    config = "configs/bridge/smollm2-b8_language_random100_6e_mnist5k.py"
    said = run(name, str(TOOLS.parent / config), "lost.pth")
    assert said.returncode == 2
    sentence, heavy, *_ = [*said.stderr.splitlines(), ""]
    assert "the checkpoint lost.pth does not exist" in sentence
    assert not heavy


def test_a_misspelt_config_is_answered_with_the_nearest() -> None:
    config = TOOLS.parent / "configs" / "bridge" / "smolm2-b8_language_mnist5k.py"
    said = run("train", str(config)).stderr
    near = "smollm2-b8_language_random100_6e_mnist5k.py"
    assert f"did you mean {config.with_name(near)}?" in said


def test_an_old_name_is_answered_with_the_new_one() -> None:
    name = "probe/smollm2-b8_language-probe_correct_100e_mnist5k.py"
    said = run("train", str(TOOLS.parent / "configs" / name))
    assert said.returncode == 2
    assert f"it is called {TOOLS.parent}/configs/probe/smollm2-b8_" in said.stderr
    assert "probe_true_100e_mnist5k.py now" in said.stderr


def test_an_old_option_works_and_names_the_new_one() -> None:
    said = run("analyze", "configs/nothing.py", "--initial").stderr.splitlines()
    assert said[0].startswith("--initial is called --unbridged now")
    assert "the config configs/nothing.py does not exist" in said[1]


def test_options_are_the_packages(monkeypatch) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    import analyze
    import linear_probe

    from lbbt_mm.measure.measurements import MEASUREMENTS, Settings
    from lbbt_mm.probe.readouts import READOUTS
    from lbbt_mm.probe.selection import DEFAULT_HELD_OUT, DEFAULT_LRS

    assert tuple(MEASUREMENTS) == analyze.MEASUREMENTS
    assert tuple(READOUTS) == linear_probe.READOUTS
    assert dataclasses.asdict(Settings()) == analyze.SETTINGS
    assert linear_probe.DEFAULT_LRS == DEFAULT_LRS
    assert linear_probe.DEFAULT_HELD_OUT == DEFAULT_HELD_OUT
