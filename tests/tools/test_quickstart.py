"""The main job from end to end, on a tiny language model and forty images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from forked import ForkedPython

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NO_PACKAGES = {**os.environ, "PYTHONPATH": ""}


@pytest.fixture
def quickstart(ended: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run it in this process, and the tools that it starts in forked ones."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import _subtask

    started = SimpleNamespace(**vars(subprocess))
    started.Popen = ForkedPython
    monkeypatch.setattr(_subtask, "subprocess", started)
    return lambda *options: ended("quickstart.py", *options)


@pytest.fixture
def options(tmp_path: Path, write_idx_images) -> list[str]:
    import transformers as hf

    config = hf.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=64, vocab_size=64
    )
    hf.GPT2Model(config).save_pretrained(tmp_path / "gpt2")
    write_idx_images(tmp_path, 40)
    return [
        *("--language-model", str(tmp_path / "gpt2"), "--blocks", "1"),
        *("--dataset", "fashion-mnist", "--data-root", str(tmp_path)),
        *("--images", "20", "--epochs", "2", "--device", "cpu"),
        *("--work-dir", str(tmp_path / "work")),
    ]


def test_ends_with_a_table_and_does_nothing_twice(
    quickstart, options, tmp_path
) -> None:
    first = quickstart(*options)
    assert first.returncode == 0, first.stdout + first.stderr
    for words in (
        "chance",
        "linear probe of the mean of tokens, bridged",
        "raw pixels",
        "took",
        "next",
    ):
        assert words in first.stdout
    (page,) = (tmp_path / "work").glob("*/index.html")
    record = json.loads((page.parent / "results.json").read_text())
    assert set(record["probes"]) == set(record["bridges"]) == {"language", "scratch"}
    assert record["probes"]["language"]["bridged"]["images"] == dict(train=40, test=40)
    assert (page.parent / "curves.png").exists()
    text = page.read_text()
    for top1 in (p["last_test_top1"] for p in record["probes"]["scratch"].values()):
        assert f"{top1:.1f}" in text
    # Both initialisations are measured, unbridged and bridged.
    for words in ("language, unbridged", "scratch, random labels", "covariance"):
        assert words in text
    assert len(list(page.parent.glob("*/analysis/*/outliers.json"))) == 4
    files = {p: p.stat().st_mtime_ns for p in page.parent.rglob("*.pth")}

    second = quickstart(*options)
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count("done before") == 6
    assert files == {p: p.stat().st_mtime_ns for p in page.parent.rglob("*.pth")}

    # What a kill while the last checkpoint is written leaves: it is not used.
    language = page.parent / "language"
    whole = (language / "epoch_2.pth").read_bytes()
    (language / "epoch_2.pth").write_bytes(whole[: len(whole) // 2])
    (language / "last_checkpoint").unlink()
    third = quickstart(*options)
    assert third.returncode == 0, third.stdout + third.stderr
    # The bridge is trained on, and its probe is of a checkpoint that is no more.
    assert third.stdout.count("done before") == 4
    assert (language / "epoch_2.pth").stat().st_size > len(whole) // 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--blocks", "9"], "from 1 to 2"),
        (["--language-model", "/no/such.gguf"], "no file or folder"),
        (["--epochs", "1"], "at least 2"),
        (["--epoch-s", "1"], "did you mean --epochs?"),
    ],
)
def test_bad_options_are_one_sentence(quickstart, options, wrong, words: str) -> None:
    result = quickstart(*options, *wrong)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1  # neither a traceback nor the usage


def test_a_tool_that_fails_is_quoted(quickstart, options, tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"broken")
    result = quickstart(*options)
    assert result.returncode == 2
    assert "expected an idx file" in result.stderr
    assert "train.log" in result.stderr and "Traceback" not in result.stderr


def test_help_needs_nothing_installed() -> None:
    said = subprocess.run(
        [sys.executable, "-S", "tools/quickstart.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=NO_PACKAGES,
    )
    assert said.returncode == 0, said.stderr
    for option in ("language-model", "dataset", "blocks", "images", "epochs", "device"):
        assert f"--{option}" in said.stdout
