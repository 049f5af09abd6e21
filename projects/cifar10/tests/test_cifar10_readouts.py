"""Read-outs of unbridged blocks: every setting once, and not again."""

from __future__ import annotations

import json

import pytest
from cifar10_tiny import load_script, write_images, write_language_model


def test_each_setting_is_a_line_and_is_not_measured_again(
    tmp_path, monkeypatch
) -> None:
    readouts = load_script("readouts", monkeypatch)
    write_images(tmp_path / "data", 3)
    write_language_model(tmp_path / "lm")
    out = tmp_path / "out.jsonl"
    options = [
        *("--data", str(tmp_path / "data"), "--out", str(out), "--images", "30"),
        *("--language-model", str(tmp_path / "lm"), "--blocks", "1"),
        *("--epochs", "1", "--seeds", "0"),
    ]
    readouts.main(options)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    # Raw pixels; 2 numbers of tokens, 2 scales, 4 initialisations, 2 read-outs.
    assert len(rows) == 1 + 2 * 2 * 4 * 2
    assert {row["start"] for row in rows} == {"pixels", *readouts.INITIALISATIONS}
    readouts.main(options)
    assert len(out.read_text().splitlines()) == len(rows)
    with pytest.raises(FileNotFoundError, match="ask for less than 40"):
        readouts.load(str(tmp_path / "data"), "train", 40)
