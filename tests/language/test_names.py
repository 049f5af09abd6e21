"""Heads, prefixes, wrappers and old names: what opens, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers.models.auto import modeling_auto

from lbbt_mm.language import CheckpointError, LanguageModel, open_checkpoint

KINDS = [*(name for name in tiny.CONFIGS if "-" not in name), "xlm-roberta"]


def classes_of(kind: str) -> list[str]:
    """Every class that transformers' auto classes build for a ``model_type``."""
    found = {"GPT2DoubleHeadsModel"} if kind == "gpt2" else set()
    for name, mapping in vars(modeling_auto).items():
        if name.endswith("_MAPPING_NAMES"):
            classes = mapping.get(kind, ())
            found |= {classes} if isinstance(classes, str) else set(classes)
    return sorted(
        name for name in found if issubclass(getattr(hf, name), hf.PreTrainedModel)
    )


def config_of(kind: str) -> hf.PretrainedConfig:
    source = tiny.CONFIGS[kind]
    fields = source.to_dict()
    fields.pop("model_type")
    padding = 1 if "bert" in kind and kind not in ("bert", "distilbert") else 0
    return type(source)(**{**fields, "pad_token_id": padding})


def stack_of(model: hf.PreTrainedModel, kind: str) -> torch.nn.Module:
    """The part that a stack of ours stands for."""
    base = model.base_model
    if kind != "distilbert":  # whose inner part has that name too
        base = getattr(model, "transformer", base)
    return base.encoder if kind in ("t5", "mt5") else base


def load(folder: Path) -> LanguageModel:
    checkpoint = open_checkpoint(str(folder))
    model = LanguageModel(checkpoint.config, initialise=False)
    model.load(checkpoint)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_of_transformers_opens(kind: str, tmp_path: Path) -> None:
    names = classes_of(kind)
    assert len(names) >= 4
    x = torch.randn(1, 5, 16 if kind == "electra" else 32)
    for name in names:
        torch.manual_seed(0)
        model = getattr(hf, name)(config_of(kind)).eval()
        model.save_pretrained(tmp_path / name)
        with torch.no_grad():
            expected = stack_of(model, kind)(inputs_embeds=x)[0]
            assert_close(load(tmp_path / name)(x), expected, rtol=1e-4, atol=1e-5)


def renamed(tmp_path: Path, kind: str, change: Callable[[str], str]) -> str:
    """Save a tiny model with other names."""
    tiny.save(tiny.build(kind), tmp_path, "folder")
    path = tmp_path / "model.safetensors"
    save_file({change(name): t for name, t in load_file(path).items()}, path)
    return str(tmp_path)


def test_the_names_of_the_first_bert(tmp_path: Path) -> None:
    def old(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return "bert." + name.replace("LayerNorm.bias", "LayerNorm.beta")

    folder = renamed(tmp_path, "bert", old)
    assert any("gamma" in name for name in load_file(f"{folder}/model.safetensors"))
    x = torch.randn(1, 5, 32)
    with torch.no_grad():
        expected = tiny.build("bert")(inputs_embeds=x).last_hidden_state
        assert_close(load(tmp_path)(x), expected, rtol=1e-4, atol=1e-5)


def fsdp(name: str) -> str:
    inner = ".0._checkpoint_wrapped_module."
    return f"_fsdp_wrapped_module.{name}".replace(".0.", inner, 1)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("gpt2", lambda name: f"module.{name}"),
        ("bert", lambda name: f"_orig_mod.{name}"),
        ("llama", lambda name: f"module._orig_mod.model.{name}"),
        ("t5", lambda name: f"base_model.model.{name}"),
        ("gpt2", lambda name: name.replace(".1.", ".1._orig_mod.", 1)),
        ("t5", lambda name: name.replace(".1.", ".1._orig_mod.", 1)),
        *((kind, fsdp) for kind in ("gpt2", "bert", "llama", "t5")),
    ],
)
def test_prefixes_of_wrappers(kind: str, change, tmp_path: Path) -> None:
    folder = renamed(tmp_path, kind, change)
    reference = tiny.build(kind)
    tiny.save(reference, tmp_path / "plain", "folder")
    plain = open_checkpoint(str(tmp_path / "plain"))
    checkpoint = open_checkpoint(folder)
    for index in range(3):
        block = plain.block(index)
        for name, tensor in checkpoint.block(index).items():
            assert torch.equal(tensor, block[name])
    assert torch.equal(checkpoint.embedding_rows(0, 9), plain.embedding_rows(0, 9))


@pytest.mark.parametrize(
    "head",
    [
        "v_head.summary.weight",  # trl's value head, beside the model
        "transformer.score.weight",
        "module.lm_head.weight",
        "module.transformer.pooler.dense.weight",
    ],
)
def test_heads_may_stand_at_every_level(head: str, tmp_path: Path) -> None:
    folder = renamed(tmp_path, "gpt2", lambda name: f"module.transformer.{name}")
    path = f"{folder}/model.safetensors"
    if head in ("v_head.summary.weight", "transformer.score.weight"):
        head = head.replace("transformer.", "module.")
    save_file({**load_file(path), head: torch.ones(2, 2)}, path)
    checkpoint = open_checkpoint(folder)
    assert head in checkpoint.other_names((0, 1, 2), None)
    save_file({**load_file(path), "module.adapter.weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"does not have: module.adapter.weight"):
        open_checkpoint(folder)


def test_two_models_in_one_file(tmp_path: Path) -> None:
    folder = renamed(tmp_path, "gpt2", lambda name: f"student.{name}")
    path = f"{folder}/model.safetensors"
    twin = {n.replace("student", "teacher"): t for n, t in load_file(path).items()}
    save_file({**load_file(path), **twin}, path)
    with pytest.raises(CheckpointError, match=r"student.h.0.\* and teacher.h.0.\*"):
        open_checkpoint(folder)


def test_one_tensor_under_two_names(tmp_path: Path) -> None:
    tiny.save(tiny.build("bert"), tmp_path, "folder")
    path = tmp_path / "model.safetensors"
    more = {"embeddings.LayerNorm.gamma": torch.ones(32)}
    save_file({**load_file(path), **more}, path)
    with pytest.raises(CheckpointError, match=r"LayerNorm.weight twice.*gamma"):
        open_checkpoint(str(tmp_path))
