"""kill -9 while a DETR trains, then --resume: no second copy of the language model."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from forked import ForkedScript
from torch.testing import assert_close

sys.path.append(str(Path(__file__).resolve().parents[1] / "hooks"))
import vision_runs  # noqa: E402

pytestmark = pytest.mark.slow

# Ends the process without a word, in the middle of the second of three epochs.
KILLER = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module(force=True)
class Killer(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if os.environ.get("KILL") and runner.iter == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def config(project, monkeypatch) -> Path:
    """A tiny DETR that starts from a tiny BERT."""
    (project.root / "killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(project.root))
    bert = vision_runs.save_bert(project.root / "bert")
    cfg = vision_runs.config("detr", bert, project.work_dir)
    cfg.custom_imports = dict(imports=["vision_runs", "killer"])
    cfg.custom_hooks += [dict(type="lbbt_mm.RandomStateHook"), dict(type="Killer")]
    cfg.default_hooks.checkpoint.type = "lbbt_mm.AtomicCheckpointHook"
    cfg.train_cfg.max_epochs = 3
    path = project.root / "detr.py"
    cfg.dump(path)
    yield path
    sys.modules.pop("killer", None)


def test_goes_on_without_the_language_model(config, project, tool) -> None:
    whole = project.root / "whole"
    tool("train.py", config, "--work-dir", whole).main()
    paths = f"{project.root}{os.pathsep}{Path(vision_runs.__file__).parent}"
    killed = ForkedScript(
        [project.tools / "train.py", config, "--device", "cpu"],
        project.root,
        project.environment(PYTHONPATH=paths, KILL="1"),
    )
    said, _ = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said
    assert "tensors copied" in said
    report = (project.work_dir / "language_init.json").read_bytes()

    shutil.rmtree(project.root / "bert")
    tool("train.py", config, "--resume").main()
    log = max(project.work_dir.glob("*/*.log")).read_text()
    assert "resumed, so nothing is copied" in log and "tensors copied" not in log
    assert (project.work_dir / "language_init.json").read_bytes() == report
    done, expected = (
        torch.load(folder / "epoch_3.pth", weights_only=False)
        for folder in (project.work_dir, whole)
    )
    assert_close(done["state_dict"], expected["state_dict"], rtol=0, atol=0)
    assert done["meta"]["language_init"] == expected["meta"]["language_init"]
