"""The sharded configs resolve, follow the learning-rate rule and train a step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS, RUNNERS, STRATEGIES, init_default_scope

ROOT = Path(__file__).resolve().parents[2]
LEAVES = sorted((ROOT / "configs/sharded").glob("*.py"))
PROCESSES = 8  # as the head of each config says
IMAGE = 32  # pixels; those of CIFAR


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A language model of each family, 32 channels wide."""
    import transformers as hf

    sizes = dict(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=256,
    )
    folder = tmp_path_factory.mktemp("models")
    hf.LlamaModel(hf.LlamaConfig(**sizes)).save_pretrained(folder / "llama")
    qwen3 = hf.Qwen3Config(**sizes, head_dim=16)
    hf.Qwen3Model(qwen3).save_pretrained(folder / "qwen3")
    return {name: str(folder / name) for name in ("llama", "qwen3")}


def test_the_papers_large_models_are_there() -> None:
    names = [path.stem for path in LEAVES]
    for arm in ("language", "scratch"):
        assert f"llama-3.2-1b_{arm}_correct_100e_imagenet1k" in names  # table 1
        for data in ("cifar10", "cifar100"):
            assert f"llama-3.2-1b_{arm}_correct_400e_{data}" in names
        for data in ("cifar10", "cifar100", "tiny-imagenet"):  # table 5
            for size in ("8b", "14b"):
                assert f"qwen3-{size}_{arm}_random100_400e_{data}" in names


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
def test_everything_it_names_exists(path: Path) -> None:
    cfg = Config.fromfile(path)
    assert RUNNERS.get(cfg.runner_type) is not None
    assert STRATEGIES.get(cfg.strategy.type).__name__ == "ShardedStrategy"
    wrapper = cfg.strategy.model_wrapper
    checks = cfg.strategy.activation_checkpointing.check_fn
    assert callable(FUNCTIONS.get(wrapper.auto_wrap_policy))
    assert callable(FUNCTIONS.get(checks))
    assert hasattr(torch.distributed.fsdp.ShardingStrategy, wrapper.sharding_strategy)
    for dtype in wrapper.mixed_precision.values():
        assert isinstance(getattr(torch, dtype), torch.dtype)
    assert wrapper.use_orig_params
    # One way to recompute, and a wrapper that clips by the whole gradient's norm.
    assert "with_cp" not in cfg.model.backbone
    assert cfg.optim_wrapper.type == "lbbt_mm.AutocastOptimWrapper"


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
def test_learning_rate_follows_the_whole_batch(path: Path) -> None:
    cfg = Config.fromfile(path)
    batch = PROCESSES * cfg.train_dataloader.batch_size
    assert batch == cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-3 * batch / 256)
    head = path.read_text(encoding="utf-8").splitlines()[0]
    assert f"{PROCESSES} processes" in head or "without language weights" in head


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
def test_one_step_of_two_narrow_blocks(path: Path, tiny: dict[str, str]) -> None:
    """At 32 channels: two blocks of Qwen3-14B have 660 million parameters."""
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample

    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    family = re.match("[a-z]+[0-9]?", path.stem)[0]
    cfg.model.backbone.update(language_model=tiny[family], num_layers=2)
    cfg.model.head.in_channels = 32
    cfg.optim_wrapper.optimizer.fused = False  # torch 2.1 cannot on CPU
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.init_weights()
    model.train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    classes = cfg.model.head.num_classes
    size = IMAGE if "preprocessor" in cfg.data_preprocessor else 224
    size = 64 if "tiny-imagenet" in path.stem else size
    data = dict(
        inputs=torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(i) for i in (0, classes - 1)],
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = model.train_step(data, wrapper)["loss"]
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        # The last block may be left out of both images by drop path.
        if "blocks.1" not in name:
            assert not torch.equal(parameter, before[name]), name


def test_memory_table_is_what_arithmetic_says() -> None:
    from lbbt_mm.models import LanguageBackbone

    text = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    bases = {
        "LLaMA-3.2-1B": "llama-3.2-1b",
        "Qwen3-8B": "qwen3-8b",
        "Qwen3-14B": "qwen3-14b",
    }
    for title, base in bases.items():
        cfg = Config.fromfile(ROOT / f"configs/_base_/models/{base}_224px.py")
        with torch.device("meta"):
            model = LanguageBackbone(cfg.language_model)
        total = sum(p.numel() for p in model.parameters()) / 1e9
        block = sum(p.numel() for p in model.language.blocks[0].parameters()) / 1e9
        kept = 8 * 196 * model.embed_dims * model.num_layers * 2 / 1e9
        row = f"| {title} | {total:.2f} | {16 * total:.1f} | {2 * total:.1f} "
        row += f"| {total:.1f} | {2 * block:.2f} | {kept:.2f} | {12 * total:.1f} |"
        assert row in text
