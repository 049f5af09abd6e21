"""GPT-2 and LLaMA in the formats of nanoGPT, Meta, Mistral and a split gguf file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers as hf
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from lbbt_mm.language import CheckpointError, LanguageModel, open_checkpoint
from lbbt_mm.language.fallback_checkpoint import open_fallback
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone

import tiny  # isort: skip


def load(source: object) -> LanguageModel:
    checkpoint = open_checkpoint(str(source))
    model = LanguageModel(checkpoint.config, initialise=False)
    model.load(checkpoint)
    return model.eval()


def refused(source: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        load(source)


# nanoGPT ----------------------------------------------------------------------------


class NanoBlock(nn.Module):
    """Written anew from what its model.py computes."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, bias=bias)
        self.attn = nn.Module()
        self.attn.c_attn = nn.Linear(width, 3 * width, bias=bias)
        self.attn.c_proj = nn.Linear(width, width, bias=bias)
        self.ln_2 = nn.LayerNorm(width, bias=bias)
        self.mlp = nn.Module()
        self.mlp.c_fc = nn.Linear(width, 4 * width, bias=bias)
        self.mlp.c_proj = nn.Linear(4 * width, width, bias=bias)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.attn.c_attn(self.ln_1(x)).chunk(3, -1)
        )
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        hidden = torch.ones(logits.shape[-2:]).triu(1).bool()
        y = logits.masked_fill(hidden, -math.inf).softmax(-1) @ v
        x = x + self.attn.c_proj(y.transpose(1, 2).flatten(2))
        hidden = nn.functional.gelu(self.mlp.c_fc(self.ln_2(x)))
        return x + self.mlp.c_proj(hidden)


def nano(folder: Path, bias: bool = True, **changes: Any) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    model = nn.Module()
    model.transformer = nn.ModuleDict(
        dict(
            wte=nn.Embedding(192, 32),  # padded
            wpe=nn.Embedding(64, 32),
            h=nn.ModuleList(NanoBlock(32, 4, bias) for _ in range(3)),
            ln_f=nn.LayerNorm(32, bias=bias),
        )
    )
    model.lm_head = nn.Linear(32, 192, bias=False)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)
        else:
            parameter.data *= 3
    tensors = {f"_orig_mod.{n}": t for n, t in model.state_dict().items()}
    sizes = dict(n_layer=3, n_head=4, n_embd=32, block_size=64, vocab_size=192)
    arguments = dict(**sizes, bias=bias, dropout=0.2)
    content = dict(
        model=tensors, model_args={**arguments, **changes}, iter_num=7, config={},
        best_val_loss=torch.tensor(1e9), optimizer=dict(state={}, param_groups=[]),
    )  # fmt: skip
    torch.save(content, folder / "ckpt.pt")
    return model.transformer, folder / "ckpt.pt"


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpt(bias: bool, tmp_path: Path) -> None:
    theirs, path = nano(tmp_path, bias)
    model = load(path)
    assert model.config.embed_drop == model.config.attn_drop == 0.2
    x = torch.randn(2, 9, 32)
    with torch.no_grad():
        expected = x + theirs.wpe.weight[:9]
        for block in theirs.h:
            expected = block(expected)
        assert_close(model(x), theirs.ln_f(expected), rtol=1e-4, atol=1e-4)
    backbone = LanguageBackbone(str(tmp_path), img_size=32, patch_size=8)
    backbone.init_weights()
    found = dict(backbone.language.named_parameters())
    assert_close(found, dict(model.named_parameters()), rtol=0, atol=0)
    words = open_checkpoint(str(path)).embedding_rows(190, 192)
    assert_close(words, theirs.wte.weight.detach()[190:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(n_head=3), "3 heads"),
        (dict(n_layer=4), "blocks 0 to 3"),
        (dict(n_embd=None), "width=None|NoneType"),
        (dict(block_size=32), "wpe.weight of shape .32, 32."),
    ],
)
def test_nanogpt_of_other_sizes(changes: dict, words: str, tmp_path: Path) -> None:
    refused(nano(tmp_path, **changes)[1], words)


# Meta and Mistral -------------------------------------------------------------------

_NAMES = {
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "embed_tokens": "tok_embeddings",
}


