"""tools/train.py and tools/test.py on a tiny project, as a user runs them."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from mmengine.config import Config

pytestmark = pytest.mark.slow


def test_train_logs_what_a_bridge_needs(trained):
    assert (trained.work_dir / "epoch_1.pth").is_file()
    records = trained.scalars()
    steps = [record for record in records if "loss" in record]
    # 8 images in batches of 4; the running accuracy is the mean over the epoch so far.
    assert len(steps) == 2
    accuracies = [record["accuracy_top-1"] for record in steps]
    assert steps[0]["train_acc1"] == pytest.approx(accuracies[0])
    assert steps[1]["train_acc1"] == pytest.approx(sum(accuracies) / 2)
    assert all(record["images_per_second"] > 0 for record in steps)
    (evaluation,) = [r for r in records if "random_label/top1" in r]
    assert 0 <= evaluation["true_label/top1"] <= 100
    assert evaluation["chance"] == 50


def test_amp_is_bfloat16_autocast(trained):
    saved = Config.fromfile(next(trained.work_dir.glob("*/vis_data/config.py")))
    assert saved.optim_wrapper.type == "lbbt_mm.AutocastOptimWrapper"
    assert saved.optim_wrapper.dtype == "bfloat16"


def test_resume_goes_on_where_it_stopped(project, trained, tool, capfd):
    shutil.copytree(trained.work_dir, project.work_dir)
    (first,) = project.work_dir.glob("*/vis_data")
    first.parent.rename(project.work_dir / "0")  # it may be of the same second
    tool(
        "train.py", project.config, "--work-dir", project.work_dir,
        "--resume", "--no-validate", "--cfg-options", "train_cfg.max_epochs=2",
        "custom_hooks.0.warmup=1",
    ).main()  # fmt: skip
    assert (project.work_dir / "epoch_2.pth").is_file()
    records = project.scalars()
    assert [record["epoch"] for record in records] == [2, 2]
    # Not the throughput of the run that was resumed, while this one warms up.
    assert ["images_per_second" in record for record in records] == [False, True]
    captured = capfd.readouterr()
    assert "Epoch(val)" not in captured.out + captured.err
    assert "just skip resuming" not in captured.out + captured.err


@pytest.fixture(scope="module")
def metrics(trained):
    """What tools/test.py writes about the trained checkpoint."""
    out = trained.root / "metrics.json"
    trained.tool("test.py", trained.work_dir / "epoch_1.pth", "--out", out)
    return json.loads(out.read_text())


def test_test_writes_metrics(metrics):
    # The two metrics of the config look at the same labels here.
    assert metrics["accuracy/top1"] == metrics["random_label/top1"]
    assert "true_label/top1" not in metrics
    assert metrics["accuracy/top1"] in [0, 20, 40, 60, 80, 100]  # of 5 images


def test_test_writes_predictions_under_autocast(project, trained, tool):
    checkpoint = trained.work_dir / "epoch_1.pth"
    out = project.root / "predictions.pkl"
    tool("test.py", project.config, checkpoint, "--amp", "--out", out).main()
    with out.open("rb") as file:
        predictions = pickle.load(file)  # our own file, of a second ago
    assert len(predictions) == 5
    assert predictions[0]["pred_score"].dtype == torch.bfloat16


def test_two_processes_train_on_cpu(project):
    output = project.run(
        project.tools / "dist_train.sh", project.config, "2", "--device", "cpu",
        "--work-dir", project.work_dir,
        "--cfg-options", "train_dataloader.batch_size=2",
    )  # fmt: skip
    steps = [record for record in project.scalars() if "loss" in record]
    assert len(steps) == 2  # 8 images, 2 processes, 2 at a time
    assert "2 process(es)" in output
    assert (project.work_dir / "epoch_1.pth").is_file()


def test_two_processes_measure_what_one_does(project, trained, metrics):
    """5 images on 2 processes: one image is padding, and must not count."""
    out = project.root / "metrics.json"
    project.run(
        project.tools / "dist_test.sh", project.config,
        trained.work_dir / "epoch_1.pth", "2", "--device", "cpu",
        "--work-dir", project.work_dir, "--out", out,
    )  # fmt: skip
    assert json.loads(out.read_text()) == metrics


def test_linear_probe_extracts_once(project, trained, tool, capfd):
    checkpoint = trained.work_dir / "epoch_1.pth"
    options = ("--epochs", "20", "--lr", "0.05", checkpoint)
    first = project.tool("linear_probe.py", *options)
    assert "train features: extracted" in first
    path = project.work_dir / "linear_probe.json"
    record = json.loads(path.read_text())
    # Dark and light images: the true labels are easy, the random ones are not.
    assert record["last_test_top1"] == 100
    assert len(record["test_top1"]) == 20
    assert record["images"] == dict(train=8, test=5)
    assert record["chance"] == 50
    assert record["checkpoint"] == str(checkpoint)
    assert len(record["checkpoint_sha256"]) == 64
    assert "linear_probe.py" in record["command"]
    assert record["features_from_cache"] == dict(train=False, test=False)

    tool(
        "linear_probe.py", project.config, "--work-dir", project.work_dir, *options
    ).main()
    assert "train features: read from the cache" in capfd.readouterr().out
    again = json.loads(path.read_text())
    assert again["test_top1"] == record["test_top1"]
    assert again["features_from_cache"] == dict(train=True, test=True)


def test_linear_probe_of_the_unbridged_model(project, tool, capfd):
    options = ("--work-dir", project.work_dir, "--epochs", "2", "--no-cache")
    tool("linear_probe.py", project.config, *options, "--out", "deep/a.json").main()
    record = json.loads((project.root / "deep" / "a.json").read_text())
    assert record["checkpoint"] is None and len(record["backbone_sha256"]) == 64
    assert not (project.work_dir / "features").exists()
    output = capfd.readouterr().out
    assert "Linear probe of the unbridged model: 8 training and 5 test" in output
    assert "chance" in output


def test_linear_probe_chooses_its_learning_rate(project, tool, capfd):
    options = ("--work-dir", project.work_dir, "--epochs", "30", "--held-out", "0.5")
    sweep = ("--lr-sweep", "1e-1", "1e-6", "1e-2")
    tool("linear_probe.py", project.config, *options, *sweep).main()
    output = capfd.readouterr().out
    assert "learning rates on 4 held-out training images" in output
    assert "one image is 25 points" in output
    record = json.loads((project.work_dir / "linear_probe_unbridged.json").read_text())
    sweep = record["lr_sweep"]
    assert sweep["lrs"] == [1e-6, 1e-2, 1e-1]
    assert sweep["images"] == dict(train=4, held_out=4)
    assert len(sweep["held_out_top1"]) == len(sweep["held_out_loss"]) == 3
    # Everything learns dark from light; the largest rate is the surest of it.
    assert record["probe"]["lr"] == sweep["chosen"] == 1e-1
    assert sweep["at_edge"] and "0.1 is at the edge of the grid" in output
    assert f"{1e-1:<12g}" in output and "chosen" in output
    assert record["seconds"]["lr_sweep"] > 0 and record["last_test_top1"] == 100
    # The final probe is the ordinary one with that rate, on all images.
    tool("linear_probe.py", project.config, *options[:4], "--lr", "0.1").main()
    plain = json.loads((project.work_dir / "linear_probe_unbridged.json").read_text())
    assert plain["lr_sweep"] is None
    assert plain["test_top1"] == record["test_top1"]
    assert plain["train_top1"] == record["train_top1"]
