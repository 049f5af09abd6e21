"""tools/prediction_sheet.py: what models say of the same images, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dense_run import finished_run
from mmengine.config import Config
from PIL import Image

NAME, LEGEND = 21, 29  # pixels of letters above and below
ROW = NAME + 2 * 128


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setattr("gc.collect", lambda: 0)


def test_a_segmenters_row_is_what_it_predicts(
    tool, toy_scenes, tmp_path, monkeypatch
) -> None:
    from mmseg.models import EncoderDecoder
    from mmseg.structures import SegDataSample

    run = finished_run("segmenter", toy_scenes, tmp_path / "run")
    out = tmp_path / "sheet.png"
    options = ("--out", out, "--images", "2", "--first", "1")
    tool("prediction_sheet.py", f"a model={run}", *options).main()
    sheet = pixels(out)
    assert sheet.shape == (2 * ROW + 6 + LEGEND, 2 * (2 * 128 + 6) + 6, 3)

    def truth(self, inputs, data_samples: list[SegDataSample]):
        for sample in data_samples:
            sample.pred_sem_seg = sample.gt_sem_seg
        return data_samples

    monkeypatch.setattr(EncoderDecoder, "predict", truth)
    tool("prediction_sheet.py", f"a model={run}", *options).main()
    right = pixels(out)
    first, second = right[NAME:ROW], right[ROW + NAME : 2 * ROW]
    assert (first == second).all(), "a model that is right looks like the truth"
    assert (first == sheet[NAME:ROW]).all()
    # Scene 1 is the second one of the validation scenes.
    file = toy_scenes / "annotations/validation/val_000001.png"
    empty = pixels(file) == 0
    grey = first[: 2 * 128, 6 : 6 + 2 * 128][::2, ::2]
    coloured = grey.max(axis=-1) != grey.min(axis=-1)
    assert coloured[~empty].mean() > 0.7 and coloured[empty].mean() < 0.3


def test_a_first_class_that_is_no_background_has_its_colour(
    tool, toy_scenes, tmp_path
) -> None:
    run = finished_run("segmenter", toy_scenes, tmp_path / "run")
    config, out = run / "config.py", tmp_path / "sheet.png"
    whole, rows = config.read_text(), []
    for name in ("background", "sky"):
        config.write_text(whole.replace("'background'", f"'{name}'"))
        tool("prediction_sheet.py", f"a={run}", "--out", out, "--images", "1").main()
        rows.append(pixels(out)[NAME:ROW, 6 : 6 + 2 * 128].astype(int)[::2, ::2])
    first = pixels(toy_scenes / "annotations/validation/val_000000.png") == 0
    changed = (rows[0] != rows[1]).any(axis=-1)
    assert changed[first].mean() > 0.9 and not changed[~first].any()


def test_a_detectors_weak_boxes_are_left_out(tool, toy_scenes, tmp_path) -> None:
    run = finished_run("detr", toy_scenes, tmp_path / "run")
    content = json.loads((toy_scenes / "detection/val.json").read_text())
    counts = [0] * len(content["images"])
    for annotation in content["annotations"]:
        counts[annotation["image_id"] - content["images"][0]["id"]] += 1
    assert counts[0] > 0

    sheets = []
    for score in ("0", "1.1"):
        out = tmp_path / f"sheet_{score}.png"
        options = ("--out", out, "--images", "1", "--score", score)
        tool("prediction_sheet.py", f"untrained={run}", *options).main()
        sheets.append(pixels(out))
    everything, nothing = (sheet[ROW + NAME : 2 * ROW, 6:-6] for sheet in sheets)
    assert (everything.max(-1) != everything.min(-1)).any()
    assert (nothing.max(-1) == nothing.min(-1)).all(), "grey: no box is drawn"
    truth = sheets[0][NAME:ROW]
    assert (truth.max(-1) != truth.min(-1)).any()


def test_the_config_of_a_folder_is_not_run(
    tool, toy_scenes, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = finished_run("segmenter", toy_scenes, tmp_path / "run")
    config, out = run / "config.py", tmp_path / "sheet.png"
    whole = config.read_text()
    options = ("--out", out, "--images", "1")
    config.write_text("import os\nos.mkdir('code-ran')\n" + whole)
    tool("prediction_sheet.py", f"a={run}", *options).main()
    assert out.exists() and not (tmp_path / "code-ran").exists()
    evil = dict(type="os.mkdir", path="code-ran")
    for place in (
        *("model.backbone.init_cfg", "data_preprocessor"),
        *("test_dataloader.collate_fn", "test_dataloader.sampler"),
    ):
        config.write_text(whole)
        cfg = Config.fromfile(config)
        cfg.merge_from_dict({place: dict(evil, _delete_=True)})
        cfg.dump(config)
        with pytest.raises(SystemExit, match=f"asks for 'os.mkdir' at {place}.type"):
            tool("prediction_sheet.py", f"a={run}", *options).main()
        assert not (tmp_path / "code-ran").exists()
    # Hooks are not built: anybody's may stand there.
    config.write_text(
        whole + "\ncustom_hooks = [dict(type='os.mkdir', path='code-ran')]"
    )
    tool("prediction_sheet.py", f"a={run}", *options).main()
    assert not (tmp_path / "code-ran").exists()
    # Who names the config has read it.
    config.write_text("import os\nos.mkdir('code-ran')\n" + whole.replace("os.", ""))
    tool("prediction_sheet.py", f"a={config}", *options).main()
    assert (tmp_path / "code-ran").exists()


@pytest.mark.parametrize("missing", ["config.py", "last_checkpoint", "iter_9.pth"])
def test_a_folder_without_a_finished_run_is_named(tool, tmp_path, missing: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in {"config.py", "iter_9.pth"} - {missing}:
        (run / name).touch()
    if missing != "last_checkpoint":
        (run / "last_checkpoint").write_text("/elsewhere/iter_9.pth")
    arguments = (f"a={run}", "--out", tmp_path / "sheet.png")
    with pytest.raises(SystemExit, match="is not the folder of a finished training"):
        tool("prediction_sheet.py", *arguments).main()
    assert not (tmp_path / "sheet.png").exists()


def test_a_run_has_a_name(tool, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        tool("prediction_sheet.py", tmp_path, "--out", "sheet.png").main()
    assert "argument RUN: expected NAME=PATH, got" in capsys.readouterr().err
