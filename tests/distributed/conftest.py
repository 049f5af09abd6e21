"""One start of two processes; the tests examine what it left."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import experiment
import pytest
import torch
from forked import run_two

HERE = Path(__file__).resolve().parent
collect_ignore = []
if not experiment.can_shard_on_cpu():
    collect_ignore = ["test_sharded_runs.py", "test_sharded_llava.py"]


@pytest.fixture(scope="session")
def runs(
    tmp_path_factory: pytest.TempPathFactory, write_idx_images: Callable
) -> experiment.Runs:
    """Every run of ``experiment.py``, of a tiny GPT-2, Qwen3 and OLMo 2."""
    import transformers as hf

    folder = tmp_path_factory.mktemp("distributed")
    (folder / "data").mkdir()
    write_idx_images(folder / "data", experiment.IMAGES)
    torch.manual_seed(0)
    gpt2 = hf.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=64)
    hf.GPT2Model(gpt2).save_pretrained(folder / "data_parallel")
    qwen3 = hf.Qwen3Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=64,
        max_position_embeddings=64,
    )
    hf.Qwen3Model(qwen3).save_pretrained(folder / "sharded")
    olmo2 = hf.Olmo2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=64,
        max_position_embeddings=64,
    )
    hf.Olmo2Model(olmo2).save_pretrained(folder / "fallback")
    run_two([HERE / "worker.py", folder], folder, os.environ)
    return experiment.Runs(folder)
