"""A real Runner: initialisation < language weights < load_from < resume."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torch.testing import assert_close

from lbbt_mm.language import open_checkpoint
from lbbt_mm.language.errors import MissingCheckpoint

ROOT = Path(__file__).resolve().parents[3]
LEAF = "configs/bridge/smollm2-b8_language_random100_6e_fashion-mnist.py"


@pytest.fixture
def language_model(tmp_path: Path) -> str:
    import transformers as hf

    config = hf.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=64,
    )
    hf.LlamaModel(config).save_pretrained(tmp_path / "llama")
    return str(tmp_path / "llama")


@pytest.fixture
def config(language_model: str, tmp_path: Path, write_idx_images) -> Config:
    """The shipped config on a tiny model and twelve images."""
    data = tmp_path / "data"
    data.mkdir()
    write_idx_images(data, 12)
    cfg = Config.fromfile(ROOT / LEAF)
    cfg.work_dir = str(tmp_path / "work")
    cfg.merge_from_dict(
        {
            "model.backbone.language_model": language_model,
            "model.backbone.num_layers": 2,
            "model.head.in_channels": 32,
            "train_cfg.max_epochs": 2,
            "train_cfg.val_interval": 1,
            "train_dataloader.batch_size": 4,
            "train_dataloader.dataset.dataset.data_root": str(data),
            "val_dataloader.dataset.dataset.data_root": str(data),
            "test_dataloader.dataset.data_root": str(data),
            "train_dataloader.dataset.dataset.indices": None,
            "val_dataloader.dataset.dataset.indices": None,
            "default_hooks.checkpoint.max_keep_ckpts": -1,
            "optim_wrapper.optimizer.fused": False,  # torch 2.1 cannot on CPU
        }
    )
    return cfg


class Snapshot(Hook):
    """Keeps the weights as the first batch finds them."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.state: dict | None = None

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.state is None:
            self.state = copy.deepcopy(runner.model.state_dict())


def train(cfg: Config, name: str, **options) -> tuple[Runner, dict]:
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(options)
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    snapshot = Snapshot()
    runner.register_hook(snapshot)
    runner.train()
    return runner, snapshot.state


def blocks(state: dict) -> dict:
    return {k: v for k, v in state.items() if "language.blocks" in k}


def test_fresh_load_from_and_resume(config: Config, language_model: str) -> None:
    runner, first = train(config, "fresh")
    source = open_checkpoint(language_model)
    for index in range(2):
        for name, tensor in source.block(index).items():
            found = first[f"backbone.language.blocks.{index}.{name}"]
            assert_close(found, tensor, rtol=0, atol=0)
    trained = runner.model.state_dict()
    assert not torch.equal(
        trained["backbone.language.blocks.0.qkv.weight"],
        first["backbone.language.blocks.0.qkv.weight"],
    )

    last = find_latest_checkpoint(config.work_dir)
    elsewhere = str(Path(config.work_dir).with_name("elsewhere"))
    _, loaded = train(config, "loaded", load_from=last, work_dir=elsewhere)
    for name, tensor in blocks(loaded).items():
        assert_close(tensor, trained[name], rtol=0, atol=0)

    options = {"resume": True, "load_from": last, "train_cfg.max_epochs": 3}
    _, resumed = train(config, "resumed", **options)
    for name, tensor in blocks(resumed).items():
        assert_close(tensor, trained[name], rtol=0, atol=0)


def test_scratch_and_ema(config: Config) -> None:
    hook = dict(type="EMAHook")
    runner, first = train(
        config, "ema", **{"custom_hooks": [hook], "model.backbone.pretrained": False}
    )
    assert all(torch.isfinite(value).all() for value in blocks(first).values())
    saved = torch.load(find_latest_checkpoint(config.work_dir), weights_only=False)
    assert all(
        torch.isfinite(v).all() for v in blocks(saved["ema_state_dict"]).values()
    )


