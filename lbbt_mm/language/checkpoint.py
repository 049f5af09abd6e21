"""Open a language model by one string: its configuration and its lazy tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.language.block import BlockWeights, block_shapes
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.families import FAMILIES, OURS, KeyTable, numbered
from lbbt_mm.language.gguf_store import GGUFStore
from lbbt_mm.language.hf_config import config_from_gguf, config_from_hf
from lbbt_mm.language.locate import locate
from lbbt_mm.language.presets import preset_config
from lbbt_mm.language.storage import (
    SafetensorsStore,
    TensorStore,
    TorchStore,
    load_state_dict,
)

RECORD_KEY = "_extra_state"
"""Last part of the state-dict key under which a stack of ours describes itself."""


class Checkpoint:
    """A language model on disk. Tensors are read when they are asked for.

    Args:
        source: The string that the user gave.
        config: Its architecture.
        table: Names of its tensors.
        store: Reader of its files.
        record: What a checkpoint of ours says about its origin.
        beside: Name -> tensor of what stands beside the stack in a checkpoint of ours,
            in the module that holds it: a patch embedding.

    Raises:
        CheckpointError: A name outside the blocks is unknown, there are no blocks, or
            one has a part missing, unknown or misshapen.
    """

    def __init__(
        self,
        source: str,
        config: LanguageConfig,
        table: KeyTable,
        store: TensorStore,
        record: Mapping[str, Any] | None = None,
        beside: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.source = source
        self.config = config
        self.record = dict(record or {})
        self.beside = dict(beside or {})
        self._table = table
        self._store = store
        self._shapes = store.shapes()
        self._prefix = self._find_prefix()
        self._check_names()
        for index in range(config.num_layers):  # before a byte of them is read
            self._assemble(index, self._outline)

    def block(self, index: int) -> BlockWeights:
        """Read one block.

        Args:
            index: Block number, from 0.

        Raises:
            CheckpointError: The file is damaged.
        """
        return self._assemble(index, self._read)

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        tensor = self._store.read(name, start, stop)
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{self.source} holds {name} as {tensor.dtype}; expected "
                f"floating-point numbers. Use the model's unquantised file, or a gguf "
                f"one."
            )
        return tensor

    def _outline(self, name: str) -> Tensor:
        """Return a tensor of the stored shape, without reading it."""
        return torch.empty(self._shapes[name], device="meta")

    def _assemble(self, index: int, read: Callable[[str], Tensor]) -> BlockWeights:
        """Put a block's stored tensors together; every key must be known and fit."""
        origin = f"{self.source}, block {index}"
        root = self._prefix + self._table.block.format(i=index)
        positions = self._prefix + (self._table.positions or "")
        stored = {
            name[len(root) :]
            for name in self._shapes
            if name.startswith(root) and name != positions  # T5: inside a block
        }
        tensors: dict[str, Tensor] = {}
        for part, shape in block_shapes(self.config).items():
            name, _, kind = part.rpartition(".")
            keys = [f"{key}.{kind}" for key in self._table.parts.get(name, ())]
            if keys and all(key in stored for key in keys):
                pieces = [self._oriented(read(root + key), name, key) for key in keys]
                if len(pieces) > 1:
                    # Their sum could be right where the heads are not.
                    fitting = [(rows, *shape[1:]) for rows in self.config.qkv_rows]
                    found = [tuple(piece.shape) for piece in pieces]
                    if found != fitting:
                        raise CheckpointError(
                            f"{origin} should hold {', '.join(keys)} of shapes "
                            f"{fitting} by its configuration; found {found}."
                        )
                tensors[part] = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
            stored -= set(keys)
        for key in sorted(stored - set(self._table.ignored_in_block)):
            tensors[key] = self._outline(root + key)
        return BlockWeights(self.config, tensors, origin)

    def positions(self) -> Tensor:
        """Read the learned positions, shaped as the configuration's position_shape.

        BERT adds the embedding of segment 0 to every token; it is folded in here.

        Raises:
            CheckpointError: This family has none, or the file lacks it.
        """
        shape = self.config.position_shape
        if self._table.positions is None or shape is None:
            raise CheckpointError(f"{self.source} has no position table.")
        table = self._global(self._table.positions, shape)
        if self._table.token_types:
            table = table + self._rows(self._table.token_types, 0, 1)
        return table

    def norm(self, which: str) -> dict[str, Tensor]:
        """Read a norm outside the blocks: part (``weight``, ``bias``) -> ``(width,)``.

        Args:
            which: ``'embed_norm'`` or ``'final_norm'``.

        Raises:
            CheckpointError: The file lacks it.
        """
        name = getattr(self._table, which)
        kinds = ("weight", "bias") if self.config.norm == "layernorm" else ("weight",)
        return {
            kind: self._global(f"{name}.{kind}", (self.config.width,)) for kind in kinds
        }

    def embedding_rows(self, start: int, stop: int) -> Tensor:
        """Read some rows of the word embedding, ``(stop - start, width)``.

        Raises:
            CheckpointError: The file has no word embedding (a checkpoint of ours).
        """
        if not self._table.embeddings:
            raise CheckpointError(f"{self.source} carries no word embedding.")
        return self._rows(self._table.embeddings, start, stop).float()

    def other_names(self, blocks: Collection[int], norm: str | None) -> list[str]:
        """Name the stored tensors outside of some blocks and, if named, a norm.

        Args:
            blocks: Block numbers.
            norm: As for :meth:`norm`, or None.
        """
        roots = [self._table.block.format(i=index) for index in blocks]
        if norm is not None:
            roots.append(f"{getattr(self._table, norm)}.")
        own = tuple(self._prefix + root for root in roots)
        return sorted(name for name in self._shapes if not name.startswith(own))

    def _oriented(self, tensor: Tensor, part: str, key: str) -> Tensor:
        """Turn a stored tensor of a block to our orientation and row order.

        One that is misshapen comes back as it is, for the shapes are checked later.
        """
        if part in self._table.transposed and key.endswith(".weight"):
            return tensor.t() if tensor.ndim == 2 else tensor
        if key.rpartition(".")[0] in self._table.interleaved:
            return _uninterleave(tensor, self.config.head_dim)
        return tensor

    def _global(self, name: str, shape: tuple[int, ...]) -> Tensor:
        found = self._shapes.get(self._prefix + name)
        if found != shape:
            raise CheckpointError(
                f"{self.source} should hold {self._prefix}{name} of shape "
                f"{list(shape)}; found {list(found) if found else 'nothing'}."
            )
        return self._read(self._prefix + name)

    def _rows(self, name: str, start: int, stop: int) -> Tensor:
        found = self._shapes.get(self._prefix + name, ())
        if len(found) != 2 or found[0] < stop or found[1] != self.config.width:
            raise CheckpointError(
                f"{self.source} should hold {self._prefix}{name} of {stop} or more "
                f"rows and {self.config.width} columns; found "
                f"{list(found) if found else 'nothing'}."
            )
        return self._read(self._prefix + name, start, stop)

    def _find_prefix(self) -> str:
        for prefix in self._table.prefixes:
            root = prefix + self._table.block.format(i=0)
            if any(name.startswith(root) for name in self._shapes):
                return prefix
        first = ", ".join(sorted(self._shapes)[:4]) or "no tensors"
        raise CheckpointError(
            f"{self.source} says it is a {self.config.family} model, so names such as "
            f"{self._table.block.format(i=0)}* were expected; found {first}."
        )

    def _check_names(self) -> None:
        """Refuse names that no table explains, and count the blocks."""
        table = self._table
        pattern = numbered(self._prefix + table.block)
        blocks: set[int] = set()
        unknown = []
        for name in self._shapes:
            match = pattern.match(name)
            if match:
                blocks.add(int(match.group(1)))
                continue
            local = name[len(self._prefix) :] if name.startswith(self._prefix) else name
            if not table.explains(local) and not name.startswith(table.ignored):
                unknown.append(name)
        if unknown:
            raise CheckpointError(
                f"{self.source} holds tensors that a {self.config.family} model does "
                f"not have: {', '.join(sorted(unknown)[:6])}. It may be of another "
                f"family, or carry an adapter that must be merged first."
            )
        count = self.config.num_layers  # by a lying file, billions: not to be listed
        if len(blocks) != count or max(blocks) != count - 1:
            raise CheckpointError(
                f"{self.source} should hold blocks 0 to {count - 1} by its "
                f"configuration; found {len(blocks)} blocks, up to number "
                f"{max(blocks)}."
            )


