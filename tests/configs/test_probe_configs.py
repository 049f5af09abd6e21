"""The authors' three probes train what theirs train, from a new patch embedding."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample

from shipped import CONFIGS, build_model, load  # isort: skip

PROBES = {
    "gpt2-medium_language-embedprobe_true_100e_cifar10": {"patch_embed", "head"},
    "gpt2-medium_language-embedprobe_true_100e_cifar100": {"patch_embed", "head"},
    "gpt2-medium_language-larsprobe_true_100e_imagenet100": {"head"},
    "qwen3-8b_language-larsprobe_true_100e_cifar100": {"patch_embed", "head"},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    import transformers as hf

    folder = tmp_path_factory.mktemp("models")
    gpt2 = hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64)
    hf.GPT2Model(gpt2).save_pretrained(folder / "gpt2-medium")
    sizes = dict(num_attention_heads=4, num_key_value_heads=2, head_dim=16)
    sizes |= dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    qwen3 = hf.Qwen3Config(**sizes, vocab_size=64, max_position_embeddings=256)
    hf.Qwen3Model(qwen3).save_pretrained(folder / "qwen3-8b")
    return {path.name: str(path) for path in folder.iterdir()}


def small(path: Path, tiny: dict[str, str]):
    cfg = copy.deepcopy(load(path))
    cfg.model.backbone.update(language_model=tiny[path.stem.split("_")[0]])
    cfg.model.backbone.num_layers = 2
    cfg.model.head.in_channels = 32
    if "fused" in cfg.optim_wrapper.optimizer:
        cfg.optim_wrapper.optimizer.fused = False  # torch 2.1 cannot on CPU
    return cfg


@pytest.mark.parametrize("name", PROBES)
def test_what_a_step_changes(name: str, tiny: dict[str, str], tmp_path: Path) -> None:
    path = CONFIGS / f"probe/{name}.py"
    cfg = small(path, tiny)
    torch.manual_seed(0)
    bridge = build_model(cfg)
    bridge.init_weights()
    torch.save(dict(state_dict=bridge.state_dict()), tmp_path / "bridge.pth")
    start = dict(type="Pretrained", checkpoint=str(tmp_path / "bridge.pth"))
    cfg.model.backbone.init_cfg = dict(start, prefix="backbone.")
    model = build_model(cfg)
    model.init_weights()
    kernel = "backbone.patch_embed.projection.weight"
    assert not torch.equal(model.state_dict()[kernel], bridge.state_dict()[kernel])
    model.train()
    assert all(block.training for block in model.backbone.language.blocks)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    side = 32 if "size" in cfg.data_preprocessor else 224
    data = dict(
        inputs=torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(i) for i in (0, 3, 5, 9)],
    )
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    assert torch.isfinite(model.train_step(data, wrapper)["loss"])
    changed = {
        key.removeprefix("backbone.").split(".")[0]
        for key, p in model.named_parameters()
        if not torch.equal(p, before[key])
    }
    assert changed == PROBES[name]


def test_lars_scales_matrices_only(tiny: dict[str, str]) -> None:
    """With MAE's law: the bias takes a plain step of the learning rate."""
    name = "gpt2-medium_language-larsprobe_true_100e_imagenet100"
    cfg = small(CONFIGS / f"probe/{name}.py", tiny)
    model = build_model(cfg)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    excluded = {tuple(g["params"][0].shape): g.get("lars_exclude") for g in groups}
    assert excluded[(100,)] and not excluded[(100, 32)]


def test_batch_norm_is_for_dino_alone() -> None:
    dino = load(CONFIGS / "selfsup/dinov2-vit-l14_larsprobe_imagenet100.py")
    assert dino.model.neck.type == "ClsBatchNormNeck"
    for name in PROBES:
        assert "neck" not in load(CONFIGS / f"probe/{name}.py").model
    types = [step.type for step in dino.train_dataloader.dataset.pipeline]
    assert types == "LoadImageFromFile RandomResizedCrop RandomFlip PackInputs".split()
