"""Classes that need another library are there for everyone, and say what they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lbbt_mm.models

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("mmdet", "mmdet"), ("mmcv._ext", "mmcv was installed without its compiled ops")],
)
def test_without_mmdet_one_sentence_says_what_to_install(
    missing: str, reason: str
) -> None:
    # None in sys.modules makes an import fail: the room itself asks for neither.
    code = (
        f"import sys; sys.modules[{missing!r}] = None; "
        "import lbbt_mm.models; "
        "from mmengine.registry import MODELS; "
        "print(MODELS.get('lbbt_mm.LanguageBackbone').__name__, 'mmcv' in sys.modules);"
        "MODELS.build(dict(type='lbbt_mm.PreNormDETR', num_queries=3))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert "LanguageBackbone False" in said.stdout, said.stderr
    last = said.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: lbbt_mm.PreNormDETR needs mmdet>=3.2.0,<4.0")
    assert reason in last
    assert last.endswith(
        "with: bash tools/build_mmcv.sh && pip install onedl-mmdetection"
    )


def test_the_room_names_its_classes() -> None:
    from lbbt_mm.models.detection.pre_norm_detr import PreNormDETR

    assert lbbt_mm.models.PreNormDETR is PreNormDETR
    with pytest.raises(AttributeError, match="no attribute 'PostNormDETR'"):
        _ = lbbt_mm.models.PostNormDETR