def test_ema_starts_from_language_weights(config: Config) -> None:
    hook = dict(type="EMAHook", momentum=1e-9)
    train(config, "ema", **{"custom_hooks": [hook]})
    saved = torch.load(find_latest_checkpoint(config.work_dir), weights_only=False)
    source = open_checkpoint(config.model.backbone.language_model).block(0)
    # mmengine saves the averaged weights as the model's.
    averaged = saved["state_dict"]["backbone.language.blocks.0.qkv.weight"]
    assert_close(averaged, source["qkv.weight"], rtol=1e-5, atol=1e-6)


def test_what_is_logged(config: Config) -> None:
    runner, _ = train(config, "logged")
    history = runner.message_hub.log_scalars
    names = {name.split("/", 1)[1] for name in history}
    assert {"accuracy_top-1", "images_per_second", "loss", "grad_norm"} <= names
    assert {"random_label/top1", "true_label/top1", "chance"} <= names
    log = next(Path(config.work_dir).glob("*/*.log")).read_text()
    assert "train_acc: " in log and "trainable" in log


def test_a_checkpoint_of_ours_needs_no_other_file(
    config: Config, language_model: str, tmp_path: Path
) -> None:
    runner, _ = train(config, "bridge")
    last = find_latest_checkpoint(config.work_dir)
    shutil.rmtree(language_model)
    record = open_checkpoint(last).record["origin"]
    assert record["source"] == language_model

    # As the language model of another run, which bridges it further.
    moved = copy.deepcopy(config)
    moved.work_dir = str(tmp_path / "again")
    _, first = train(moved, "again", **{"model.backbone.language_model": last})
    trained = runner.model.state_dict()
    for name, tensor in blocks(first).items():
        assert_close(tensor, trained[name], rtol=0, atol=0)

    # As the start of a downstream model, the OpenMMLab way.
    options = {
        "model.backbone.language_model": last,
        "model.backbone.init_cfg": dict(
            type="Pretrained", checkpoint=last, prefix="backbone."
        ),
    }
    _, first = train(moved, "downstream", **options)
    for name, tensor in first.items():
        if name.startswith("backbone.") and not name.endswith("_extra_state"):
            assert_close(tensor, trained[name], rtol=0, atol=0)


def test_a_plain_runner_needs_the_checkpoint_only(
    config: Config, language_model: str, tmp_path: Path
) -> None:
    """On another machine: testing, training from it and going on from it."""
    runner, _ = train(config, "bridge")
    expected = runner.test()
    trained = copy.deepcopy(runner.model.state_dict())
    shutil.rmtree(language_model)
    last = find_latest_checkpoint(config.work_dir)
    alone = copy.deepcopy(config)
    alone.load_from = last
    alone.experiment_name = "alone"
    found = Runner.from_cfg(alone).test()
    assert found["accuracy/top1"] == expected["accuracy/top1"]

    elsewhere = str(tmp_path / "elsewhere")
    loaded, first = train(config, "loaded", load_from=last, work_dir=elsewhere)
    for name, tensor in blocks(first).items():
        assert_close(tensor, trained[name], rtol=0, atol=0)
    groups = loaded.optim_wrapper.optimizer.param_groups
    assert sum(len(g["params"]) for g in groups) == len([*loaded.model.parameters()])

    options = {"resume": True, "train_cfg.max_epochs": 3}
    _, first = train(config, "resumed", **options)
    for name, tensor in blocks(first).items():
        assert_close(tensor, trained[name], rtol=0, atol=0)
    # A resumed run from language stays one for whoever reads its config.
    dumped = max(Path(config.work_dir).glob("*.py"), key=lambda p: p.stat().st_mtime)
    assert Config.fromfile(dumped).model.backbone.get("pretrained", True) is True


def test_training_without_language_model_and_checkpoint(
    config: Config, language_model: str
) -> None:
    shutil.rmtree(language_model)
    with pytest.raises(MissingCheckpoint, match=r"no file or folder.*language_model\."):
        train(config, "nothing")


def test_mmengines_compile_option(config: Config) -> None:
    options = {"compile": dict(backend="eager")}
    runner, _ = train(config, "compiled", **options)
    assert runner.epoch == 2
