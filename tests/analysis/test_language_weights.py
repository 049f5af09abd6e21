"""Plain language models: the weights of the backbone that they make, one by one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.analysis import language_weights, weight_statistics
from lbbt_mm.analysis.language_weights import language_model_weights
from lbbt_mm.language import CheckpointError
from lbbt_mm.models import LanguageBackbone

sys.path.append(str(Path(__file__).parents[1] / "language"))
import tiny  # noqa: E402  # isort: skip

FAMILIES = ["gpt2", "bert", "llama", "llama-biased", "qwen2", "t5", "t5-gated"]


def backbone(source: str, **options) -> LanguageBackbone:
    model = LanguageBackbone(source, img_size=16, patch_size=4, **options)
    model.init_weights()
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_names_and_numbers_are_those_of_a_backbone(family: str, tmp_path) -> None:
    source = tiny.save(tiny.build(family), tmp_path / family, "folder")
    found = dict(language_model_weights(source))
    language = backbone(source).language
    expected = dict(language.named_parameters(prefix="language"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_close(found[name].float(), tensor.detach(), rtol=0, atol=0)
    report = weight_statistics(found.items())
    assert list(report.by_block) == [f"language.blocks.{i}" for i in range(3)]
    kinds = {"attention in", "attention out", "mlp up", "mlp down"}
    assert kinds <= set(report.by_kind)
    assert set(report.by_kind) - kinds <= {"embedding", "mlp gate"}
    assert report.total.count == sum(p.numel() for p in expected.values() if p.ndim > 1)


@pytest.mark.parametrize("storage", ["file", "shards", "bin", "gguf"])
def test_every_way_to_store_it(storage: str, tmp_path) -> None:
    model = tiny.build("gpt2")
    (tmp_path / "plain").mkdir()
    (tmp_path / storage).mkdir()
    plain = tiny.save(model, tmp_path / "plain", "folder")
    source = tiny.save(model, tmp_path / storage, storage)
    one, other = dict(language_model_weights(plain)), language_model_weights(source)
    for name, tensor in other:
        assert_close(tensor.float(), one.pop(name).float(), rtol=0, atol=0)
    assert not one


def test_one_block_is_read_at_a_time(tmp_path, monkeypatch) -> None:
    source = tiny.save(tiny.build("llama"), tmp_path / "llama", "folder")
    checkpoint = language_weights.open_checkpoint(source)
    read = []
    block = checkpoint.block
    monkeypatch.setattr(checkpoint, "block", lambda i: read.append(i) or block(i))
    monkeypatch.setattr(language_weights, "open_checkpoint", lambda _: checkpoint)
    seen = []
    for name, _ in language_model_weights(source):
        if name.endswith("attn_norm.weight"):
            seen.append(list(read))
    assert seen == [[0], [0, 1], [0, 1, 2]]


@pytest.mark.parametrize("position", ["language", "none"])
def test_a_checkpoint_of_ours(position: str, tmp_path) -> None:
    source = tiny.save(tiny.build("gpt2"), tmp_path / "gpt2", "folder")
    model = backbone(source, position=position, num_layers=2)
    with torch.no_grad():
        model.language.blocks[1].up.weight[3, 4] = 7.0
    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    report = weight_statistics(language_model_weights(str(path)))
    assert report.by_tensor["language.blocks.1.up.weight"].largest == 7.0
    assert ("language.positions" in report.by_tensor) == (position == "language")
    assert len(report.by_block) == 2


# Bad input -------------------------------------------------------------------------


def test_an_error_comes_before_the_first_weight(tmp_path) -> None:
    with pytest.raises(CheckpointError):
        language_model_weights(str(tmp_path / "nothing.safetensors"))


def test_nan_in_a_checkpoint_is_named(tmp_path) -> None:
    model = tiny.build("gpt2")
    with torch.no_grad():
        model.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    source = tiny.save(model, tmp_path / "gpt2", "folder")
    with pytest.raises(CheckpointError, match="h.1.mlp.c_fc.weight that are not fini"):
        weight_statistics(language_model_weights(source))
