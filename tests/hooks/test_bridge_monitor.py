"""BridgeMonitorHook in real Runners: what it records, and what it leaves alone."""

from __future__ import annotations

import copy
import json
import random
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.visualization import BaseVisBackend
from torch.testing import assert_close

from lbbt_mm.analysis import activation_ratio, weight_statistics
from lbbt_mm.hooks import BridgeMonitorHook
from lbbt_mm.hooks.fixed_images import take_images, undisturbed

ROOT = Path(__file__).resolve().parents[2]
LEAF = "configs/bridge/smollm2-b8_language_random100_6e_fashion-mnist.py"
IMAGES = 20


class Collected(BaseVisBackend):
    """A second backend beside the one that writes scalars.json."""

    records: list[dict] = []

    def _init_env(self) -> None:
        pass

    experiment = None

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs) -> None:
        self.records.append(dict(scalar_dict, step=step))


class Stir(Hook):
    """Draws from all three generators before the monitor prepares its images."""

    priority = "HIGHEST"

    def before_train(self, runner) -> None:
        torch.rand(3), np.random.rand(), random.random()


for registry, kind in ((VISBACKENDS, Collected), (HOOKS, Stir)):
    if kind.__name__ not in registry.module_dict:
        registry.register_module(module=kind)


@pytest.fixture
def config(tmp_path: Path, write_idx_images) -> Config:
    """The shipped config on a tiny GPT-2 and a few images: 5 iterations an epoch.

    Whatever draws at random in training does: dropout, drop path, augmentation.
    """
    import transformers as hf

    gpt2 = hf.GPT2Config(n_embd=16, n_layer=3, n_head=2, n_positions=20, vocab_size=32)
    hf.GPT2Model(gpt2).save_pretrained(tmp_path / "gpt2")
    (tmp_path / "data").mkdir()
    write_idx_images(tmp_path / "data", IMAGES)
    cfg = Config.fromfile(ROOT / LEAF)
    cfg.work_dir = str(tmp_path / "work")
    inner = "train_dataloader.dataset.dataset."
    cfg.merge_from_dict(
        {
            "model.backbone.language_model": str(tmp_path / "gpt2"),
            "model.backbone.num_layers": 3,
            "model.backbone.drop_rate": 0.1,
            "model.backbone.drop_path_rate": 0.5,
            "model.head.in_channels": 16,
            "train_cfg.max_epochs": 1,
            "train_dataloader.batch_size": 4,
            inner + "data_root": str(tmp_path / "data"),
            inner + "indices": None,
            inner + "pipeline": [
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackInputs"),
            ],
            "val_cfg": None,
            "val_dataloader": None,
            "val_evaluator": None,
            "param_scheduler": [],
            "optim_wrapper.optimizer.lr": 1e-3,
            "optim_wrapper.optimizer.fused": False,  # torch 2.1 cannot on CPU
            "visualizer.vis_backends": [
                dict(type="LocalVisBackend"),
                dict(type="Collected"),
            ],
        }
    )
    return cfg


def train(
    cfg: Config, name: str, hook: dict | None = None, more: tuple = (), **options
) -> tuple[Runner, list[dict]]:
    """Train; returns what the second backend got from the hook."""
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(copy.deepcopy(options))  # it takes _delete_ out of them
    if hook is not None:
        cfg.custom_hooks = [
            *cfg.custom_hooks,
            dict(type="lbbt_mm.BridgeMonitorHook", **hook),
        ]
    cfg.custom_hooks = [*cfg.custom_hooks, *more]
    cfg.experiment_name = name
    Collected.records = []
    runner = Runner.from_cfg(cfg)
    runner.train()
    records = [r for r in Collected.records if "monitor/seconds" in r]
    return runner, records


def monitor_of(runner: Runner) -> BridgeMonitorHook:
    return next(hook for hook in runner.hooks if isinstance(hook, BridgeMonitorHook))


def steps(records: list[dict]) -> list[int]:
    return [record["step"] for record in records]


