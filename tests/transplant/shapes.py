"""Small random language models and the originals of their blocks, for transplants."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as hf
from torch import Tensor, nn

from lbbt_mm.language import Checkpoint, open_checkpoint
from lbbt_mm.language.block import block_shapes
from lbbt_mm.language.config import LanguageConfig

WIDTH, HEADS, FFN, DEPTH = 32, 4, 128, 3

GPT2 = hf.GPT2Config(
    n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS, n_positions=64, vocab_size=64
)
BERT = hf.BertConfig(
    hidden_size=WIDTH,
    intermediate_size=FFN,
    num_hidden_layers=DEPTH,
    num_attention_heads=HEADS,
    vocab_size=64,
    max_position_embeddings=64,
)


def make(config: hf.PretrainedConfig, folder: Path) -> tuple[nn.Module, Checkpoint]:
    """Write a random model; return it and its opened checkpoint."""
    torch.manual_seed(0)
    model = hf.AutoModel.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.mul_(4)  # far from zero, so that mistakes are visible
    model.save_pretrained(folder)
    return model, open_checkpoint(str(folder))


def run_blocks(model: nn.Module, x: Tensor, final_norm: bool = False) -> Tensor:
    """Run transformers' own blocks on ``(B, T, C)``, every token seeing all."""
    seen = torch.zeros(len(x), 1, x.shape[1], x.shape[1])
    blocks = model.h if hasattr(model, "h") else model.encoder.layer
    for block in blocks:
        x = block(x, attention_mask=seen)
        x = x[0] if isinstance(x, tuple) else x
    return model.ln_f(x) if final_norm else x


def run_crossing_blocks(model: nn.Module, x: Tensor, memory: Tensor) -> Tensor:
    """Run transformers' blocks, their self-attention serving as cross-attention."""
    if isinstance(model, hf.BertModel):
        return _crossing_bert(model, x, memory)
    seen = torch.zeros(len(x), 1, x.shape[1], x.shape[1])
    config = hf.GPT2Config(**{**model.config.to_dict(), "add_cross_attention": True})
    config._attn_implementation = "sdpa"
    for index, block in enumerate(model.h):
        crossing = type(block)(config, layer_idx=index).eval()
        crossing.load_state_dict(block.state_dict(), strict=False)
        crossing.ln_cross_attn.load_state_dict(block.ln_1.state_dict())
        attention = crossing.crossattention
        attention.c_proj.load_state_dict(block.attn.c_proj.state_dict())
        for kind in ("weight", "bias"):
            whole = getattr(block.attn.c_attn, kind).data  # (in, out): by columns
            getattr(attention.q_attn, kind).data = whole[..., :WIDTH].clone()
            getattr(attention.c_attn, kind).data = whole[..., WIDTH:].clone()
        x = crossing(x, attention_mask=seen, encoder_hidden_states=memory)
        x = x[0] if isinstance(x, tuple) else x
    return x


def _crossing_bert(model: nn.Module, x: Tensor, memory: Tensor) -> Tensor:
    """Spell it out: self-attention, the same over the memory, FFN, each post-norm."""
    for block in model.encoder.layer:
        own = block.attention
        x = own(x)[0]
        attended = _attend(own.self, x, memory)
        x = own.output.LayerNorm(own.output.dense(attended) + x)
        x = block.output(block.intermediate(x), x)
    return x


def _attend(attention: nn.Module, x: Tensor, memory: Tensor) -> Tensor:
    def heads(linear: nn.Module, tokens: Tensor) -> Tensor:
        return linear(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2)

    q, k = heads(attention.query, x), heads(attention.key, memory)
    v = heads(attention.value, memory)
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


class Coded:
    """A language model whose weights say where they are: row * 4096 + column."""

    source, beside = "coded", ()

    def __init__(self, config: LanguageConfig) -> None:
        self.config = config

    def block(self, index: int) -> dict[str, Tensor]:
        return {part: self._coded(s) for part, s in block_shapes(self.config).items()}

    def norm(self, which: str) -> dict[str, Tensor]:
        return {kind: self._coded((self.config.width,)) for kind in ("weight", "bias")}

    def positions(self) -> Tensor:
        return self._coded(self.config.position_shape)

    def other_names(self, *_, **__) -> list[str]:
        return []

    @staticmethod
    def _coded(shape: tuple[int, ...]) -> Tensor:
        *rows, columns = (torch.arange(size).float() for size in shape)
        return rows[0][:, None] * 4096 + columns if rows else columns
