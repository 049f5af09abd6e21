"""LLaVA in a real Runner: stages, resuming, averaged weights, two processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_two
from llava_tiny import (
    ONE_BATCH_OF_TWO,
    RECORDS,
    SIZE,
    run_config,
    run_recorded,
    weights_of,
    write_conversations,
)
from torch.testing import assert_close

from lbbt_mm.models.multimodal.llava_parts import RECORD

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
LORA = dict(r=2, lora_dropout=0.3, target_modules=["q_proj", "v_proj"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the data; each test's runs have other names."""
    folder = tmp_path_factory.mktemp("llava_runs")
    write_conversations(folder / "data")
    return folder


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=False, map_location="cpu")


def log_of(work_dir: Path) -> str:
    return "".join(path.read_text() for path in sorted(work_dir.glob("*/*.log")))


EPOCHS = dict(  # 2 of 4 iterations: RandomStateHook restores dropout by epoch only
    train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=2),
    train_dataloader__sampler=dict(type="DefaultSampler", shuffle=True),
    default_hooks__checkpoint=dict(by_epoch=True, interval=1),
    log_processor__by_epoch=True,
)
STAGES = dict(
    first={},
    lora=dict(model__train_language=dict(LORA, lora_dropout=0.0)),
    whole=dict(model__train_language="all", model__train_encoder=False),
    epochs=dict(EPOCHS, model__train_language=LORA),
)


@pytest.mark.parametrize("stage", STAGES)
def test_resume_equals_uninterrupted(chat_model: str, folder: Path, stage: str) -> None:
    """With batches without any image before and after; by epochs, with dropout."""
    options, done = STAGES[stage], 4 if stage == "epochs" else 3
    middle, end = ("epoch_1", "epoch_2") if stage == "epochs" else ("iter_3", "iter_6")
    name = f"{stage}_uninterrupted"
    runner, steps = run_recorded(run_config(folder, chat_model, name, **options))
    middle = folder / name / f"{middle}.pth"
    options = dict(options, resume=True, load_from=str(middle))
    again, rest = run_recorded(
        run_config(folder, chat_model, f"{stage}_resumed", **options)
    )
    blind = [step["images"] == 0 for step in steps]
    assert any(blind[:done]) and any(blind[done:]) and not all(blind)
    assert rest == steps[done:] and len(steps) == 2 * done
    assert_close(weights_of(again), weights_of(runner), rtol=0, atol=0)
    last = [
        load(folder / f"{stage}_{kind}" / f"{end}.pth")
        for kind in ("uninterrupted", "resumed")
    ]
    assert last[0]["state_dict"].keys() == last[1]["state_dict"].keys()
    for key, value in last[0]["state_dict"].items():
        assert_close(last[1]["state_dict"][key], value, rtol=0, atol=0)
    # It would also be equal if nothing were trained.
    saved = load(middle)["state_dict"]
    moved = [not torch.equal(saved[k], v) for k, v in last[0]["state_dict"].items()]
    assert sum(moved) > 4


def test_two_stages_by_config(chat_model: str, folder: Path) -> None:
    first, _ = run_recorded(
        run_config(folder, chat_model, "stage1", train_cfg__max_iters=3)
    )
    stored = load(folder / "stage1" / "iter_3.pth")["state_dict"]
    assert {name.partition(".")[0] for name in stored} == {
        "vision_encoder",
        "projector",
        RECORD,
    }
    options = dict(
        model__train_encoder=False,
        model__train_language=LORA,
        load_from=str(folder / "stage1" / "iter_3.pth"),
    )
    second, _ = run_recorded(run_config(folder, chat_model, "stage2", **options))
    log = log_of(folder / "stage2")
    assert "missing keys" not in log and "unexpected key" not in log
    assert "no language_model in the checkpoint, it keeps its own weights" in log
    assert "LLaVA trains" in log
    trained = load(folder / "stage2" / "iter_6.pth")["state_dict"]
    for name, value in stored.items():
        if name.startswith("vision_encoder"):  # frozen in the second stage, still held
            assert_close(trained[name], value, rtol=0, atol=0)
        if name.startswith("projector"):
            assert not torch.equal(trained[name], value)
    language = [name for name in trained if name.startswith("language_model")]
    assert language and all(".lora_" in name for name in language)
    before, after = weights_of(first), weights_of(second)
    for name, value in after.items():
        if "language_model" in name and ".lora_" not in name:
            old = name.replace("base_model.model.", "").replace(".base_layer", "")
            assert_close(value, before[old], rtol=0, atol=0)