def test_what_is_recorded_and_when(config: Config) -> None:
    hook = dict(interval=2, at=[3], rules=["zero", "reference"])
    config.optim_wrapper.dtype = "float32"
    runner, records = train(config, "fresh", hook)
    assert steps(records) == [0, 2, 3, 4, 5]  # and after the last of 5

    blocks = [f"block_{index}" for index in range(3)]
    expected = {
        "monitor/seconds",
        "monitor/accuracy/trained_label",
        "monitor/accuracy/true_label",
        *(f"monitor/alignment/leading_{k}" for k in (1, 4, 16)),
        "monitor/alignment/off_diagonal",
        "monitor/alignment/off_diagonal_deviation",
    }
    for group in ("outliers_above_1", "outliers_share_6_sigma"):
        expected |= {f"monitor/{group}/{name}" for name in [*blocks, "total"]}
    for group in ("activation_ratio", "activation_ratio_reference"):
        expected |= {f"monitor/{group}/{name}" for name in blocks}
    for record in records:
        assert set(record) - {"step"} == expected

    # LocalVisBackend has them too, beside the losses.
    (scalars,) = Path(config.work_dir).glob("*/vis_data/scalars.json")
    written = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [r for r in written if "monitor/seconds" in r] == records
    assert any("loss" in record for record in written)
    log = next(Path(config.work_dir).glob("*/*.log")).read_text()
    assert "BridgeMonitorHook: 5 record(s) took" in log


def test_the_numbers_are_those_of_the_finished_model(config: Config) -> None:
    config.optim_wrapper.dtype = "float32"
    runner, records = train(config, "numbers", dict(threshold=0.1, sigmas=2.5))
    last, model, fixed = records[-1], runner.model, monitor_of(runner)._fixed
    model.eval()
    for one in activation_ratio(model.backbone, fixed.inputs):
        assert last[f"monitor/activation_ratio/block_{one.block}"] == one.ratio
    slow = weight_statistics(model.backbone, threshold=0.1, sigmas=2.5)
    groups = {"total": slow.total}
    groups.update((f"block_{i}", one) for i, one in enumerate(slow.by_block.values()))
    assert len(groups) == 4 and slow.total.above_sigmas
    for name, one in groups.items():
        assert last[f"monitor/outliers_above_0.1/{name}"] == one.above
        share = last[f"monitor/outliers_share_2.5_sigma/{name}"]
        assert share == one.share_above_sigmas
    # Training has moved the weights and the alignment.
    for name in ("alignment/off_diagonal", "alignment/leading_4"):
        assert last[f"monitor/{name}"] != records[0][f"monitor/{name}"]

    labels = runner.train_dataloader.dataset
    with torch.no_grad():
        guesses = torch.cat([model(x).argmax(dim=1) for x in fixed.inputs])
    for name, expected in (
        ("trained", torch.from_numpy(labels.random_labels.copy())),
        ("true", torch.arange(IMAGES) % 10),  # the pipeline does not pack it
    ):
        accuracy = 100.0 * float((guesses == expected).double().mean())
        assert last[f"monitor/accuracy/{name}_label"] == pytest.approx(accuracy)


@pytest.mark.parametrize(
    "options, more",
    [
        ({}, ()),
        ({"model.backbone.trainable_layers": "first:1"}, (dict(type="EMAHook"),)),
        ({"train_cfg": dict(_delete_=True, by_epoch=False, max_iters=5)}, ()),
    ],
    ids=["plain", "frozen blocks and EMA", "iterations"],
)
def test_training_is_not_changed(config: Config, options: dict, more: tuple) -> None:
    alone, _ = train(config, "alone", None, more, **options)
    watched, records = train(config, "watched", dict(interval=1), more, **options)
    assert steps(records) == [0, 1, 2, 3, 4, 5]
    assert_close(watched.model.state_dict(), alone.model.state_dict(), rtol=0, atol=0)
    modes = [[m.training for m in r.model.modules()] for r in (alone, watched)]
    assert modes[0] == modes[1] and (all(modes[0]) != bool(more))


def test_a_resumed_run_goes_on_with_the_same_images(config: Config) -> None:
    options = {"train_cfg.max_epochs": 2, "default_hooks.checkpoint.max_keep_ckpts": -1}
    hook = dict(interval=5)
    whole, all_records = train(config, "whole", hook, **options)
    assert steps(all_records) == [0, 5, 10]
    first = str(Path(config.work_dir) / "epoch_1.pth")
    stir = (dict(type="Stir"),)
    resumed, records = train(
        config, "resumed", hook, stir, **options, resume=True, load_from=first
    )
    assert steps(records) == [10]  # 5 was recorded before the checkpoint
    seconds = "monitor/seconds"
    assert {**records[0], seconds: 0} == {**all_records[-1], seconds: 0}
    for ours, theirs in zip(
        monitor_of(resumed)._fixed.inputs, monitor_of(whole)._fixed.inputs, strict=True
    ):
        assert_close(ours, theirs, rtol=0, atol=0)
    last = find_latest_checkpoint(config.work_dir)
    _, records = train(config, "again", hook, **options, resume=True, load_from=last)
    assert records == []  # nothing was left to train


