"""tools/test.py with a head that hands features on, and the retrieval metric."""

from __future__ import annotations

import json

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from lbbt_mm.metrics.retrieval import retrieval_scores
from lbbt_mm.probe.features import extract_features

pytestmark = pytest.mark.slow

CONFIG = """
_base_ = {base!r}
model = dict(head=dict(_delete_=True, type="lbbt_mm.FeatureHead"))
test_evaluator = dict(_delete_=True, type="lbbt_mm.RetrievalMetric", topk=(1, 2))
"""


def test_a_checkpoint_is_evaluated(tool, trained, tmp_path) -> None:
    config, out = tmp_path / "retrieval.py", tmp_path / "scores.json"
    config.write_text(CONFIG.format(base=str(trained.config)))
    checkpoint = trained.work_dir / "epoch_1.pth"
    options = ("--out", out, "--work-dir", tmp_path / "work")
    tool("test.py", config, checkpoint, *options).main()
    found = json.loads(out.read_text())

    from mmpretrain.registry import MODELS

    cfg = Config.fromfile(trained.config)
    init_default_scope("mmpretrain")
    model = MODELS.build(cfg.model)
    from mmengine.runner import load_checkpoint

    load_checkpoint(model, str(checkpoint), map_location="cpu")
    loader = dict(cfg.test_dataloader, collate_fn=dict(type="default_collate"))
    features = extract_features(model, Runner.build_dataloader(loader))
    expected = retrieval_scores(features.features, features.labels, (1, 2))
    assert found == {
        f"retrieval/{name}": pytest.approx(value, abs=1e-3)
        for name, value in expected.items()
    }