def test_averaged_weights(chat_model: str, folder: Path) -> None:
    """EMAHook's checkpoints hold what ours hold, and resume."""
    hooks = [dict(type="EMAHook", momentum=0.5), dict(type="lbbt_mm.RandomStateHook")]
    options = dict(custom_hooks=hooks, model__train_language="all")
    _, steps = run_recorded(run_config(folder, chat_model, "ema", **options))
    saved = load(folder / "ema" / "iter_6.pth")
    ema, state = saved["ema_state_dict"], saved["state_dict"]
    assert set(ema) == {"steps", *(f"module.{name}" for name in state)}
    name = "projector.layers.0.weight"
    assert not torch.equal(ema[f"module.{name}"], state[name])
    options |= dict(resume=True, load_from=str(folder / "ema" / "iter_3.pth"))
    _, rest = run_recorded(run_config(folder, chat_model, "ema_resumed", **options))
    assert rest == steps[3:]
    again = load(folder / "ema_resumed" / "iter_6.pth")
    for key in ("state_dict", "ema_state_dict"):
        assert_close(again[key], saved[key], rtol=0, atol=0)
    assert "missing keys" not in log_of(folder / "ema_resumed")


def test_validation(chat_model: str, folder: Path) -> None:
    """Answers in batches reach the metric, and training is the same without it."""
    data = dict(
        batch_size=3,
        num_workers=0,
        dataset=dict(
            type="lbbt_mm.VQADataset",
            format="llava",
            data_root=str(folder / "data"),
            ann_file="conversations.json",
            data_prefix=dict(img_path=""),
            pipeline=[
                dict(type="lbbt_mm.ImageTiles", size=SIZE),
                dict(type="lbbt_mm.PackConversation"),
            ],
            test_mode=True,
        ),
        sampler=dict(type="DefaultSampler", shuffle=False),
    )
    options = dict(
        model__train_language="all",
        model__generation=dict(max_new_tokens=16),
        train_cfg__max_iters=40,
        default_hooks__checkpoint__interval=100,
    )
    _, plain = run_recorded(run_config(folder, chat_model, "unvalidated", **options))
    options |= dict(
        val_dataloader=data,
        val_cfg={},
        val_evaluator=dict(type="lbbt_mm.VQAMetric", rule="exact"),
        train_cfg__val_interval=20,
    )
    runner, steps = run_recorded(run_config(folder, chat_model, "validated", **options))
    assert steps == plain
    # All records have one answer, which the tiny model has learned by heart.
    found = runner.val_loop.run()
    accuracies = [value for name, value in found.items() if "accuracy" in name]
    assert accuracies and max(accuracies) == 100, found


def test_two_processes_are_one(chat_model: str, folder: Path) -> None:
    """One rank's batch without images, and both: DDP waits for every gradient.

    All answers have one length, so that the mean of the ranks' losses is the loss.
    """
    worker = Path(__file__).with_name("llava_worker.py")
    run_two([worker, folder, chat_model], folder, os.environ)
    ranks = [load(folder / f"rank{rank}.pth") for rank in (0, 1)]
    runner, steps = run_recorded(
        run_config(folder, chat_model, "one", **ONE_BATCH_OF_TWO)
    )
    seen = [[step["images"] for step in rank["steps"]] for rank in ranks]
    expected = [int(image) for image, _, _ in RECORDS]
    assert seen == [expected[::2], expected[1::2]] == [[1, 0, 0, 1], [0, 1, 0, 1]]
    assert_close(ranks[0]["weights"], ranks[1]["weights"], rtol=0, atol=0)
    losses = [[step["loss"] for step in rank["steps"]] for rank in ranks]
    means = [sum(pair) / 2 for pair in zip(*losses, strict=True)]
    assert means == pytest.approx([step["loss"] for step in steps], rel=1e-5)
    assert_close(ranks[0]["weights"], weights_of(runner), rtol=1e-4, atol=1e-5)
    assert means[-1] < means[0]  # they have learned
