"""A whole language model as transformers names it, with blocks of ours put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.language.block import block_shapes
from lbbt_mm.language.checkpoint import Checkpoint
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.families import FAMILIES, OURS
from lbbt_mm.language.locate import PARAMS, locate
from lbbt_mm.language.model import LanguageModel
from lbbt_mm.language.sources import read_json

Readers = dict[str, Callable[[], Tensor]]
"""Name of a tensor -> what reads it."""

_CLASSES = {  # of a file without a config.json: class, what stands before its names
    "gpt2": ("GPT2LMHeadModel", "transformer."),
    "bert": ("BertModel", ""),
    "llama": ("LlamaForCausalLM", "model."),
    "mistral": ("MistralForCausalLM", "model."),
    "qwen2": ("Qwen2ForCausalLM", "model."),
    "qwen3": ("Qwen3ForCausalLM", "model."),
}
_ACTIVATIONS = {"gelu_tanh": "gelu_new"}  # by transformers' names; others are the same


def whole_model(
    source: Checkpoint, blocks: Mapping[int, Mapping[str, Tensor]] | None = None
) -> tuple[dict[str, Any], Readers]:
    """Put blocks into a language model that was opened.

    Args:
        source: The language model; everything but the blocks is its own.
        blocks: Number -> parts, named as by
            :func:`lbbt_mm.language.block.block_shapes`; none by default.

    Returns:
        The content of its ``config.json``, and for each tensor what reads it, named as
        in its own file, or of a gguf file as in transformers.

    Raises:
        CheckpointError: There is no such block, or the source is a checkpoint of ours,
            which has no words.

    Example:
        >>> config, readers = whole_model(open_checkpoint("gpt2"), {0: block})
        >>> state = {name: read() for name, read in readers.items()}
    """
    if source.table is OURS:
        raise CheckpointError(
            f"{source.source} is a checkpoint of blocks, without words; expected a "
            f"whole language model."
        )
    beyond = [number for number in blocks or () if number >= source.config.num_layers]
    if beyond:
        raise CheckpointError(
            f"{source.source} has {source.config.num_layers} blocks; there is no place "
            f"for block {max(beyond)}."
        )
    files = locate(source.source)
    beside = files.config if files.config and files.config.name != PARAMS else None
    if files.weights[0].suffix == ".gguf" or beside is None:
        config, readers = _converted(source)
        root = _CLASSES[source.config.family][1]
        name_of = partial(_full_name, {}, root)
    else:
        config = read_json(beside)
        held = source.store.shapes()
        readers = {name: partial(source.store.read, name) for name in held}
        name_of = partial(_full_name, source.stored, "")
    for number, parts in (blocks or {}).items():
        for name, tensor in _split(source.config, number, parts).items():
            readers[name_of(name)] = partial(torch.clone, tensor)
    return config, readers


def is_the_start(source: Checkpoint, origin: Mapping[str, Any]) -> bool:
    """Tell whether a language model is the one that blocks once were read from.

    Args:
        source: Any.
        origin: Of the blocks, as the record of :class:`LanguageModel` states it, with
            the number, the first one and the checksum of what was read.
    """
    count, first = origin.get("blocks"), origin.get("first_block", 0)
    if type(count) is not int or not 0 < count <= source.config.num_layers - first:
        return False
    config = source.config.with_layers(count)
    tables = (True, False) if config.position_shape is not None else (True,)
    for positions in tables:  # they were read too, if they were used
        model = LanguageModel(config, use_positions=positions, initialise=False)
        model.load(source, first)
        if model.origin["sha256"] == origin.get("sha256"):
            return True
    return False


def started_from(record: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Follow a record back to the language model.

    Args:
        record: Of a checkpoint of ours.

    Returns:
        The first origin, whose ``source`` is ``None`` for blocks from scratch, and the
        number that the first block has in the language model.
    """
    origin, first = dict(record.get("origin") or {}), 0
    while True:
        first += origin.get("first_block", 0)
        if not origin.get("parent"):
            return origin, first
        origin = dict(origin["parent"])


