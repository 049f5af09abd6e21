"""Files of models over transformers' own layers, as their projects write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch.testing import assert_close

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.language.fallback_checkpoint import open_any, open_fallback

TEXT = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, vocab_size=96, max_position_embeddings=64,
    pad_token_id=0,
)  # fmt: skip
SIGHT = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
    image_size=8, patch_size=4,
)  # fmt: skip
MROPE = dict(type="mrope", mrope_section=[1, 1, 2])
QWEN = dict(depth=1, embed_dim=16, hidden_size=32, num_heads=2, patch_size=4)
SEEING: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llava": ("Llava", dict(TEXT, model_type="llama"), SIGHT),
    "gemma3": ("Gemma3", dict(TEXT, sliding_window=5), SIGHT),
    "paligemma": ("PaliGemma", dict(TEXT, model_type="gemma"), SIGHT),
    "smolvlm": ("SmolVLM", dict(TEXT, model_type="llama"), SIGHT),
    "qwen2_vl": ("Qwen2VL", dict(TEXT, rope_scaling=MROPE), QWEN),
}


def same(source: object, text: Any) -> None:
    """A vision tower's layers are named like a text model's, and are not taken."""
    checkpoint = open_any(str(source))
    words = text.get_input_embeddings().weight.detach()
    assert_close(checkpoint.embedding_rows(3, 9), words[3:9], rtol=0, atol=0)
    model = FallbackModel(checkpoint.config).eval()
    model.load(checkpoint)
    x = torch.randn(2, 20, 32)
    with torch.no_grad():
        expected = text(inputs_embeds=x.clone(), use_cache=False).last_hidden_state
        assert_close(model(x), expected)


@pytest.mark.parametrize("shards", ["5GB", "20KB"])
@pytest.mark.parametrize("name", SEEING)
def test_the_text_model_of_one_that_sees(
    name: str, shards: str, tmp_path: Path
) -> None:
    kind, text, sight = SEEING[name]
    config = getattr(hf, f"{kind}Config")(text_config=text, vision_config=sight)
    model = getattr(hf, f"{kind}ForConditionalGeneration")(config).eval()
    # safetensors in one file, and pytorch_model.bin.index.json with its parts.
    whole = shards == "5GB"
    model.save_pretrained(tmp_path, max_shard_size=shards, safe_serialization=whole)
    assert (tmp_path / "pytorch_model.bin.index.json").exists() == (not whole)
    inner = model.model
    same(tmp_path, getattr(inner, "text_model", None) or inner.language_model)


def test_masks_that_old_releases_stored(tmp_path: Path) -> None:
    """GPT-J's file on the hub has them; no release reads them."""
    sizes = dict(n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=96)
    model = hf.GPTJForCausalLM(hf.GPTJConfig(**sizes, rotary_dim=4)).eval()
    model.config.save_pretrained(tmp_path)
    tensors = dict(model.state_dict())
    for index in range(3):
        block = f"transformer.h.{index}.attn"
        tensors[f"{block}.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril()
        tensors[f"{block}.masked_bias"] = torch.tensor(-1e9)
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    same(tmp_path, model.transformer)
    tensors["transformer.h.1.attn.gate.weight"] = torch.ones(3)
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="do not have: h.1.attn.gate.weight"):
        same(tmp_path, model.transformer)


def test_words_that_are_not_there_are_not_drawn(tmp_path: Path) -> None:
    model = hf.Olmo2Model(hf.Olmo2Config(**TEXT))
    model.config.save_pretrained(tmp_path)
    tensors = {n: t for n, t in model.state_dict().items() if "embed" not in n}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    checkpoint = open_fallback(str(tmp_path))
    with pytest.raises(CheckpointError, match="lacks the word embedding"):
        checkpoint.embedding_rows(0, 3)
