"""docs/python.md: its lines of Python run, one after the other, and its commands."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from llava_tiny import write_chat_model
from mmengine.config import Config
from PIL import Image

import lbbt_mm
from lbbt_mm.export.__main__ import main

pytestmark = pytest.mark.slow  # torch.export takes its time

PAGE = Path(__file__).resolve().parents[2] / "docs/python.md"
BLOCK = re.compile(r"```(python|bash)\n(.*?)```", re.DOTALL)


def write_project(folder: Path) -> None:
    """What the page takes for granted: a checkpoint, its language model, images."""
    options = dict(language_model="my-lm", img_size=16, patch_size=8, out_type="avg")
    options |= dict(attention="bidirectional")
    write_chat_model(folder / "my-lm", "gpt2")
    backbone = lbbt_mm.LanguageBackbone(**options)
    backbone.init_weights()
    kept = dict(type="lbbt_mm.LanguageBackbone", **options)
    cfg = Config(dict(model=dict(type="ImageClassifier", backbone=kept)))
    state = {f"backbone.{n}": t for n, t in backbone.state_dict().items()}
    (folder / "work_dirs/bridge").mkdir(parents=True)
    content = dict(state_dict=state, meta=dict(cfg=cfg.pretty_text))
    torch.save(content, folder / "work_dirs/bridge/epoch_6.pth")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for name in ("cat.jpg", "images/a.jpg", "images/b.jpg", "images/c.jpg"):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / name)


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    namespace: dict = {}
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert [kind for kind, _ in blocks].count("bash") == 3
    for number, (kind, source) in enumerate(blocks):
        if kind == "python":
            exec(compile(source, f"python.md, block {number}", "exec"), namespace)
            continue
        words = shlex.split(source)
        assert words[:3] == ["python", "-m", "lbbt_mm.export"]
        monkeypatch.setattr(sys, "argv", words[2:])
        main()
    assert namespace["maps"].shape[2:] == (2, 2)
    assert "{'a.jpg': " in capsys.readouterr().out
    assert len(namespace["tokenizer"]) == namespace["language"].config.vocab_size
    torch.testing.assert_close(
        namespace["features"],
        lbbt_mm.load_backbone("work_dirs/bridge/epoch_6.pth")(
            namespace["backbone"].transform("cat.jpg")[None]
        )[-1],
    )
    assert (tmp_path / "my-vit/load.py").is_file()
