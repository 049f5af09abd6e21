"""What the project says of its runs is what their folders hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

HOME = "projects/cells_and_streets"


def finished(folder: Path, dataset: str, start: str, best: float) -> Path:
    """Write what a training and tools/test.py leave in a work folder."""
    logs = folder / "20260101_000000/vis_data"
    logs.mkdir(parents=True)
    config = f"model_smollm2-b4_{start}_1xb4-2e_{dataset}.py"
    folder.joinpath(config).write_text("lr = 1\nseed = 3\n")
    metric = dict(bccd="coco/bbox_mAP_50", camvid="mIoU")[dataset]
    lines = [
        dict(loss=2.0, epoch=1, images_per_second=1.0, step=50),
        {metric: best / 2, "time": 0.1, "step": 1},
        dict(loss=1.0, epoch=2, images_per_second=3.04, step=90),
        {metric: best, "time": 0.1, "step": 2},
    ]
    text = "\n".join(map(json.dumps, lines))
    logs.joinpath("scalars.json").write_text(text + "\n")
    test = {"mIoU": best, "aAcc": 80.0}
    for end in ("", "_50", "_75"):
        test[f"coco/bbox_mAP{end}"] = best
    folder.joinpath("test.json").write_text(json.dumps(test))
    return folder


@pytest.fixture
def collect(tool, tmp_path, monkeypatch):
    module = tool(f"{HOME}/collect.py")
    for name, place in dict(
        RESULTS="results/runs.jsonl", README="page.md", PICTURE="curves.png"
    ).items():
        monkeypatch.setattr(module, name, tmp_path / place)
    module.README.write_text("above\n<!-- runs -->\nold\n<!-- end -->\nbelow\n")
    return module


def test_a_run_is_a_line_and_a_row(collect, tmp_path) -> None:
    cells = finished(tmp_path / "cells", "bccd", "language", 0.5)
    streets = finished(tmp_path / "streets", "camvid", "scratch", 42.0)
    collect.main([str(cells), str(streets)])
    collect.main([str(cells)])  # again: in the place of the first
    one, two = collect.read_results()
    assert (one["dataset"], one["initialisation"], one["seed"]) == (
        "bccd", "language", 3)  # fmt: skip
    assert one["loss"] == {"1": 2.0, "2": 1.0} and one["images_per_second"] == 3.04
    assert two["validation"] == {"1": {"mIoU": 21.0}, "2": {"mIoU": 42.0}}
    page = collect.README.read_text()
    assert page.startswith("above\n") and page.endswith("below\n") and "old" not in page
    assert "| 3.0 | 1.00 | 25.0, 50.0 | AP 50.0, AP50 50.0, AP75 50.0 |" in page
    assert "| 21.0, 42.0 | mean IoU 42.0, pixels 80.0 |" in page
    assert collect.PICTURE.stat().st_size > 1000


def test_the_page_is_what_the_results_say(tool) -> None:
    collect = tool(f"{HOME}/collect.py")
    assert collect.table(collect.read_results()) in collect.README.read_text()


def test_each_place_has_its_commonest_class(tool) -> None:
    module = tool(f"{HOME}/pixel_prior.py")
    maps = [np.array(one) for one in ([[0, 3]], [[0, 3]], [[5, 255]])]
    said = module.prior(maps)
    assert said.tolist() == [[0, 3]]
    # Class 0: 2 of 3 places, class 3: 2 of 2, class 5: none of 1.
    assert module.mean_iou(said, maps) == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