def test_load_from_is_seen_before_the_first_iteration(config: Config) -> None:
    _, before = train(config, "before", {})
    last = find_latest_checkpoint(config.work_dir)
    _, records = train(config, "loaded", {}, load_from=last)
    assert steps(records) == [0, 5]
    same = [{k: v for k, v in r.items() if k not in ("monitor/seconds", "step")}
            for r in (records[0], before[-1])]  # fmt: skip
    assert same[0] == same[1]


def test_weights_that_are_not_finite_leave_a_gap(config: Config) -> None:
    last = Path(config.work_dir) / "epoch_1.pth"
    train(config, "good")
    saved = torch.load(last, weights_only=False)
    saved["state_dict"]["backbone.language.blocks.1.up.weight"][0, 0] = torch.nan
    torch.save(saved, last)
    _, records = train(
        config, "bad", dict(interval=1), load_from=str(last), **{
            "optim_wrapper.optimizer.lr": 0.0}
    )  # fmt: skip
    assert steps(records) == [0, 1, 2, 3, 4, 5]
    for name in records[0]:
        assert "outliers" not in name and "activation" not in name
    assert "monitor/alignment/leading_1" in records[0]
    logs = "".join(path.read_text() for path in Path(config.work_dir).glob("*/*.log"))
    assert logs.count("no outliers at iteration 0: Expected finite weights") == 1
    assert "no outliers at iteration 1" not in logs


def test_only_what_is_asked_for(config: Config) -> None:
    hook = dict(interval=None, measure=["accuracy"], images=3)
    _, records = train(config, "little", hook)
    assert steps(records) == [0, 5]
    names = {"monitor/accuracy/trained_label", "monitor/accuracy/true_label"}
    assert set(records[0]) == {"step", "monitor/seconds"} | names


def test_too_few_images_for_the_alignment(config: Config) -> None:
    with pytest.raises(ValueError, match=r"at least 49 patches.*got 48"):
        train(config, "few", dict(images=3))


def test_a_model_without_language_backbone(config: Config) -> None:
    config.model.backbone = dict(type="mmpretrain.LeNet5", num_classes=-1)
    with pytest.raises(TypeError, match=r"LanguageBackbone, got ImageClassifier with"):
        train(config, "lenet", {}, **{"model.head.in_channels": 120})


def test_a_sharded_run_is_refused() -> None:
    flexible = types.SimpleNamespace(model=torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="expects mmengine's Runner, got SimpleN"):
        BridgeMonitorHook().before_train(flexible)


def test_of_several_views_the_first_is_taken_in_batches_of_the_training() -> None:
    """And where no label is packed, there is none."""
    views = [[torch.full((3, 2, 2), float(i)), torch.zeros(3, 2, 2)] for i in range(10)]
    loader = types.SimpleNamespace(
        dataset=views,
        batch_size=2,
        collate_fn=lambda items: dict(
            inputs=[torch.stack(view) for view in zip(*items, strict=True)]
        ),
    )
    model = types.SimpleNamespace(data_preprocessor=lambda batch, training: batch)
    runner = types.SimpleNamespace(train_dataloader=loader)
    with undisturbed(torch.nn.Identity()):
        fixed = take_images(runner, model, 4, seed=0)
    assert [len(batch) for batch in fixed.inputs] == [2, 2]
    # Evenly over the dataset, the first and the last among them.
    assert torch.cat(fixed.inputs)[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    assert fixed.labels == dict(trained=[], true=[])


@pytest.mark.parametrize(
    "bad, words",
    [
        (dict(interval=0), "an interval of 1 iteration or more, got 0"),
        (dict(images=0), "1 image or more, got 0"),
        (dict(measure=["outlier"]), "some of activation, outliers.*got .'outlier'"),
        (dict(measure="outliers"), "to be a list"),
        (dict(rules=[]), "rules to be a list of some of zero, reference"),
    ],
)
def test_bad_arguments(bad: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BridgeMonitorHook(**bad)
