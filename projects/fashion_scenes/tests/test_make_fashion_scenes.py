"""projects/fashion_scenes/make_scenes.py as its user sees it."""

from __future__ import annotations

import errno
import json
import os
import shlex
from pathlib import Path

import pytest
from PIL import Image

SMALL = ("--train", 5, "--val", 3, "--tiny-train", 2, "--tiny-val", 1)


@pytest.fixture
def make(tool, tmp_path: Path, write_idx_images):
    """Run the tool on a few images in idx files."""
    (tmp_path / "idx").mkdir()
    write_idx_images(tmp_path / "idx", 20)

    def run(*options: object, root: str = "idx", small: tuple = SMALL) -> None:
        arguments = ("--data-root", root, "--out", "deep/made", *small, *options)
        tool("projects/fashion_scenes/make_scenes.py", *arguments).main()

    return run


@pytest.fixture
def failing(make):
    """Run it where it must end in one sentence; returns the sentence."""

    def run(*options: object, **kwargs) -> str:
        with pytest.raises(SystemExit) as caught:
            make(*options, **kwargs)
        message = str(caught.value)
        assert caught.value.code == 2, "as argparse ends"
        assert message.startswith("make_scenes.py: error: ")
        assert "\n" not in message
        return message

    return run


def test_it_makes_what_was_asked_for(make, tmp_path: Path, capfd) -> None:
    make("--canvas", 64, "--max-garments", 3, "--seed", 4, "--empty", 0.0)
    out, progress = capfd.readouterr()
    assert "train: 5 scenes, " in out and "val: 3 scenes, " in out
    assert "Written to deep/made; deep/made/examples.png shows some" in out
    assert "train: 100 % (5/5 scenes" in progress and "val: 100 %" in progress
    made = tmp_path / "deep/made"
    assert len(list((made / "images/training").iterdir())) == 5
    assert len(list((made / "annotations/validation").iterdir())) == 3
    with Image.open(made / "images/training/train_000000.png") as image:
        assert image.size == (64, 64)
    settings = json.loads((made / "scenes.json").read_text())["settings"]
    assert (settings["seed"], settings["max_garments"]) == (4, 3)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["made"]


def test_the_recorded_command_makes_the_same_bytes(make, tmp_path: Path) -> None:
    make("--seed", 7, "--scale", 0.3, 0.5, "--min-visible", 0.5, "--plain")
    made = tmp_path / "deep/made"
    first = {p.relative_to(made): p.read_bytes() for p in made.rglob("*.*")}
    command = json.loads((made / "scenes.json").read_text())["command"]
    assert str(tmp_path) not in command
    program, script, *options = shlex.split(command)
    assert (program, script) == ("python", "projects/fashion_scenes/make_scenes.py")
    made.rename(tmp_path / "before")
    make(*options, small=())
    assert {p.relative_to(made): p.read_bytes() for p in made.rglob("*.*")} == first


def test_scenes_without_garments(make, tmp_path: Path, capfd) -> None:
    make("--empty", 1)
    assert "train: 5 scenes, 0 garments (5 with 0)" in capfd.readouterr().out
    assert not (tmp_path / "deep/made/examples.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--canvas", 40), "expected a canvas of 56 pixels or more"),
        (("--train", 0), "expected 1 to 1000000 scenes in train, got 0"),
        (("--tiny-val", 9), "expected 1 to 3 scenes in tiny_val"),
        (("--max-garments", 0), "expected max_garments of 1 or more, got 0"),
        (("--scale", 0.9, 0.2), "expected a scale of 0 < LOW <= HIGH <= 1"),
        (("--seed", -1), "expected a seed from 0"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_options_that_cannot_be(failing, tmp_path: Path, options, words) -> None:
    assert words in failing(*options)
    assert not (tmp_path / "deep").exists()


def test_a_source_that_is_none(failing, tmp_path: Path) -> None:
    message = failing(root="elsewhere")
    assert "four idx files of Fashion-MNIST in elsewhere" in message
    assert "dataset-fashion-mnist" in message
    labels = tmp_path / "idx/t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    assert "t10k-labels-idx1-ubyte: expected an idx file" in failing()
    assert not (tmp_path / "deep").exists()


def test_a_folder_that_exists(failing, tmp_path: Path) -> None:
    (tmp_path / "deep/made").mkdir(parents=True)
    (tmp_path / "deep/made/mine.txt").write_text("precious")
    message = failing()
    assert "expected a folder that does not exist yet, got deep/made" in message
    assert (tmp_path / "deep/made/mine.txt").read_text() == "precious"
    assert len(list((tmp_path / "deep").rglob("*"))) == 2


def test_a_folder_that_cannot_be_made(failing, tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("a file")
    message = failing()
    assert "the scenes could not be written to deep/made (" in message
    assert (tmp_path / "deep").read_text() == "a file"


def test_a_full_disk(failing, tmp_path: Path, monkeypatch) -> None:
    def full(*_, **__) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    assert "written to deep/made (No space left on device). Free some" in failing()
    assert not list((tmp_path / "deep").iterdir())
