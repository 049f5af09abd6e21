"""The sharded configs resolve, follow the learning-rate rule and train a step."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS, RUNNERS, STRATEGIES

from lbbt_mm.config import load_config
from lbbt_mm.config.names import changed_keys, effective
from lbbt_mm.language.checkpoint import language_config
from lbbt_mm.models import LanguageBackbone

from shipped import (  # isort: skip
    CONFIGS,
    LEAVES as ALL,
    ROOT,
    build_model,
    load,
    parse_name,
)

LEAVES = [path for path in ALL if path.parent.name == "sharded"]
PROCESSES = 8  # as the head of each config says
MODELS = {
    "llama-3.2-1b": ("meta-llama/Llama-3.2-1B", 16, 2048),
    "qwen3-8b": ("Qwen/Qwen3-8B", 36, 4096),
}
LARGER = ("Qwen/Qwen3-14B", 40, 5120)  # Qwen3-8B's config with three knobs
CLASSES = {"cifar10": 10, "cifar100": 100, "tiny-imagenet": 200, "imagenet1k": 1000}


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
    names = {path.stem for path in LEAVES}
    expected = {"llama-3.2-1b_language_true_100e_imagenet1k"}  # table 1
    for data in ("cifar10", "cifar100"):
        expected.add(f"llama-3.2-1b_language_true_400e_{data}")
    for data in ("cifar10", "cifar100", "tiny-imagenet"):  # table 5
        expected.add(f"qwen3-8b_language_random100_400e_{data}")
    assert names == expected


def test_the_larger_qwen_is_three_knobs() -> None:
    options = dict(zip(("language_model", "num_layers", "width"), LARGER, strict=True))
    for path in (p for p in LEAVES if p.stem.startswith("qwen3")):
        cfg = load_config(path, options)
        assert changed_keys(effective(load(path)), effective(cfg)) == [
            "model.backbone.language_model",
            "model.backbone.num_layers",
            "model.head.in_channels",
        ]
    config = language_config(LARGER[0])
    assert (config.num_layers, config.width) == LARGER[1:]
    assert "language_model=Qwen/Qwen3-14B num_layers=40 width=5120" in _bases()


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
def test_it_is_what_its_name_says_and_takes_a_step(
    path: Path, tiny: dict[str, str]
) -> None:
    check_name(path)
    check_sharding(load(path))
    check_learning_rate(path)
    take_a_step(path, tiny)


def check_name(path: Path) -> None:
    name, cfg = parse_name(path), load(path)
    backbone, head = cfg.model.backbone, cfg.model.head
    sizes = (backbone.language_model, backbone.num_layers, head.in_channels)
    assert sizes == MODELS[name.model]
    assert backbone.pretrained == (name.initialisation == "language")
    assert cfg.train_cfg.max_epochs == name.epochs
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert train.num_classes == val.num_classes == head.num_classes
    assert head.num_classes == CLASSES[name.dataset]
    assert train.ratio == val.ratio == {"true": 0, "random100": 1}[name.labels]


def check_sharding(cfg: Config) -> None:
    """Everything it names exists."""
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


def check_learning_rate(path: Path) -> None:
    """It follows the batch of all processes."""
    cfg = load(path)
    batch = PROCESSES * cfg.train_dataloader.batch_size
    assert batch == cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-3 * batch / 256)
    head = path.read_text(encoding="utf-8").splitlines()[0]
    assert f"{PROCESSES} processes" in head


def take_a_step(path: Path, tiny: dict[str, str]) -> None:
    """At 32 channels: two blocks of Qwen3-14B have 660 million parameters."""
    from mmpretrain.structures import DataSample

    cfg = copy.deepcopy(load(path))
    family = parse_name(path).model.split("-")[0]
    cfg.model.backbone.update(language_model=tiny[family], num_layers=2)
    cfg.model.head.in_channels = 32
    cfg.optim_wrapper.optimizer.fused = False  # torch 2.1 cannot on CPU
    model = build_model(cfg)
    model.init_weights()
    model.train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    classes = cfg.model.head.num_classes
    side = 32 if "size" in cfg.data_preprocessor else cfg.model.backbone.img_size
    data = dict(
        inputs=torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8),
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
    text = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    titles = re.findall(r"^# (\S+) looks", _bases(), flags=re.M)
    assert len(titles) == len(MODELS)
    for title in [*titles, "Qwen3-14B"]:
        with torch.device("meta"):
            model = LanguageBackbone(MODELS.get(title.lower(), LARGER)[0])
        total = sum(p.numel() for p in model.parameters()) / 1e9
        block = sum(p.numel() for p in model.language.blocks[0].parameters()) / 1e9
        kept = 8 * 196 * model.embed_dims * model.num_layers * 2 / 1e9
        row = f"| {title} | {total:.2f} | {16 * total:.1f} | {2 * total:.1f} "
        row += f"| {total:.1f} | {2 * block:.2f} | {kept:.2f} | {12 * total:.1f} |"
        assert row in text


def _bases() -> str:
    paths = [CONFIGS / "_base_" / "models" / f"{name}_224px.py" for name in MODELS]
    return "".join(path.read_text(encoding="utf-8") for path in paths)
