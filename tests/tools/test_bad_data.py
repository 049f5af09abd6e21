"""A file of the data that is not sound ends each tool in one sentence that names it."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("tool_name", ["train.py", "linear_probe.py"])
def test_an_image_that_cannot_be_read(tool_name, project, failing):
    path = project.root / "train/dark/1.png"
    path.write_bytes(b"no image")
    message = failing(tool_name)
    assert str(path) in message
    assert "cannot be read (8 bytes are no complete image)" in message


def test_an_image_to_test_on(project, failing, trained):
    (checkpoint,) = trained.work_dir.glob("epoch_*.pth")
    path = project.root / "test/light/1.png"
    path.write_bytes(b"")
    message = failing("test.py", checkpoint)
    assert f"{path} cannot be read (the file is empty)" in message


def test_zero_images(project, failing):
    shutil.rmtree(project.root / "train")
    (project.root / "train/dark").mkdir(parents=True)
    assert "expected images in" in failing("train.py")