def open_checkpoint(language_model: str) -> Checkpoint:
    """Open a language model.

    Args:
        language_model: A hub id (``'gpt2-medium'``), a folder, a ``.safetensors``,
            ``.gguf``, ``.bin`` or ``.pth`` file, or ``'package:NAME/FILE'`` for a file
            that an installed Python package carries.

    Returns:
        The opened checkpoint; no weight has been read yet.

    Raises:
        CheckpointError: It cannot be found or understood. The message says what was
            tried and how to get the file.
    """
    files = locate(language_model)
    first = files.weights[0]
    if first.suffix == ".gguf":
        store = GGUFStore(first)
        if "rope_freqs.weight" in store.shapes():
            raise CheckpointError(
                f"{language_model} rescales its rotary frequencies by a tensor (LLaMA "
                f"3.1 and later as llama.cpp stores them), which the stack does not "
                f"read; use the model's safetensors files, whose config.json says how."
            )
        config = config_from_gguf(store.metadata, store.vocab_size, language_model)
        table = FAMILIES[config.family].gguf
        assert table is not None, "config_from_gguf refuses the others"
        return Checkpoint(language_model, config, table, store)
    if first.suffix == ".safetensors":
        config = _hf_config(language_model, files.config)
        hf_store = SafetensorsStore(files.weights)
        _check_index(language_model, files.names, hf_store.shapes())
        return Checkpoint(language_model, config, _hf_table(config), hf_store)
    tensors: dict[str, Any] = {}
    for path in files.weights:
        shard = load_state_dict(path)
        twice = tensors.keys() & shard.keys()
        if twice:
            raise CheckpointError(
                f"{path} holds {min(twice)}, which another shard holds too; fetch the "
                f"shards again, all of one version."
            )
        tensors.update(shard)
    _check_index(language_model, files.names, tensors)
    record = _own_record(tensors)
    if record is not None:
        root, fields = record
        own = {
            name[len(root) :]: value
            for name, value in tensors.items()
            if name.startswith(root)
        }
        holder = root[: root[:-1].rfind(".") + 1]
        beside = {
            name[len(holder) :]: value
            for name, value in tensors.items()
            if name.startswith(holder) and not name.startswith(root)
        }
        config = LanguageConfig.from_dict(fields.get("config"))
        return Checkpoint(language_model, config, OURS, TorchStore(own), fields, beside)
    config = _hf_config(language_model, files.config)
    return Checkpoint(language_model, config, _hf_table(config), TorchStore(tensors))


