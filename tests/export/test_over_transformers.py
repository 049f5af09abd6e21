"""Layers of transformers, trained here, back in their language model."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers.models.auto import modeling_auto as auto

from lbbt_mm.export.__main__ import main
from lbbt_mm.export.over_transformers import put_back
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.language.fallback_checkpoint import open_fallback
from lbbt_mm.models import LanguageBackbone

sys.path.insert(0, str(Path(__file__).parents[1] / "language"))
import registry  # noqa: E402

TYPES = ["gpt_neox", "gptj", "phi", "falcon", "gemma", "gemma3", "bloom", "olmo2"]
TYPES += ["mixtral", "modernbert", "mamba", "bart", "git"]


def with_a_head(model_type: str, folder: Path, **options: Any) -> Any:
    """Write a tiny random model that predicts words, and return it."""
    if model_type == "gemma3":  # as many layers that see, of the same names
        sizes = dict(hidden_size=16, intermediate_size=16, num_attention_heads=2)
        options["vision_config"] = dict(sizes, num_hidden_layers=3)
    config = hf.AutoConfig.for_model(**{**registry.tiny_config(model_type), **options})
    maps = [auto.MODEL_FOR_CAUSAL_LM_MAPPING, auto.MODEL_FOR_MASKED_LM_MAPPING]
    if config.is_encoder_decoder:
        maps = [auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING]
    kind = next(found[type(config)] for found in maps if type(config) in found)
    torch.manual_seed(0)
    model = kind(config).eval()
    model.save_pretrained(folder)
    return model


def bridge(source: Path, file: Path, **options: Any) -> LanguageBackbone:
    """Write a checkpoint with other blocks than its language model's."""
    backbone = LanguageBackbone(str(source), img_size=8, patch_size=4, **options)
    backbone.init_weights()
    with torch.no_grad():
        for parameter in backbone.language.blocks.parameters():
            parameter.mul_(1.5)
    state = {f"model.student.{n}": t for n, t in backbone.state_dict().items()}
    torch.save(dict(state_dict=state), file)
    return backbone.eval()


def export(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["export", *map(str, words)])
    main()


def text_model(model: Any) -> Any:
    """Find what computes the stream that a backbone has."""
    if model.config.is_encoder_decoder:
        return model.get_encoder()
    return getattr(model.base_model, "language_model", model.base_model)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_folder_computes_with_the_bridges_layers(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_a_head(model_type, tmp_path / "source")
    backbone = bridge(tmp_path / "source", tmp_path / "a.pth")
    export(monkeypatch, tmp_path / "a.pth", tmp_path / "out")
    found, info = type(model).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    row = f".{backbone.language.trunk.path}."
    before, changed = model.state_dict(), set()
    for name, tensor in found.state_dict().items():
        if not torch.equal(tensor, before[name]):
            changed.add(name)
            assert_close(tensor, before[name] * 1.5, rtol=0, atol=0)
    assert changed and all(row in f".{name}" for name in changed)
    if model_type == "git":  # it takes images in front of words
        return
    inner, tokens = text_model(found.eval()), torch.randn(2, 7, registry.WIDTH)
    takes = inspect.signature(inner.forward).parameters
    options = dict(use_cache=False) if "use_cache" in takes else {}
    with torch.no_grad():
        expected = backbone.language(tokens.clone())
        out = inner(inputs_embeds=tokens.clone(), **options)
    assert_close(out.last_hidden_state, expected)


@pytest.mark.parametrize("tied", [True, False])
def test_heads_and_shards(
    tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    source = tmp_path / "source"
    model = with_a_head("gpt_neox", source, tie_word_embeddings=tied)
    model.save_pretrained(source, max_shard_size="20KB")
    (source / "model.safetensors").unlink()
    bridge(source, tmp_path / "a.pth", num_layers=2, attention="bidirectional")
    words = (tmp_path / "a.pth", tmp_path / "out", "--dtype", "bfloat16")
    export(monkeypatch, *words)
    said = capsys.readouterr().out
    assert "2 of its 3 blocks (number 0 to 1)" in said and "as they were" in said
    assert "trained with bidirectional attention" in said and "no tokeniser" in said
    found = hf.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", torch_dtype="auto"
    )
    assert found.dtype is torch.bfloat16
    words, head = found.gpt_neox.embed_in.weight, found.embed_out.weight
    assert (head.data_ptr() == words.data_ptr()) is tied
    assert_close(head, model.embed_out.weight.bfloat16(), rtol=0, atol=0)
    for number, factor in enumerate((1.5, 1.5, 1.0)):
        ours, theirs = (
            m.gpt_neox.layers[number].mlp.dense_h_to_4h.weight for m in (found, model)
        )
        assert_close(ours, (theirs * factor).bfloat16(), rtol=0, atol=0)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors"}


def test_weights_that_the_source_lacks_are_not_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_a_head("gpt_neox", tmp_path / "source")
    model.gpt_neox.save_pretrained(tmp_path / "source")  # no head ...
    config = json.loads((tmp_path / "source/config.json").read_text())
    config["architectures"] = ["GPTNeoXForCausalLM"]  # ... though it says so
    (tmp_path / "source/config.json").write_text(json.dumps(config))
    bridge(tmp_path / "source", tmp_path / "a.pth")
    export(monkeypatch, tmp_path / "a.pth", tmp_path / "out")
    stored = load_file(tmp_path / "out/model.safetensors")
    assert "embed_out.weight" not in stored and "gpt_neox.embed_in.weight" in stored


def test_what_does_not_go_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with_a_head("gpt_neox", tmp_path / "source")
    with_a_head("gpt_neox", tmp_path / "deep", num_hidden_layers=4)
    with_a_head("phi", tmp_path / "other")
    file, scratch, out = tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "out"
    bridge(tmp_path / "source", file)
    bridge(tmp_path / "source", scratch, pretrained=False)

    def refused(*words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            export(monkeypatch, *words)
        assert ended.value.code == 2 and not out.exists()
        return capsys.readouterr().err.strip().splitlines()[-1]

    other = ("--language-model", tmp_path / "other")
    assert "is another model" in refused(file, out, *other)
    assert "num_hidden_layers: 3 != 4" in refused(
        file, out, "--language-model", tmp_path / "deep"
    )
    assert "without words" in refused(file, out, "--language-model", file)
    assert "started from scratch" in refused(scratch, out)
    model = with_a_head("gpt_neox", tmp_path / "source")
    with torch.no_grad():
        model.gpt_neox.layers[1].mlp.dense_h_to_4h.weight.add_(1)
    model.save_pretrained(tmp_path / "source")
    assert "other weights" in refused(file, out)
    export(monkeypatch, file, out, "--language-model", tmp_path / "source")
    assert (out / "config.json").exists()


def test_layers_that_share_weights_are_refused(tmp_path: Path) -> None:
    with_a_head("gpt_neox", tmp_path)
    source = open_fallback(str(tmp_path))
    stack = FallbackModel(source.config)
    stack.load(source)
    whole = source.whole()[0]
    whole.gpt_neox.layers[2] = whole.gpt_neox.layers[0]
    source.whole = lambda: (whole, set())
    with pytest.raises(CheckpointError, match="Layer 0 .* shares weights"):
        put_back(stack, source)
