"""Two processes train a detector or segmenter with language blocks as one does."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "hooks"))
import vision_runs  # noqa: E402

pytestmark = pytest.mark.slow

# Writes what each iteration of each process computed; spares seconds that only the
# log would show.
WITNESS = """
import json
from pathlib import Path
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import runner

runner.collect_env = dict

@HOOKS.register_module(force=True)
class Witness(Hook):
    losses = ()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses = [*self.losses, outputs["loss"].item()]

    def after_train(self, runner):
        path = Path(runner.work_dir, f"losses_{get_rank()}.json")
        path.write_text(json.dumps(self.losses))
"""


@pytest.mark.parametrize("task", ["segmenter", "detr"])
def test_two_processes_train_as_one(task, project, tool, monkeypatch) -> None:
    (project.root / "witness.py").write_text(WITNESS)
    bert = vision_runs.save_bert(project.root / "bert")
    cfg = vision_runs.config(task, bert, project.work_dir)
    cfg.custom_imports = dict(imports=["vision_runs", "witness"])
    cfg.custom_hooks.append(dict(type="Witness"))
    cfg.train_cfg.max_epochs = 3
    config = project.root / f"{task}.py"
    cfg.dump(config)

    paths = f"{project.root}:{Path(vision_runs.__file__).parent}"
    two = ("--work-dir", project.root / "two")
    project.tool_in_two("train.py", config, *two, env=dict(PYTHONPATH=paths))
    monkeypatch.syspath_prepend(str(project.root))
    monkeypatch.delitem(sys.modules, "witness", raising=False)
    tool(
        "train.py", config, "--work-dir", project.root / "one",
        "--cfg-options", "train_dataloader.batch_size=4",
    ).main()  # fmt: skip

    one, first, second = (
        json.loads((project.root / path).read_text())
        for path in ("one/losses_0.json", "two/losses_0.json", "two/losses_1.json")
    )
    assert len(one) == 3
    both = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    assert both == pytest.approx(one, rel=1e-4)
    assert first != pytest.approx(second, rel=1e-4), "each has images of its own"

    log = next((project.root / "two").glob("*/*.log")).read_text()
    found = re.search(r"filled parameters, by process: 0: (\w+), 1: (\w+)", log)
    assert found and found[1] == found[2]
    reports = [
        json.loads((project.root / name / "language_init.json").read_text())
        for name in ("one", "two")
    ]
    assert reports[0] == reports[1]
    assert "images: 4" in log  # evaluated together