def language_config(language_model: str) -> LanguageConfig:
    """Find an architecture: from the known models first, so that no file is needed.

    Args:
        language_model: As in :func:`open_checkpoint`.

    Raises:
        CheckpointError: It is not a known model and cannot be opened.
    """
    known = None if Path(language_model).exists() else preset_config(language_model)
    return known or open_checkpoint(language_model).config


def encode_record(fields: Mapping[str, Any]) -> Tensor:
    """Write a record as a uint8 tensor, which every checkpoint format can carry."""
    text = json.dumps({"lbbt_mm": 1, **fields}, sort_keys=True)
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).clone()


def decode_record(tensor: Tensor) -> dict[str, Any] | None:
    """Read what :func:`encode_record` wrote; ``None`` if it is something else."""
    try:
        fields = json.loads(bytes(tensor.cpu().to(torch.uint8).tolist()))
    except (ValueError, RuntimeError, AttributeError):
        return None
    return fields if isinstance(fields, dict) and "lbbt_mm" in fields else None


def _own_record(tensors: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Find the stack of ours inside a model: its prefix and its record."""
    for name, value in tensors.items():
        if name.rpartition(".")[2] == RECORD_KEY and torch.is_tensor(value):
            fields = decode_record(value)
            if fields is not None:
                return name[: -len(RECORD_KEY)], fields
    return None


def _check_index(
    language_model: str, names: frozenset[str], held: Iterable[str]
) -> None:
    """Refuse shards that lack what their index promises."""
    lost = sorted(names - set(held))
    if lost:
        raise CheckpointError(
            f"The index.json of {language_model} lists tensors that its shards do not "
            f"hold: {', '.join(lost[:6])}. Fetch index and shards again, all of one "
            f"version."
        )


def _hf_table(config: LanguageConfig) -> KeyTable:
    return FAMILIES[config.family].table(config.gated)


def _hf_config(language_model: str, path: Path | None) -> LanguageConfig:
    if path is None:
        known = preset_config(language_model)
        if known is not None:
            return known
        raise CheckpointError(
            f"{language_model} has no config.json beside its weights, so its heads "
            f"and sizes are unknown; copy the model's config.json into that folder."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not readable JSON ({error}); fetch it again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object; fetch it again.")
    return config_from_hf(content, language_model)


def _uninterleave(tensor: Tensor, head_dim: int) -> Tensor:
    """Undo llama.cpp's rotary layout: rows (pair, half) of a head -> (half, pair).

    A tensor that has no whole heads is left alone.
    """
    if tensor.ndim == 0 or tensor.shape[0] % head_dim:
        return tensor
    heads = tensor.shape[0] // head_dim
    split = tensor.reshape(heads, head_dim // 2, 2, *tensor.shape[1:])
    return split.transpose(1, 2).reshape(tensor.shape)
