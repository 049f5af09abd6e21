"""The three lines of the README turn anybody's mmpretrain config into ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[2]


def snippet(document: str) -> str:
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    return next(block for block in blocks if "_delete_" in block)


@pytest.mark.parametrize("document", ["README.md", "docs/get_started.md"])
@pytest.mark.parametrize(
    "theirs",
    [
        "mmpretrain::resnet/resnet50_8xb32_in1k.py",
        "mmpretrain::vision_transformer/vit-base-p16_64xb64_in1k.py",
    ],
)
def test_three_lines_plug_it_in(document: str, theirs: str, tmp_path: Path) -> None:
    lines = snippet(document)
    assert len(lines.strip().splitlines()) == 3
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = {theirs!r}\n{lines}")
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    from mmpretrain.registry import MODELS

    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert type(model.backbone).__name__ == "LanguageBackbone"
    assert model.head.in_channels == model.backbone.embed_dims == 1024
