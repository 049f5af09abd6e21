"""From a run's logs to a table, results.json, a picture and a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbbt_mm.report.bridge_report import BridgeReport
from lbbt_mm.report.tables import Table, percent
from lbbt_mm.runs.log import (
    BridgeCurve,
    read_bridge_curve,
    read_scores,
)
from lbbt_mm.runs.run import Run


def log(folder: Path, start: str, *records: dict) -> None:
    path = folder / start / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def train(epoch: int, accuracy: float, **more) -> dict:
    return {"train_acc": accuracy, "epoch": epoch, "step": 9 * epoch, **more}


def clean(epoch: int, random: float, true: float | None = None) -> dict:
    both = {"random_label/top1": random, "step": epoch}
    return both if true is None else {**both, "true_label/top1": true}


def test_curve_takes_the_last_value_of_each_epoch(tmp_path: Path) -> None:
    log(
        tmp_path,
        "20260101_000000",
        train(1, 10.0),
        train(1, 12.0, images_per_second=90.0),
        train(2, 20.0),
        clean(2, 25.0, 9.0),
    )
    curve = read_bridge_curve(tmp_path)
    assert curve.train_acc == {1: 12.0, 2: 20.0}
    assert (curve.random_acc, curve.true_acc) == ({2: 25.0}, {2: 9.0})
    assert curve.images_per_second == 90.0


def test_a_resumed_run_overrides_what_it_trained_again(tmp_path: Path) -> None:
    log(tmp_path, "20260101_000000", train(1, 10.0), train(2, 11.0))
    log(tmp_path, "20260101_000100", train(2, 22.0), train(3, 33.0))
    with (tmp_path / "20260101_000000/vis_data/scalars.json").open("a") as file:
        file.write('{"train_acc": 99.')  # killed in the middle of a line
    assert read_bridge_curve(tmp_path).train_acc == {1: 10.0, 2: 22.0, 3: 33.0}


def test_scores_of_detectors_and_segmenters_are_percentages(tmp_path: Path) -> None:
    detector = {"coco/bbox_mAP": 0.25, "coco/bbox_mAP_50": 0.5, "coco/bbox_mAP_s": 0.1}
    assert read_scores(detector) == dict(ap=25.0, ap50=50.0)
    assert read_scores({"mIoU": 40.0, "aAcc": 90.0}) == dict(miou=40.0)
    log(
        tmp_path,
        "20260101_000000",
        dict(loss=1.0, step=50, images_per_second=7.0),
        dict(detector, step=100),
        dict(detector, step=200) | {"coco/bbox_mAP": 0.5},
    )
    curves = read_bridge_curve(tmp_path).scores
    assert curves == dict(ap={100: 25.0, 200: 50.0}, ap50={100: 50.0, 200: 50.0})
    assert read_bridge_curve(tmp_path).images_per_second == 7.0


def test_no_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="work_dir of a training run"):
        read_bridge_curve(tmp_path)


def test_tables_align() -> None:
    table = Table(
        ["a", "long"], [["row <1>", percent(1.25)], ["b", percent(None)]], "c"
    )
    lines = table.to_text().splitlines()
    assert lines[0] == "a        long"
    assert lines[2] == "row <1>   1.2"
    assert lines[-1] == "c"


@pytest.fixture
def report() -> BridgeReport:
    curves = {
        "language": BridgeCurve({1: 20.0, 2: 80.0}, {2: 91.5}, {2: 9.5}, 77.0),
        "scratch": BridgeCurve({1: 12.0, 2: 40.0}, {2: 44.0}, {}),
    }
    probes = dict(language=(71.0, 74.25), scratch=(81.0, 69.0))
    runs = {
        start: Run(
            Path("runs", start),
            start,
            curve=curve,
            probes={
                when: {
                    "last_test_top1": top1,
                    "readouts": {
                        "avg": {"last_test_top1": top1},
                        "last": {"last_test_top1": top1 - 50},
                        "pixels": {"last_test_top1": 61.5},
                    },
                }
                for when, top1 in zip(
                    ("unbridged", "bridged"), probes[start], strict=True
                )
            },
        )
        for start, curve in curves.items()
    }
    return BridgeReport(runs, 10.0, {"command": "x", "seed": 0})


def test_report_says_every_number_and_chance(report: BridgeReport) -> None:
    text = report.table().to_text()
    for number in ("80.0", "40.0", "91.5", "44.0", "9.5", "71.0", "74.2", "69.0"):
        assert number in text
    assert "21.0" in text and text.count("61.5") == 2  # the last token; raw pixels
    assert text.count("10.0") == 8


def test_report_writes_its_files(report: BridgeReport, tmp_path: Path) -> None:
    paths = report.write(tmp_path)
    record = json.loads(paths["results.json"].read_text())
    assert record["bridges"]["language"]["train_acc"] == {"1": 20.0, "2": 80.0}
    assert record["provenance"] == {"command": "x", "seed": 0}
    assert paths["curves.png"].read_bytes().startswith(b"\x89PNG")
