"""What tools/analyze.py says of results that are there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lbbt_mm.measure.summary import in_words, other_options, summary
from lbbt_mm.runs.measurement import MeasurementRecord

REPORT = Path(__file__).resolve().parents[2] / "projects/paper/report/runs"


def record(name: str = "retrieval", images: int = 9, **found) -> MeasurementRecord:
    fields = dict(result=dict(mAP=29.0), error=None) | found
    return MeasurementRecord(
        name, model=dict(name="a"), settings=dict(images=images), **fields
    )


def test_every_measurement_has_its_numbers() -> None:
    """Of a real run: each of its files is summed up, and by numbers that it has."""
    files = sorted(REPORT.glob("*/*/analysis/*/*.json"))
    kinds = {path.stem for path in files}
    assert len(kinds) >= 9
    for kind in kinds:
        path = next(path for path in files if path.stem == kind)
        result = json.loads(path.read_text())["result"]
        if result is None:
            continue
        numbers = summary(kind, result)
        assert numbers, kind
        assert summary(f"{kind}_as_released", result) == numbers
    assert in_words(record()) == "mAP, % 29"
    assert in_words(record(result=None, error="It has no labels.")) == (
        "It has no labels."
    )
    assert other_options(dict(seed=0, images=9), dict(seed=0, images=12)) == (
        "images 9, not 12"
    )


def test_two_models_side_by_side(ended, tmp_path) -> None:
    a, b = tmp_path / "a/analysis/epoch_1", tmp_path / "b/analysis/epoch_2"
    for folder, score, images in ((a, 20.0, 9), (b, 29.5, 12)):
        record(result=dict(mAP=score)).write(folder)
        record("separability", images, result=dict(silhouette=0.5)).write(folder)
    record("landscape", result=dict(centre=2.0)).write(b)
    # A checkpoint, of which only the results were kept, and a run's folder.
    done = ended("analyze.py", "--compare", a.parents[1] / "epoch_1.pth", b.parents[1])
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "mAP, % 20 29.5 +9.5" in lines
    assert "separability (with other options: images 9, not 12)" in lines
    assert "silhouette 0.5 0.5" in lines  # and no difference
    assert "landscape (only B was measured)" in lines


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "expected either a config or --compare"),
        (["tiny.py", "--compare", "a", "b"], "expected either a config or --compare"),
        (["--compare", "gone.pth", "gone"], "gone.pth has no measurements"),
        (["--compare", "several", "several"], "several models: name one of .*one.*two"),
    ],
)
def test_what_cannot_be_compared(ended, project, argv, message) -> None:
    for name in ("one", "two"):
        record().write(project.root / "several/analysis" / name)
    done = ended("analyze.py", *argv)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert len(done.stderr.splitlines()) < 12
