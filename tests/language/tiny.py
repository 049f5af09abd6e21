"""Small random checkpoints of every family, written by transformers and gguf."""

from __future__ import annotations

import copy
from pathlib import Path

import gguf
import torch
import transformers as hf

from lbbt_mm.language.families import FAMILIES

VOCAB = 96
_COMMON = dict(vocab_size=VOCAB, max_position_embeddings=64)
_LLAMA = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    **_COMMON,
)
_BERT = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    **_COMMON,
)
_OPT = dict(
    hidden_size=32,
    ffn_dim=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    word_embed_proj_dim=32,
    **_COMMON,
)
_PHI3 = dict(_LLAMA, pad_token_id=0, original_max_position_embeddings=16)
_FACTORS = [1.0, 1.5, 2.0, 3.0]
_T5 = dict(
    vocab_size=VOCAB,
    d_model=32,
    d_kv=12,
    num_heads=4,
    d_ff=40,
    num_layers=3,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=20,
    initializer_factor=0.4,
)
CONFIGS: dict[str, hf.PretrainedConfig] = {
    "gpt2": hf.GPT2Config(
        n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=VOCAB
    ),
    "bert": hf.BertConfig(**_BERT),
    "roberta": hf.RobertaConfig(**_BERT, type_vocab_size=1),
    "xlm-roberta": hf.XLMRobertaConfig(**_BERT, type_vocab_size=1),
    "camembert": hf.CamembertConfig(**_BERT),
    "data2vec-text": hf.Data2VecTextConfig(**_BERT),
    "electra": hf.ElectraConfig(**_BERT, embedding_size=16),
    "electra-wide": hf.ElectraConfig(**_BERT, embedding_size=32),
    "distilbert": hf.DistilBertConfig(
        dim=32, hidden_dim=48, n_layers=3, n_heads=4, **_COMMON
    ),
    "opt": hf.OPTConfig(**_OPT),
    "opt-post-norm": hf.OPTConfig(**_OPT, do_layer_norm_before=False),
    "gpt_bigcode": hf.GPTBigCodeConfig(
        n_embd=32, n_layer=3, n_head=4, n_inner=48, n_positions=64, vocab_size=VOCAB
    ),
    "starcoder2": hf.Starcoder2Config(**_LLAMA, sliding_window=5),
    "starcoder2-whole": hf.Starcoder2Config(**_LLAMA),
    "starcoder2-unbiased": hf.Starcoder2Config(**_LLAMA, use_bias=False),
    "phi3": hf.Phi3Config(**_PHI3, sliding_window=5),
    "phi3-long": hf.Phi3Config(
        **_PHI3,
        rope_scaling=dict(type="su", short_factor=_FACTORS, long_factor=[4.0] * 4),
    ),
    "phi3-partial": hf.Phi3Config(**_PHI3, partial_rotary_factor=0.5),
    "mt5": hf.MT5Config(**_T5, feed_forward_proj="gated-gelu"),
    "llama": hf.LlamaConfig(**_LLAMA),
    "llama3-rope": hf.LlamaConfig(
        **_LLAMA,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "llama-biased": hf.LlamaConfig(**_LLAMA, attention_bias=True, mlp_bias=True),
    "mistral": hf.MistralConfig(**_LLAMA, sliding_window=None),
    "mistral-window": hf.MistralConfig(**_LLAMA, sliding_window=5),
    "qwen2": hf.Qwen2Config(**_LLAMA),
    # 48 channels in the heads, 32 in the stream; buckets that the tests' tokens fill.
    "t5": hf.T5Config(**_T5, feed_forward_proj="relu"),
    "t5-gated": hf.T5Config(**_T5, feed_forward_proj="gated-gelu"),
}
if hasattr(hf, "Qwen3Config"):  # not in the transformers of requirements/upstream.txt
    CONFIGS["qwen3"] = hf.Qwen3Config(**_LLAMA, head_dim=16)


def build(name: str, attn_implementation: str | None = None) -> hf.PreTrainedModel:
    """Build a random transformers model whose norms and biases are random too."""
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[name])  # T5's and mT5's encoders write into theirs
    if name in ("t5", "t5-gated", "mt5"):  # AutoModel would build the decoder too
        kind = hf.MT5EncoderModel if name == "mt5" else hf.T5EncoderModel
        model = kind(config)
    else:
        model = hf.AutoModel.from_config(
            config, attn_implementation=attn_implementation
        )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.mul_(4)  # far from zero, so that mistakes are visible
    return model.eval()


