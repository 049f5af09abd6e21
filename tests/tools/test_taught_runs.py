"""Teacher, dropped positions and entropy in a run: train, resume, test, two."""

from __future__ import annotations

import json

import pytest
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.slow

# One config, two stages: what changes is the list of objectives.
CONFIG = """
_base_ = {base!r}
teacher = None
labels = dict(name='random', type='lbbt_mm.LabelObjective')
more = [
    dict(name='teacher', type='lbbt_mm.TeacherObjective', checkpoint=teacher),
    dict(name='entropy', type='lbbt_mm.EntropyObjective', of='random'),
    dict(name='droppos', type='lbbt_mm.DropPosObjective', mask_ratio=0.0),
] if teacher else []
model = dict(
    type='lbbt_mm.BridgeClassifier', objectives=[labels, *more],
    backbone=dict(
        _delete_=True, type='lbbt_mm.LanguageBackbone', language_model={gpt2!r},
        img_size=8, patch_size=4, out_type='avg'))
custom_hooks = [dict(type='lbbt_mm.RandomStateHook')]
"""


@pytest.fixture
def config(project):
    """The project, on a small GPT-2."""
    path, gpt2 = project.root / "taught.py", project.save_gpt2(blocks=1)
    path.write_text(CONFIG.format(base=str(project.config), gpt2=gpt2))
    return path


def weights(folder, epoch: int) -> dict:
    return torch.load(folder / f"epoch_{epoch}.pth", weights_only=False)["state_dict"]


def test_a_bridge_teaches_a_restart_of_itself(project, config, tool, ended):
    bridge, student = project.root / "bridge", project.root / "student"

    def train(folder, *options, epochs: int = 1) -> None:
        changed = ["--cfg-options", f"train_cfg.max_epochs={epochs}", *options]
        named = [config, "--work-dir", folder, "--no-validate", *changed]
        tool("train.py", *named).main()

    train(bridge)
    taught = f"teacher={bridge / 'epoch_1.pth'}"
    train(student, taught)
    (scalars,) = student.glob("*/vis_data/scalars.json")
    step = json.loads(scalars.read_text().splitlines()[0])
    names = ("random", "teacher", "entropy", "droppos")
    assert {f"loss_{name}" for name in names} <= step.keys()
    assert step["loss_teacher"] > 0 and "droppos_accuracy_top-1" in step

    # The student began as the language model, and holds nothing of its teacher's.
    first, second = weights(bridge, 1), weights(student, 1)
    assert {*second} - {*first} == {
        "objectives.teacher._extra_state",
        "objectives.droppos.no_position",
        "objectives.droppos.head.weight",
        "objectives.droppos.head.bias",
    }
    # A resumed run has the same teacher, and goes on as if it had not ended.
    whole = project.root / "whole"
    train(whole, taught, epochs=2)
    resumed = ["--resume", "--cfg-options", "train_cfg.max_epochs=2", taught]
    tool(
        "train.py", config, "--work-dir", student, "--no-validate", *resumed
    ).main()  # fmt: skip
    assert_close(weights(student, 2), weights(whole, 2), rtol=0, atol=0)
    resumed[2:] = ["train_cfg.max_epochs=3", f"teacher={whole / 'epoch_1.pth'}"]
    done = ended("train.py", config, "--work-dir", student, "--no-validate", *resumed)
    assert done.returncode and "that the run began with, or begin a" in done.stderr

    # Testing needs no teacher.
    (bridge / "epoch_1.pth").unlink()
    out = project.root / "metrics.json"
    found = student / "epoch_2.pth"
    tool("test.py", config, found, "--out", out, "--cfg-options", taught).main()
    assert 0 <= json.loads(out.read_text())["accuracy/top1"] <= 100
    done = ended("train.py", config, "--work-dir", whole, "--cfg-options", taught)
    assert done.returncode == 2 and "a teacher, or name another one" in done.stderr


def test_two_processes_have_one_teacher(project, config, tool):
    bridge = project.root / "bridge"
    tool("train.py", config, "--work-dir", bridge, "--no-validate").main()
    project.tool_in_two(
        "train.py", config, "--work-dir", project.work_dir, "--no-validate",
        "--cfg-options", "train_cfg.max_epochs=2", "train_dataloader.batch_size=2",
        f"teacher={bridge / 'epoch_1.pth'}",
    )  # fmt: skip
    steps = [record for record in project.scalars() if "loss" in record]
    assert len(steps) == 4 and all(step["loss_teacher"] > 0 for step in steps)
    assert (project.work_dir / "epoch_2.pth").is_file()