def meta(model: hf.PreTrainedModel) -> dict[str, Tensor]:
    """Name and order a LLaMA's tensors as Meta does: neighbours are rotated."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if "q_proj" in name or "k_proj" in name:
            tensor = tensor.unflatten(0, (-1, 2, 4)).transpose(1, 2).flatten(0, 2)
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        tensors[name] = tensor.contiguous()
    words = tensors["tok_embeddings.weight"]
    return {**tensors, "output.weight": words.clone(), "rope.freqs": torch.ones(4)}


PARAMS = dict(
    dim=32, n_layers=3, n_heads=4, n_kv_heads=2, norm_eps=1e-6, vocab_size=-1,
    multiple_of=16,
)  # fmt: skip


def write(folder: Path, parts: list[dict], **changes: Any) -> None:
    for number, part in enumerate(parts):
        torch.save(part, folder / f"consolidated.{number:02}.pth")
    (folder / "params.json").write_text(json.dumps({**PARAMS, **changes}))


def same(reference: hf.PreTrainedModel, source: object) -> None:
    x = torch.randn(2, 9, 32)
    with torch.no_grad():
        expected = reference(inputs_embeds=x).last_hidden_state
        assert_close(load(source)(x), expected, rtol=1e-4, atol=1e-5)


def split(name: str, tensor: Tensor, words: int) -> tuple[Tensor, ...]:
    """Give each of two processes its part."""
    if "norm" in name or "rope" in name:
        return tensor, tensor
    columns = "wo." in name or "w2." in name
    way = words if "tok_emb" in name else int(columns)
    return tuple(part.clone() for part in tensor.chunk(2, way))


@pytest.mark.parametrize("words", [0, 1, None])
def test_metas_llama(words: int | None, tmp_path: Path) -> None:
    reference = tiny.build("llama")
    tensors = meta(reference)
    parts = [tensors]
    if words is not None:  # LLaMA 3 splits its words by rows, LLaMA 2 by columns
        pairs = {n: split(n, t, words) for n, t in tensors.items()}
        parts = [{n: pair[rank] for n, pair in pairs.items()} for rank in (0, 1)]
    write(tmp_path, parts)
    same(reference, tmp_path)
    same(reference, tmp_path / "consolidated.00.pth")
    checkpoint = open_checkpoint(str(tmp_path))
    rows = checkpoint.embedding_rows(3, 9)
    assert_close(rows, reference.embed_tokens.weight[3:9].detach())


def test_metas_llama_3_1(tmp_path: Path) -> None:
    reference = tiny.build("llama3-rope")
    scaling = dict(use_scaled_rope=True, rope_scaling_factor=8, rope_theta=10000.0)
    write(tmp_path, [meta(reference)], **scaling)
    config = open_checkpoint(str(tmp_path)).config
    theirs = dict(reference.config.rope_scaling, original_max_position_embeddings=8192)
    assert config.rope_scaling == theirs
    write(tmp_path, [meta(reference)], use_scaled_rope=True)
    refused(tmp_path, "add rope_scaling_factor, 32 for LLaMA 3.2")


def test_mistrals_own_file(tmp_path: Path) -> None:
    reference = tiny.build("mistral-window")
    save_file(meta(reference), tmp_path / "consolidated.safetensors")
    more = dict(head_dim=8, hidden_dim=48, vocab_size=96, sliding_window=5)
    (tmp_path / "params.json").write_text(json.dumps({**PARAMS, **more}))
    same(reference, tmp_path / "consolidated.safetensors")
    same(reference, tmp_path)


def test_metas_files_that_do_not_belong_together(tmp_path: Path) -> None:
    tensors = meta(tiny.build("llama"))
    torch.save(tensors, tmp_path / "consolidated.00.pth")
    refused(tmp_path, "Meta's and Mistral's own code .* params.json that came with it")
    write(tmp_path, [tensors], moe={"num_experts": 8}, quantization_args={"a": 1})
    refused(tmp_path, "sets moe, quantization_args, which is not computed")
    write(tmp_path, [tensors])
    params = {k: v for k, v in PARAMS.items() if k != "n_heads"}
    (tmp_path / "params.json").write_text(json.dumps(params))
    refused(tmp_path, "params.json .* lacks 'n_heads'")
    write(tmp_path, [tensors], n_heads=8)
    refused(tmp_path, "wq, .*should hold|should hold attention.wq")
    less = {n: t for n, t in tensors.items() if n != "norm.weight"}
    write(tmp_path, [tensors, less])
    refused(tmp_path, "same tensors as consolidated.00.pth .norm.weight.")


# llama.cpp's parts ------------------------------------------------------------------


def cut(source: str, folder: Path, count: int, **lies: int) -> list[Path]:
    """Split a gguf file as llama-gguf-split does: a header for each part."""
    reader = gguf.GGUFReader(source)
    paths = []
    for number in range(count):
        path = folder / f"m-{number + 1:05}-of-{count:05}.gguf"
        writer = gguf.GGUFWriter(str(path), "llama")
        for field in reader.fields.values() if number == 0 else ():
            key, value = field.name, field.parts[field.data[0]][0] if field.data else 0
            kind = field.types[0].name.lower() if field.types else ""
            if key.startswith("llama."):
                getattr(writer, f"add_{kind}")(key, value.item())
        writer.add_uint16("split.no", lies.get("no", number))
        writer.add_uint16("split.count", lies.get("count", count))
        for tensor in reader.tensors[number::count]:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        paths.append(path)
    return paths


def test_a_split_gguf(tmp_path: Path) -> None:
    reference = tiny.build("llama")
    source = tiny.save(reference, tmp_path / "whole", "gguf")
    (tmp_path / "parts").mkdir()
    first, second, third = cut(source, tmp_path / "parts", 3)
    for given in (tmp_path / "parts", first, third):
        same(reference, given)
    with pytest.raises(CheckpointError, match="llama-gguf-split --merge m-00001-of"):
        open_fallback(str(first))
    second.unlink()
    refused(first, "one of 3 parts .* missing .*m-00002-of-00003.gguf")


def test_parts_of_a_gguf_under_other_names(tmp_path: Path) -> None:
    source = tiny.save(tiny.build("llama"), tmp_path / "whole", "gguf")
    first, second = cut(source, tmp_path, 2)
    alone = first.rename(tmp_path / "alone.gguf")
    refused(alone, "part 1 of 2 .* by its header, not 1 of 1")
    alone.rename(first)
    cut(source, tmp_path, 2, no=0)
    refused(first, "part 1 of 2 .* not 2 of 2")
    first.write_bytes(Path(cut(source, tmp_path, 2)[1]).read_bytes())
    refused(first, "part 2 of 2 .* not 1 of 2")
