"""The second stage of a LLaVA under FSDP, on CPU in two processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from forked import run_two
from llava_tiny import random_images, write_chat_model
from mmengine.config import Config
from mmengine.registry import MODELS

from lbbt_mm.language.storage import load_pickle

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
NAMES = ["whole", "continued", "resumed"]
SHIPPED = "configs/llava/llava-1.6-vicuna-13b_language_stage2_llava-next-779k.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runs left."""
    folder = tmp_path_factory.mktemp("sharded_llava")
    write_chat_model(folder / "language", "llama")
    write_chat_model(folder / "encoder", "gpt2")
    (folder / "data").mkdir()
    records = []
    for number in range(8):
        # One process has a batch without images.
        blind = number in (1, 3)
        asked = "What is it?" if blind else "<image>\nWhat is this?"
        # Answers of one length: each process takes the mean over its own tokens.
        turns = [("human", asked), ("gpt", "a red bag")]
        record = dict(conversations=[{"from": f, "value": v} for f, v in turns])
        if not blind:
            (image,) = random_images((20, 24 + number), seed=number)
            image.save(folder / f"data/{number}.png")
            record["image"] = f"{number}.png"
        records.append(record)
    (folder / "data/all.json").write_text(json.dumps(records))
    write_first_stage(folder)
    run_two([HERE / "sharded_llava_worker.py", folder, *NAMES], folder, os.environ)
    return folder


def write_first_stage(folder: Path) -> None:
    """A checkpoint of a vision encoder and a projector, as a first stage leaves it."""
    torch.manual_seed(1)
    model = Config.fromfile(HERE.parents[1] / SHIPPED).model
    model.update(language_model=str(folder / "language"), train_language="none")
    model.grid_pinpoints = [(16, 32), (32, 16)]
    encoder = dict(language_model=str(folder / "encoder"), num_layers=1)
    model.vision_encoder.update(encoder, img_size=16, patch_size=8)
    built = MODELS.build(model)
    built.init_weights()
    torch.save(dict(state_dict=built.state_dict()), folder / "first.pth")


def told(folder: Path, name: str) -> list[dict]:
    """By both processes, and by one alone where there was one."""
    found = [folder / f"{name}_{who}.pt" for who in ("rank0", "rank1", "one")]
    return [torch.load(path, weights_only=True) for path in found if path.exists()]


def weights(folder: Path, processes: int, name: str, epoch: int) -> dict:
    return load_pickle(folder / f"work{processes}/{name}/epoch_{epoch}.pth")[
        "state_dict"
    ]


def test_blocks_of_both_models_are_shards(folder: Path) -> None:
    first, second, one = told(folder, "whole")
    # Units are padded to equal shards.
    assert first["held"] + second["held"] >= one["held"]
    assert max(first["held"], second["held"]) < 0.6 * one["held"]
    for rank in (first, second):
        # Two blocks of the language model and one of the vision encoder.
        assert rank["modules"].count("FullyShardedDataParallel") == 3
        assert rank["modules"].count("CheckpointWrapper") == 3


@pytest.mark.parametrize("name", [n for n in NAMES if n != "resumed"])
def test_shards_compute_the_loss_of_one_process(folder: Path, name: str) -> None:
    first, second, one = told(folder, name)
    pairs = zip(first["losses"], second["losses"], strict=True)
    means = [sum(pair) / 2 for pair in pairs]
    assert len(means) == 4 and means[:1] == pytest.approx(one["losses"][:1], rel=1e-5)
    # Adam's steps differ where a gradient is nearly zero.
    assert means == pytest.approx(one["losses"], rel=2e-3)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "resumed"])
def test_a_checkpoint_holds_what_one_process_would_save(
    folder: Path, name: str
) -> None:
    ours, one = weights(folder, 2, name, 2), weights(folder, 1, name, 2)
    assert set(ours) == set(one)
    assert {key.partition(".")[0] for key in ours} > {"language_model", "projector"}
    for key, value in one.items():
        assert ours[key].shape == value.shape
        # Four steps move a weight by up to 4e-3; most go the same way.
        if value.is_floating_point():
            assert float((ours[key] - value).abs().median()) < 1e-3, key


def test_a_stage_goes_on_from_an_encoder_and_a_projector(folder: Path) -> None:
    first = told(folder, "continued")[0]["losses"]
    assert first[0] != told(folder, "whole")[0]["losses"][0]


def test_a_resumed_run_goes_on_as_if_never_stopped(folder: Path) -> None:
    for rank in (0, 1):
        whole = told(folder, "whole")[rank]["losses"]
        assert told(folder, "resumed")[rank]["losses"] == whole[len(whole) // 2 :]
