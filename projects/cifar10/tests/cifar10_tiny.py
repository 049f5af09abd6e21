"""A tiny CIFAR-10 and a tiny language model, and the project's scripts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import transformers
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]


def load_script(name: str, monkeypatch) -> ModuleType:
    """Import a script of the project."""
    monkeypatch.syspath_prepend(PROJECT)
    path = PROJECT / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_script", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr("cifar10.probes.LRS", (1e-3, 1e-2))
    return module


def write_images(folder: Path, of_a_class: int) -> None:
    """Write images of noise, ten folders for each split."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(10):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(of_a_class):
                pixels = draw.integers(256, size=(32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


def write_language_model(folder: Path, blocks: int = 2) -> None:
    """Write a random LLaMA."""
    config = transformers.LlamaConfig(
        hidden_size=16,
        num_hidden_layers=blocks,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        vocab_size=1000,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
