"""The frozen-backbone config and the cached probe reach the same accuracy."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers as hf
from mmengine.config import Config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LEAF = "configs/probe/smollm2-b8_language-probe_true_100e_mnist5k.py"
IMAGES = dict(train=600, t10k=400)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped config on a tiny model, and ten patterns under a little noise."""
    rng = np.random.RandomState(0)
    patterns = rng.rand(10, 4, 4).repeat(7, 1).repeat(7, 2)
    for split, count in IMAGES.items():
        labels = np.arange(count) % 10
        images = 225 * patterns[labels] + 25 * rng.rand(count, 28, 28)
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", labels)
    language_model = hf.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=64,
    )
    hf.LlamaModel(language_model).save_pretrained(tmp_path / "llama")

    cfg = Config.fromfile(ROOT / LEAF)
    images = dict(
        _delete_=True,
        type="lbbt_mm.IdxDataset",
        data_root=str(tmp_path),
        pipeline=cfg.pipeline,
    )
    cfg.merge_from_dict(
        {
            "model.backbone.language_model": str(tmp_path / "llama"),
            "model.backbone.num_layers": 2,
            "model.backbone.out_type": "avg",
            "model.neck.input_features": 32,
            "model.head.in_channels": 32,
            "train_cfg.val_interval": 100,  # and after the last epoch
            "train_dataloader.dataset": dict(images, split="train"),
            "val_dataloader.dataset": dict(images, split="test"),
            "test_dataloader.dataset": dict(images, split="test"),
            "optim_wrapper.optimizer.fused": False,  # torch 2.1 cannot on CPU
        }
    )
    path = tmp_path / "tiny.py"
    cfg.dump(path)
    return path


@pytest.fixture
def run_parity(tmp_path: Path, config: Path, monkeypatch):
    """``run_parity(*options)`` runs the benchmark here and returns its numbers."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("mmengine.device.get_device", lambda: "cpu")

    def run(*options: str) -> dict:
        out = tmp_path / "parity.json"
        path = ROOT / "benchmarks" / "probe_parity.py"
        argv = [str(path), str(config), "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", argv)
        spec = importlib.util.spec_from_file_location("probe_parity", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main()
        return json.loads(out.read_text())

    yield run
    sys.modules.pop("_launch", None)


def test_same_accuracy(run_parity, capsys):
    batch, epochs = "train_dataloader.batch_size=100", "train_cfg.max_epochs=40"
    found = run_parity("--cfg-options", batch, epochs)
    frozen, cached = found["frozen-backbone config"], found["cached probe"]
    same_order = found["... in the order of the former"]
    # What is left is the neck's first epoch, in which it has not seen all images yet.
    assert frozen["test_top1"] == pytest.approx(same_order["test_top1"], abs=0.5)
    assert frozen["train_top1"] == pytest.approx(same_order["train_top1"], abs=0.5)
    # The order of the images alone moves a test accuracy by an image or two of 400.
    assert frozen["test_top1"] == pytest.approx(cached["test_top1"], abs=1)
    # Neither guessing nor trivial: equality means something.
    assert 50 < cached["test_top1"] < 97
    assert "in the order of the former" in capsys.readouterr().out


def test_a_backbone_that_remembers_trains_the_same_head(run_parity):
    options = ("train_dataloader.batch_size=100", "train_cfg.max_epochs=3")
    once, often = (
        run_parity(*every, "--cfg-options", *options)["frozen-backbone config"]
        for every in ((), ("--every-epoch",))
    )
    # Batches of another size round another way: an image of 600 and one of 400.
    assert once["train_top1"] == pytest.approx(often["train_top1"], abs=0.17)
    assert once["test_top1"] == pytest.approx(often["test_top1"], abs=0.26)
    assert 15 < often["test_top1"]
