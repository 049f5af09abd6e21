"""Read-outs of unbridged blocks: every setting once, and not again."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def readouts(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT)
    spec = importlib.util.spec_from_file_location(
        "readouts_script", PROJECT / "readouts.py"
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr("cifar10.probes.LRS", (1e-3, 1e-2))
    return module


def test_each_setting_is_a_line_and_is_not_measured_again(readouts, tmp_path) -> None:
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(10):
            folder = tmp_path / "data" / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = draw.integers(256, size=(32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    config = transformers.LlamaConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        vocab_size=1000,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
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
