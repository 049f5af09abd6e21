"""One record of a run: what lies in a work folder, read once."""

from __future__ import annotations

import json

from lbbt_mm.runs.files import Reader
from lbbt_mm.runs.run import read_run


def test_all_of_a_folder_is_in_its_record(work_dir) -> None:
    home = work_dir.run(probe=81.7, train_acc=93.0)
    work_dir.measure(home, "retrieval", {"mAP": 51.2})
    work_dir.measure(home, "retrieval", {"mAP": 40.1}, initial=True)
    run = read_run(home)
    assert (run.initialisation, run.labels, run.seed) == ("language", "random", 0)
    assert (run.dataset, run.images, run.blocks) == ("fashion-mnist", 1000, 4)
    assert (run.checkpoint, run.last, run.finished) == ("epoch_3.pth",) * 2 + (True,)
    assert run.curve.train_acc == {1: 31.0, 2: 46.5, 3: 93.0} and run.last_train == 93.0
    assert run.probe("bridged") == 81.7 and run.probe("unbridged") is None
    assert run.chance == 10.0
    assert run.measurement("retrieval", "epoch_3.pth").result == {"mAP": 51.2}
    assert run.measurement("retrieval").result == {"mAP": 40.1}
    assert run.measurement("curvature") is None


def test_a_file_that_is_none_of_ours_is_one_problem(work_dir) -> None:
    home = work_dir.run(probe=81.7)
    path = work_dir.measure(home, "retrieval", {"mAP": 51.2})
    path.write_text("[1, 2]")
    (home / "linear_probe.json").write_text('{"nothing": "of ours"}')
    reader = Reader()
    run = read_run(home, reader)
    assert run.measurements == [] and run.probe("bridged") == 81.7  # of result.json
    probe, measurement = sorted(reader.problems, key=lambda words: "analysis" in words)
    assert "linear_probe.json is left out: last_test_top1 is missing" in probe
    assert "retrieval.json is not the result of a measurement" in measurement


def test_words_of_0_1_0_are_read(work_dir) -> None:
    home = work_dir.run(labels="true")
    path = work_dir.measure(home, "retrieval", {"mAP": 51.2})
    record = json.loads((home / "result.json").read_text())
    record["arm"] = record.pop("initialisation").replace("language", "lbbt")
    work_dir.json(home / "result.json", record)
    measured = json.loads(path.read_text())
    measured["model"]["arm"] = measured["model"].pop("initialisation")
    measured["model"]["labels"] = "correct"
    work_dir.json(path, measured)
    run = read_run(home)
    assert run.initialisation == "language" and run.labels == "true"
    (found,) = run.measurements
    assert found.model["initialisation"] == "language"
    assert found.model["labels"] == "true"