def config_to_hf(config: LanguageConfig) -> dict[str, Any]:
    """Write an architecture as a ``config.json`` of transformers.

    Args:
        config: Of a family that gguf files hold.
    """
    family = config.family
    activation = _ACTIVATIONS.get(config.activation, config.activation)
    hf: dict[str, Any] = dict(
        model_type=family,
        architectures=[_CLASSES[family][0]],
        vocab_size=config.vocab_size,
        initializer_range=config.init_std,
    )
    if family == "gpt2":
        return hf | dict(
            n_embd=config.width,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            n_inner=config.ffn_width,
            n_positions=config.max_positions,
            layer_norm_epsilon=config.norm_eps,
            activation_function=activation,
            embd_pdrop=config.embed_drop,
            attn_pdrop=config.attn_drop,
            resid_pdrop=config.residual_drop,
        )
    hf |= dict(
        hidden_size=config.width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.ffn_width,
        max_position_embeddings=config.max_positions,
        hidden_act=activation,
    )
    if family == "bert":
        return hf | dict(
            layer_norm_eps=config.norm_eps,
            hidden_dropout_prob=config.residual_drop,
            attention_probs_dropout_prob=config.attn_drop,
        )
    return hf | dict(
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        rms_norm_eps=config.norm_eps,
        rope_theta=config.rope_theta,
        rope_scaling=config.rope_scaling,
        attention_bias=family != "qwen2" and config.qkv_bias,
        mlp_bias=config.ffn_bias,
        sliding_window=config.sliding_window,
        attention_dropout=config.attn_drop,
    )


def _split(
    config: LanguageConfig, number: int, parts: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Name and orient a block's parts as transformers does; the inverse of reading."""
    table = FAMILIES[config.family].table(config.gated)
    root, found = table.block.format(i=number), dict[str, list[Tensor]]()
    for part in block_shapes(config):
        name, _, kind = part.rpartition(".")
        tensor, keys = parts[part].detach(), table.parts[name]
        if name in table.transposed and kind == "weight":
            tensor = tensor.t()
        rows = config.qkv_rows if len(keys) > 1 else tensor.shape[:1]
        for key, piece in zip(keys, tensor.split(list(rows)), strict=True):
            found.setdefault(f"{root}{key}.{kind}", []).append(piece)
    return {  # parts that share a tensor stand in it one after the other
        name: pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        for name, pieces in found.items()
    }


def _converted(source: Checkpoint) -> tuple[dict[str, Any], Readers]:
    """Name what stands outside the blocks as transformers does, blocks too."""
    config, stored = source.config, source.table
    if config.family not in _CLASSES:
        raise CheckpointError(
            f"{source.source} has no config.json beside it, and none is made for a "
            f"{config.family} model; copy the model's own one there."
        )
    hf, root = config_to_hf(config), _CLASSES[config.family][1]
    names, readers = FAMILIES[config.family].table(config.gated), Readers()

    def take(theirs: str | None, ours: str | None) -> None:
        if theirs is not None and theirs in source.stored and ours is not None:
            full = source.stored[theirs]
            readers[ours] = partial(source.store.read, full)

    for field in ("embeddings", "positions", "token_types"):
        ours = getattr(names, field)
        take(getattr(stored, field), ours and root + ours)
    for field in ("embed_norm", "final_norm"):
        for kind in ("weight", "bias"):
            ours = f"{root}{getattr(names, field)}.{kind}"
            take(f"{getattr(stored, field)}.{kind}", ours)
    head = next(
        (n for n in ("output.weight", "lm_head.weight") if n in source.stored), None
    )
    take(head, "lm_head.weight")
    hf["tie_word_embeddings"] = head is None
    metadata = getattr(source.store, "metadata", {})
    for ours, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        if isinstance(word := metadata.get(f"tokenizer.ggml.{key}_token_id"), int):
            hf[f"{ours}_token_id"] = word
    if stored.token_types is not None:
        hf["type_vocab_size"] = source.shapes[stored.token_types][0]
    block = lru_cache(maxsize=1)(source.block)  # its parts are read one after the other
    for number in range(config.num_layers):
        shapes = source.assemble(number, source.without_data)
        for name in _split(config, number, shapes):
            readers[root + name] = partial(_part_of, block, config, number, name)
    return hf, readers


def _part_of(
    block: Callable[[int], Mapping[str, Tensor]],
    config: LanguageConfig,
    number: int,
    name: str,
) -> Tensor:
    return _split(config, number, block(number))[name]


def _full_name(stored: Mapping[str, str], root: str, name: str) -> str:
    return stored.get(name, root + name)