def save(
    model: hf.PreTrainedModel, folder: Path, storage: str, shard_size: str = "20KB"
) -> str:
    """Write a model in one of the formats and return its ``language_model`` string."""
    if storage == "folder":
        model.save_pretrained(folder)
        return str(folder)
    if storage == "file":
        model.save_pretrained(folder)
        return str(folder / "model.safetensors")
    if storage == "shards":
        model.save_pretrained(folder, max_shard_size=shard_size)
        assert len(list(folder.glob("*.safetensors"))) > 1
        return str(folder)
    if storage == "bin":
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        return str(folder)
    assert storage == "gguf"
    return write_gguf(model, folder / "model.gguf")


_HF_TO_GGUF_GLOBALS = {
    "wte.weight": "token_embd.weight",
    "wpe.weight": "position_embd.weight",
    "embed_tokens.weight": "token_embd.weight",
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm": "token_embd_norm",
    "ln_f": "output_norm",
    "norm": "output_norm",
}


def write_gguf(
    model: hf.PreTrainedModel,
    path: Path,
    more: dict[str, torch.Tensor] | None = None,
) -> str:
    """Write a model as llama.cpp's converter does: Linear layout, interleaved rotary.

    The names are spelled out here and in the package's tables independently only as
    far as the formats differ; the layout rules are written again from llama.cpp's.
    """
    config = model.config
    kind = config.model_type
    arch = "llama" if kind == "mistral" else kind
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), arch)
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_vocab_size(config.vocab_size)
    if kind in ("gpt2", "bert"):
        eps = getattr(config, "layer_norm_epsilon", None) or config.layer_norm_eps
        writer.add_layer_norm_eps(eps)
    else:
        if kind == "starcoder2":
            writer.add_layer_norm_eps(config.norm_epsilon)
        if kind == "phi3" and config.sliding_window:
            writer.add_sliding_window(config.sliding_window)
        writer.add_head_count_kv(kv_heads)
        writer.add_layer_norm_rms_eps(getattr(config, "rms_norm_eps", 1e-5))
        writer.add_rope_freq_base(config.rope_theta)
        writer.add_key_length(head_dim)
    names = _gguf_names(kind, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        stem, _, suffix = name.rpartition(".")
        target = _HF_TO_GGUF_GLOBALS.get(name) or names.get(name)
        if target is None:
            stem_target = _HF_TO_GGUF_GLOBALS.get(stem) or names.get(stem)
            if stem_target is None:
                continue  # BERT's pooler
            target = f"{stem_target}.{suffix}"
        values = tensor.detach().float()
        if kind == "gpt2" and suffix == "weight" and values.ndim == 2:
            if ".c_" in name:
                values = values.t()
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            count = heads if "q_proj" in name else kv_heads
            split = values.reshape(count, 2, head_dim // 2, *values.shape[1:])
            values = split.transpose(1, 2).reshape(values.shape)
        writer.add_tensor(target, values.contiguous().numpy())
    for name, tensor in (more or {}).items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def _gguf_names(kind: str, layers: int) -> dict[str, str]:
    family = FAMILIES[kind]
    pairs = {}
    for index in range(layers):
        for part, keys in family.hf.parts.items():
            for ours, theirs in zip(
                keys, family.gguf.parts.get(part, ()), strict=False
            ):
                source = family.hf.block.format(i=index) + ours
                pairs[source] = family.gguf.block.format(i=index) + theirs
    return pairs
