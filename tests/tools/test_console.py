"""What a run shows on the console, and what only its log file has."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import pytest

from lbbt_mm.neighbours import noise


def test_a_training_says_what_it_does_and_then_numbers(trained) -> None:
    lines = trained.output.splitlines()
    first = next(i for i, line in enumerate(lines) if "Epoch(train)" in line)
    assert first < 25, trained.output
    said = "\n".join(lines[:first])
    assert "ImageClassifier; 0.00" in said and "train: backbone, head" in said
    assert "8 images of custom, random labels, batches of 4" in said
    assert "1 epoch of 2 iterations" in said and str(trained.work_dir) in said
    assert "Config:" not in said and "before_train" not in said
    (log,) = trained.work_dir.glob("*/*.log")
    assert str(log) in said
    kept = log.read_text()
    assert "Config:\n" in kept and "Hooks will be executed" in kept
    assert "8 images of custom" in kept


def test_verbose_shows_all_that_the_file_has(ended, project) -> None:
    done = ended("train.py", "tiny.py", "--verbose", "--no-validate")
    assert done.returncode == 0
    assert "Config:\n" in done.stdout and "Hooks will be executed" in done.stdout


@pytest.fixture
def logger() -> logging.Logger:
    logger = logging.Logger("run")
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    noise.hush_logger(logger)
    return logger


def test_a_record_is_left_out_by_how_it_begins(logger) -> None:
    logger.info("layers.0.weight is skipped since its requires_grad=False")
    logger.info("LanguageBackbone: layers.0 is skipped since its requires_grad=False")
    logger.warning('"FileClient" will be deprecated in future.')
    logger.error("It broke.")
    said = logger.handlers[0].stream.getvalue()
    assert said.splitlines() == [
        "LanguageBackbone: layers.0 is skipped since its requires_grad=False",
        "It broke.",
    ]


def test_prints_and_warnings_of_others() -> None:
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), warnings.catch_warnings(record=True) as w:
        warnings.simplefilter("always")
        with noise.hushed():
            print("loading annotations into memory...")
            print("Done (t=0.00s)")
            print("Loads checkpoint by local backend from path: a.pth")
            print("Average Precision = 0.5")
            print("index created! said somebody", end="")
            print()
            print("\nDone")
            warnings.warn(
                "To copy construct from a tensor, it is recommended", stacklevel=1
            )
            warnings.warn(
                "Fail to import ``MultiScaleDeformableAttention`` from", stacklevel=1
            )
            warnings.warn("the learning rate is 0", stacklevel=1)
    assert screen.getvalue() == "Average Precision = 0.5\n\nDone\n"
    assert [str(one.message) for one in w] == ["the learning rate is 0"]
