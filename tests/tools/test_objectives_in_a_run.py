"""A mix of objectives as users run it: train, resume, two processes, probe, test."""

from __future__ import annotations

import json

import pytest
import torch

pytestmark = pytest.mark.slow

# All three kinds of labels and two views: every road of a batch at once.
CONFIG = """
_base_ = {base!r}
pack = dict(type='PackInputs', algorithm_keys=['true_label', 'few_label', 'turn'])
view = [dict(type='RandomFlip', prob=0.5)]
images = dict(
    type='CustomDataset', data_root={root!r}, data_prefix='train', pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='MultiView', num_views=2, transforms=[view]), pack])
random = dict(
    type='lbbt_mm.RandomLabelDataset', dataset=images, num_classes=2, ratio=1.0)
few = dict(type='lbbt_mm.FewTrueLabelsDataset', dataset=random, labels=2)
train_dataloader = dict(
    collate_fn=dict(type='lbbt_mm.collate_views'),
    dataset=dict(
        _delete_=True, type='lbbt_mm.RotationDataset', dataset=few, copies=1,
        field='turn'))
model = dict(
    type='lbbt_mm.BridgeClassifier',
    objectives=[
        dict(name='random', type='lbbt_mm.LabelObjective'),
        dict(name='rotation', type='lbbt_mm.LabelObjective', label='turn',
             num_classes=4),
        dict(name='labels', type='lbbt_mm.LabelObjective', label='few_label'),
        dict(name='contrastive', type='lbbt_mm.ContrastiveObjective',
             neck=dict(type='NonLinearNeck', hid_channels=8, out_channels=8,
                       with_avg_pool=False, norm_cfg=dict(type='BN1d')),
             head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss')))])
"""
ENTROPY = """
_base_ = {base!r}
model = dict(_delete_=True, type='lbbt_mm.EntropyMinimisation',
             classifier=_base_.model, lr=0.01)
"""


@pytest.fixture
def mix(project):
    """The project, trained for the mix."""
    path = project.root / "mix.py"
    path.write_text(CONFIG.format(base=str(project.config), root=str(project.root)))
    return path


def test_train_resume_and_evaluate(project, mix, tool, capfd):
    tool("train.py", mix, "--work-dir", project.work_dir).main()
    (checkpoint,) = project.work_dir.glob("epoch_*.pth")
    records = project.scalars()
    step = next(record for record in records if "loss" in record)
    losses = {k: v for k, v in step.items() if k.startswith("loss_")}
    names = ("random", "rotation", "labels", "contrastive")
    assert set(losses) == {f"loss_{name}" for name in names}
    assert step["loss"] == pytest.approx(sum(losses.values()), abs=1e-4)
    assert {"accuracy_top-1", "train_acc1", "rotation_accuracy_top-1"} <= set(step)
    (val,) = [record for record in records if "random_label/top1" in record]
    assert 0 <= val["true_label/top1"] <= 100

    # The backbone has the names that it has in any classifier's checkpoint.
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    assert any(name.startswith("backbone.") for name in state)
    tool(
        "train.py", mix, "--work-dir", project.work_dir, "--resume",
        "--no-validate", "--cfg-options", "train_cfg.max_epochs=2",
    ).main()  # fmt: skip
    assert (project.work_dir / "epoch_2.pth").is_file()

    probe = project.root / "probe"
    tool(
        "linear_probe.py", mix, checkpoint, "--work-dir", probe, "--epochs", "2"
    ).main()  # fmt: skip
    assert json.loads((probe / "linear_probe.json").read_text())

    entropy = project.root / "entropy.py"
    entropy.write_text(ENTROPY.format(base=str(mix)))
    out = project.root / "metrics.json"
    tool("test.py", entropy, checkpoint, "--out", out).main()
    assert 0 <= json.loads(out.read_text())["accuracy/top1"] <= 100
    said = capfd.readouterr()
    assert "unexpected key" not in said.out + said.err
    assert "missing keys" not in said.out + said.err


def test_two_processes(project, mix):
    # Of eight images two have their true labels: one process may meet none of them.
    project.tool_in_two(
        "train.py", mix, "--work-dir", project.work_dir, "--no-validate",
        "--cfg-options", "train_cfg.max_epochs=2", "train_dataloader.batch_size=2",
    )  # fmt: skip
    steps = [record for record in project.scalars() if "loss" in record]
    assert len(steps) == 4 and all("loss_contrastive" in step for step in steps)
    assert (project.work_dir / "epoch_2.pth").is_file()
