"""One string opens a causal language model and its tokeniser, or says what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.models.multimodal.causal_lm import open_causal_lm, open_tokenizer


def test_opens_what_transformers_opens(chat_model: str) -> None:
    from transformers import AutoModelForCausalLM

    found = open_causal_lm(chat_model)
    expected = AutoModelForCausalLM.from_pretrained(chat_model)
    assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert type(found) is type(expected)
    assert found.config._attn_implementation == "sdpa"
    # A file in the folder means the folder.
    file = open_causal_lm(str(Path(chat_model) / "model.safetensors"))
    assert_close(file.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_architecture_alone(chat_model: str) -> None:
    trained = open_causal_lm(chat_model).state_dict()
    found = open_causal_lm(chat_model, pretrained=False).state_dict()
    assert found.keys() == trained.keys()
    name = "model.layers.0.mlp.up_proj.weight"
    assert found[name].shape == trained[name].shape
    assert not torch.equal(found[name], trained[name])


@pytest.mark.parametrize("pretrained", [True, False])
def test_dtype(chat_model: str, pretrained: bool) -> None:
    found = open_causal_lm(chat_model, pretrained, dtype="bfloat16")
    assert {p.dtype for p in found.parameters()} == {torch.bfloat16}
    found = open_causal_lm(chat_model, pretrained)
    assert {p.dtype for p in found.parameters()} == {torch.float32}


def test_unknown_dtype(chat_model: str) -> None:
    with pytest.raises(ValueError, match="dtype: expected one of .*got 'int8'"):
        open_causal_lm(chat_model, dtype="int8")


def test_tokenizer(chat_model: str) -> None:
    found = open_tokenizer(chat_model)
    assert found.is_fast and found.chat_template
    assert found.decode(found("How many?")["input_ids"]) == "How many?"


def test_a_tokenizer_without_offsets_is_refused(chat_model: str, monkeypatch) -> None:
    import transformers as hf

    class Slow:
        is_fast = False

    monkeypatch.setattr(
        hf.AutoTokenizer, "from_pretrained", lambda *args, **kwargs: Slow()
    )
    with pytest.raises(CheckpointError, match="expected a fast tokeniser, got Slow"):
        open_tokenizer(chat_model)


@pytest.mark.parametrize("open_it", [open_causal_lm, open_tokenizer])
def test_missing(open_it, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for where in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / "a.gguf"):
        with pytest.raises(CheckpointError) as caught:
            open_it(str(where))
        assert where.name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("open_it", [open_causal_lm, open_tokenizer])
def test_a_hub_id_that_is_not_in_the_cache(open_it) -> None:
    """Offline, as all tests are: one sentence, not transformers' long one."""
    with pytest.raises(CheckpointError, match="nobody/no-such-model.*in the cache"):
        open_it("nobody/no-such-model")


def test_a_damaged_file(chat_model: str, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(chat_model, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        open_causal_lm(str(folder))


def test_weights_that_do_not_fit(chat_model: str, tmp_path: Path) -> None:
    """transformers would draw what is missing, and only warn."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "partial"
    shutil.copytree(chat_model, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata=dict(format="pt"))
    with pytest.raises(CheckpointError, match="model.layers.1.mlp.up_proj.weight"):
        open_causal_lm(str(folder))
