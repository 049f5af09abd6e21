"""tools/analyze.py and tools/report.py on detectors and segmenters."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from lbbt_mm.analysis import weight_statistics
from lbbt_mm.measure.measured_model import MeasuredModel
from lbbt_mm.runs.measurement import MeasurementRecord

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = dict(
    detr=[f"{part}.layers.{i}" for part in ("encoder", "decoder") for i in (0, 1)],
    segmenter=["backbone.layers.0", "decode_head.layers.0", "decode_head.layers.1"],
)
REFUSED = "activation alignment separability retrieval probe_grid landscape curvature"
KINDS = {"attention in", "attention out", "mlp up", "mlp down", "embedding", "head"}
TASKS = pytest.mark.parametrize("task", list(BLOCKS))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tiny runs of the hook's tests."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "hooks"))
    import vision_runs

    return vision_runs


@pytest.fixture
def make(runs: ModuleType, tmp_path: Path) -> Callable[..., tuple[Config, Path]]:
    """Write the config of a task, with changes by dotted keys."""
    bert = runs.save_bert(tmp_path / "bert")

    def write(task: str, **more: Any) -> tuple[Config, Path]:
        cfg = runs.config(task, bert, tmp_path / "run", **more)
        cfg.dump(tmp_path / f"{task}.py")
        return cfg, tmp_path / f"{task}.py"

    return write


@pytest.fixture
def analyze(tool: Callable) -> Callable[..., str]:
    """Run the tool; returns the sentence that it ends with, if any."""

    def run(config: Path, *words: object) -> str:
        try:
            tool("analyze.py", *map(str, [config, *words])).main()
        except SystemExit as ended:
            return str(ended)
        return ""

    return run


def record(folder: Path, name: str) -> MeasurementRecord:
    return MeasurementRecord.read(folder / f"{name}.json")


@TASKS
def test_the_initial_model_has_the_copied_blocks(task, make, runs, analyze):
    cfg, path = make(task)
    runner, snapshot = Runner.from_cfg(cfg), runs.Snapshot()
    runner.register_hook(snapshot, priority="LOWEST")
    runner.train()
    measured = MeasuredModel(cfg)
    found = measured.model.state_dict()
    assert [*found] == [*snapshot.state]
    for name, value in snapshot.state.items():
        if "running_" not in name and "num_batches" not in name:
            torch.testing.assert_close(found[name], value, rtol=0, atol=0)

    assert analyze(path, "--only", "outliers", "--work-dir", cfg.work_dir) == ""
    start = record(Path(cfg.work_dir) / "analysis" / "initial", "outliers")
    total = weight_statistics(measured.model).total
    assert start.result["total"]["count"] == total.count
    assert start.result["total"]["std"] == pytest.approx(total.std, rel=1e-9)
    assert [*start.result["by_block"]] == BLOCKS[task]
    assert KINDS <= {*start.result["by_kind"]} <= KINDS | {"other"}
    assert (
        start.model["initialisation"] == "language"
        and start.model["stage"] == "initial"
    )
    assert Path(start.model["language_model"]).name == "bert"

    checkpoint = Path(cfg.work_dir) / "epoch_1.pth"
    assert analyze(path, checkpoint, "--only", "outliers") == ""
    trained = record(checkpoint.parent / "analysis" / "epoch_1", "outliers")
    assert trained.model["stage"] == "trained" and trained.model["sha256"]
    assert [*trained.result["by_block"]] == BLOCKS[task]
    assert trained.result["total"]["std"] != start.result["total"]["std"]


@TASKS
def test_the_scratch_twin_is_another_model(task, make, analyze, tmp_path):
    starts = {}
    for name, pretrained in (("language", True), ("scratch", False)):
        cfg, path = make(task)
        cfg.custom_hooks[0].pretrained = pretrained
        cfg.dump(path)
        assert analyze(path, "--only", "outliers", "--work-dir", tmp_path / name) == ""
        starts[name] = record(tmp_path / name / "analysis" / "initial", "outliers")
        assert starts[name].model["initialisation"] == name
    language, scratch = starts["language"], starts["scratch"]
    assert language.model["fingerprint"] != scratch.model["fingerprint"]
    last = BLOCKS[task][-1]
    stds = [one.result["by_block"][last]["std"] for one in (language, scratch)]
    assert stds[0] != pytest.approx(stds[1], rel=1e-3)


@TASKS
def test_what_cannot_be_measured_is_said_first(
    task, make, analyze, monkeypatch, capsys
):
    def opened(*_):
        raise AssertionError("an image was asked for")

    monkeypatch.setattr(MeasuredModel, "_batches", opened)
    cfg, path = make(task)
    cfg.test_dataloader = cfg.train_dataloader
    cfg.dump(path)
    names = ("outliers", *REFUSED.split())
    said = analyze(path, "--only", *names, "--work-dir", cfg.work_dir)
    assert "7 measurement(s) failed, the others are written" in said
    assert "\n" not in said
    folder = Path(cfg.work_dir) / "analysis" / "initial"
    assert record(folder, "outliers").error is None
    for name in REFUSED.split():
        error = record(folder, name).error
        kind = dict(detr="DETR", segmenter="EncoderDecoder")[task]
        assert kind in error and "--only outliers" in error, error
        assert error.startswith((f"{name} needs ", "Expected a model with an lbbt_mm."))
    lines = [x for x in capsys.readouterr().out.splitlines() if "/initial/" in x]
    assert "/outliers: " in lines[-1] and len(lines) == len(names)


def test_a_config_that_a_test_with_tta_dumped(make, analyze):
    cfg, path = make("segmenter")
    plain = MeasuredModel(cfg).model
    cfg.model = dict(type="mmseg.SegTTAModel", module=cfg.model)
    cfg.dump(path)
    checkpoint = path.parent / "iter_1.pth"
    torch.save(dict(state_dict=plain.state_dict()), checkpoint)
    assert analyze(path, checkpoint, "--only", "outliers") == ""
    result = record(path.parent / "analysis" / "iter_1", "outliers").result
    assert [*result["by_block"]] == BLOCKS["segmenter"]


def test_a_missing_language_model_is_one_sentence(make, analyze, tmp_path):
    cfg, path = make("detr")
    checkpoint = tmp_path / "iter_1.pth"
    torch.save(dict(state_dict=MeasuredModel(cfg).model.state_dict()), checkpoint)
    cfg.custom_hooks[0].language_model = str(tmp_path / "gone")
    cfg.dump(path)
    said = analyze(path, "--only", "outliers", "--work-dir", cfg.work_dir)
    assert "gone" in said and "Traceback" not in said and "\n" not in said
    # A checkpoint is enough by itself.
    assert analyze(path, checkpoint, "--only", "outliers") == ""


@TASKS
def test_a_page_of_such_a_run(task, make, tool, analyze, capsys):
    cfg, path = make(task)
    home = Path(cfg.work_dir)
    checkpoint = home / "iter_1.pth"
    home.mkdir()
    torch.save(dict(state_dict=MeasuredModel(cfg).model.state_dict()), checkpoint)
    cfg.dump(home / "config.py")
    names = ("outliers", "retrieval", "landscape")
    analyze(path, checkpoint, "--unbridged", "--only", *names)
    tool("report.py", home).main()
    page = (home / "report.html").read_text()
    assert "measurements: 6;" in capsys.readouterr().out
    result = record(home / "analysis" / "iter_1", "outliers").result
    assert "How the weights are distributed" in page
    assert str(result["total"]["count"]) in re.sub(r"\s", "", unescape(page))
    assert "language, unbridged" in page
    for name in names[1:]:
        assert f"{name} needs" in page


def test_two_models_of_one_language_model_are_not_mixed(make, tool, analyze, tmp_path):
    for task in BLOCKS:
        _, path = make(task)
        home = tmp_path / "measured" / task
        assert analyze(path, "--only", "outliers", "--work-dir", home) == ""
    tool("report.py", tmp_path / "measured").main()
    page = (tmp_path / "measured" / "report.html").read_text()
    for kind in ("DETR", "EncoderDecoder"):
        assert f"images that the config does not name, {kind}" in page


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_run_without_a_record_knows_its_start(make, tmp_path, pretrained):
    from lbbt_mm.runs.find import gather

    cfg, _ = make("segmenter")
    cfg.custom_hooks[0].pretrained = pretrained
    cfg.model = dict(type="mmseg.SegTTAModel", module=cfg.model)
    log = tmp_path / "run" / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.0, "epoch": 1, "step": 9}\n')
    cfg.dump(tmp_path / "run" / "config.py")
    (run,) = gather([tmp_path / "run"]).runs
    assert run.initialisation == ("language" if pretrained else "scratch")
    assert run.language_model == "bert"
