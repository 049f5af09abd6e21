"""Open a language model by one string: its configuration and its lazy tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.language.block import BlockWeights, block_shapes
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.families import FAMILIES, OURS, KeyTable, numbered
from lbbt_mm.language.gguf_config import config_from_gguf
from lbbt_mm.language.gguf_store import GGUFStore
from lbbt_mm.language.hf_config import config_from_hf
from lbbt_mm.language.locate import config_alone, local_path, locate
from lbbt_mm.language.names import sort_names
from lbbt_mm.language.presets import preset_config
from lbbt_mm.language.recognise import refusal, split_message
from lbbt_mm.language.record import own_record
from lbbt_mm.language.sources import (
    check_index,
    config_beside,
    merged_state_dict,
    read_json,
)
from lbbt_mm.language.storage import SafetensorsStore, TensorStore, TorchStore


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
        found = store.shapes()
        names = sort_names(source, config.family, table, found, config.num_layers)
        self._stored = names.stored
        self._others = names.others
        self._shapes = {name: found[full] for name, full in names.stored.items()}
        # Sorted once: a look through all names for every block grows with its square.
        self._inside: dict[str, list[str]] = {}
        for name in self._shapes:
            match = numbered(table.block).match(name)
            if match is not None and name != table.positions:  # T5's are in a block
                self._inside.setdefault(match[0], []).append(name[match.end() :])
        for index in range(config.num_layers):  # before a byte of them is read
            self._assemble(index, self._without_data)
        self._check_globals()

    def block(self, index: int) -> BlockWeights:
        """Read one block.

        Args:
            index: Block number, from 0.

        Raises:
            CheckpointError: The file is damaged.
        """
        return self._assemble(index, self._read)

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        full = self._stored[name]
        tensor = self._store.read(full, start, stop)
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{self.source} holds {full} as {tensor.dtype}; expected "
                f"floating-point numbers. Use the model's unquantised file, or a gguf "
                f"one."
            )
        if not _all_finite(tensor):
            raise CheckpointError(
                f"{self.source} holds numbers in {full} that are not finite (NaN or "
                f"infinite), so its training diverged or the file is damaged; use an "
                f"earlier checkpoint, or fetch it again."
            )
        return tensor

    def _without_data(self, name: str) -> Tensor:
        """Return a tensor of the stored shape, without reading it."""
        return torch.empty(self._shapes[name], device="meta")

    def _assemble(self, index: int, read: Callable[[str], Tensor]) -> BlockWeights:
        """Put a block's stored tensors together; every key must be known and fit."""
        origin = f"{self.source}, block {index}"
        root = self._table.block.format(i=index)
        stored = set(self._inside.get(root, ()))
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
                if len(pieces) > 1 and pieces[0].is_meta:
                    # torch.cat of shapes imports torch's compiler, for a second.
                    pieces = [torch.empty(shape, device="meta")]
                tensors[part] = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
            stored -= set(keys)
        for key in sorted(stored - set(self._table.ignored_in_block)):
            tensors[key] = self._without_data(root + key)
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
        if self._table.positions not in self._shapes:
            raise CheckpointError(
                f"{self.source} was saved without its positions; build the model "
                f"without them (position='learned' or 'sincos2d'), or from a "
                f"checkpoint that has them."
            )
        table = self._read(self._table.positions)
        if self._table.token_types:
            table = table + self._rows(self._table.token_types, 0, 1)
        return table

    def norm(self, which: str) -> dict[str, Tensor]:
        """Read a norm outside the blocks: part (``weight``, ``bias``) -> ``(width,)``.

        Args:
            which: ``'embed_norm'`` or ``'final_norm'``.

        Raises:
            CheckpointError: This family has none.
        """
        if not getattr(self.config, which):
            raise CheckpointError(f"{self.source} has no {which}.")
        return {
            name.rpartition(".")[2]: self._read(name)
            for name in self._norm_shapes(which)
        }

    def embedding_rows(self, start: int, stop: int) -> Tensor:
        """Read some rows of the word embedding, ``(stop - start, width)``.

        Raises:
            CheckpointError: The file has no word embedding (a checkpoint of ours).
        """
        if not self._table.embeddings:
            raise CheckpointError(f"{self.source} carries no word embedding.")
        return self._rows(self._table.embeddings, start, stop).float()

    def other_names(
        self, blocks: Collection[int], norm: str | None, positions: bool = False
    ) -> list[str]:
        """Name the stored tensors outside of some blocks and, if named, a norm.

        Args:
            blocks: Block numbers.
            norm: As for :meth:`norm`, or None.
            positions: Whether the learned positions are left out, too.
        """
        roots = [self._table.block.format(i=index) for index in blocks]
        if norm is not None:
            roots.append(f"{getattr(self._table, norm)}.")
        if positions:
            used = (self._table.positions, self._table.token_types)
            roots += [name for name in used if name]
        own = tuple(roots)
        outside = (n for n in self._stored.items() if not n[0].startswith(own))
        return sorted([*(full for _, full in outside), *self._others])

    def _oriented(self, tensor: Tensor, part: str, key: str) -> Tensor:
        """Turn a stored tensor of a block to our orientation and row order.

        One that is misshapen comes back as it is, for the shapes are checked later.
        """
        if part in self._table.transposed and key.endswith(".weight"):
            return tensor.t() if tensor.ndim == 2 else tensor
        if key.rpartition(".")[0] in self._table.interleaved:
            return _uninterleave(tensor, self.config.head_dim)
        return tensor

    def _check_globals(self) -> None:
        """Compare what is outside the blocks with the configuration, before memory.

        A stack of ours writes the positions only if it uses them, and no embedding.
        """
        config, table = self.config, self._table
        wanted: dict[str, tuple[int, ...]] = {}
        if config.position_shape is not None and table.positions is not None:
            if table is not OURS or table.positions in self._shapes:
                wanted[table.positions] = config.position_shape
        for which in ("embed_norm", "final_norm"):
            if getattr(config, which):
                wanted |= self._norm_shapes(which)
        if table.embeddings in self._shapes:
            wanted[table.embeddings] = (config.vocab_size, config.width)
        if table.token_types is not None:  # row 0 is read; there are 1 or 2
            rows = (*self._shapes.get(table.token_types, ()), 1)[0]
            wanted[table.token_types] = (max(rows, 1), config.width)
        for name, shape in wanted.items():
            found = self._shapes.get(name)
            if found != shape:
                raise CheckpointError(
                    f"{self.source} should hold {name} of shape {list(shape)} by its "
                    f"configuration; found {list(found) if found else 'nothing'}. Use "
                    f"the configuration and the weights of one model."
                )

    def _norm_shapes(self, which: str) -> dict[str, tuple[int, ...]]:
        kinds = ("weight", "bias") if self.config.norm == "layernorm" else ("weight",)
        name = getattr(self._table, which)
        return {f"{name}.{kind}": (self.config.width,) for kind in kinds}

    def _rows(self, name: str, start: int, stop: int) -> Tensor:
        found = self._shapes.get(name, ())
        if len(found) != 2 or found[0] < stop or found[1] != self.config.width:
            raise CheckpointError(
                f"{self.source} should hold {name} of {stop} or more "
                f"rows and {self.config.width} columns; found "
                f"{list(found) if found else 'nothing'}."
            )
        return self._read(name, start, stop)


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
        return _open_gguf(first, language_model)
    store: TensorStore
    if first.suffix == ".safetensors":
        store = SafetensorsStore(files.weights)
        check_index(language_model, files.names, store.shapes())
    else:
        tensors = merged_state_dict(files.weights)
        check_index(language_model, files.names, tensors)
        own = own_checkpoint(tensors, language_model)
        if own is not None:
            return own
        store = TorchStore(tensors)
    hf = read_json(files.config) if files.config else None
    reason = refusal(language_model, store.shapes(), hf)
    if reason is not None:
        raise CheckpointError(reason)
    config = config_beside(language_model, hf, store.shapes())
    table = FAMILIES[config.family].table(config.gated)
    return Checkpoint(language_model, config, table, store)


def own_checkpoint(
    tensors: Mapping[str, Any], language_model: str
) -> Checkpoint | None:
    """Find the stack of ours in a model.

    Args:
        tensors: The model's state dict.
        language_model: Where it comes from, for messages.

    Returns:
        ``None`` if there is none in it.

    Raises:
        CheckpointError: There are several, or it has LoRA beside its weights.
    """
    record = own_record(tensors, language_model)
    if record is None:
        return None
    root, fields = record
    if (fields.get("use") or {}).get("lora"):
        raise CheckpointError(
            f"{language_model} holds LoRA beside its blocks; merge it first: "
            f"python -m lbbt_mm.models.backbone.merge_lora {language_model} MERGED"
        )
    holder = root[: root[:-1].rfind(".") + 1]
    inside = {n[len(root) :]: v for n, v in tensors.items() if n.startswith(root)}
    beside = {
        name[len(holder) :]: value
        for name, value in tensors.items()
        if name.startswith(holder) and not name.startswith(root)
    }
    config = LanguageConfig.from_dict(fields.get("config"))
    return Checkpoint(language_model, config, OURS, TorchStore(inside), fields, beside)


def _open_gguf(path: Path, language_model: str) -> Checkpoint:
    store = GGUFStore(path)
    split = split_message(path, store.metadata.get("split.count"))
    if split is not None:
        raise CheckpointError(split)
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


def language_config(language_model: str) -> LanguageConfig:
    """Find an architecture: from the known models first, so that no file is needed.

    Args:
        language_model: As in :func:`open_checkpoint`.

    Raises:
        CheckpointError: It is not a known model and cannot be opened.
    """
    # The known models first, so that no file is needed; but a folder is a folder.
    named = isinstance(language_model, str) and language_model
    known = preset_config(language_model) if named else None
    if known is not None:
        if language_model.startswith("package:") or local_path(language_model) is None:
            return known
    alone = config_alone(language_model)
    if alone is not None:
        return config_from_hf(read_json(alone), language_model)
    return open_checkpoint(language_model).config


def _all_finite(tensor: Tensor) -> bool:
    """Tell whether there is neither NaN nor infinity; one pass, nothing allocated."""
    if tensor.numel() == 0:
        return True
    if tensor.element_size() == 1:  # torch compares no float8
        tensor = tensor.float()
    lowest, highest = torch.aminmax(tensor.detach())
    return math.isfinite(lowest) and math.isfinite(highest)


def _uninterleave(tensor: Tensor, head_dim: int) -> Tensor:
    """Undo llama.cpp's rotary layout: rows (pair, half) of a head -> (half, pair).

    A tensor that has no whole heads is left alone.
    """
    if tensor.ndim == 0 or tensor.shape[0] % head_dim:
        return tensor
    heads = tensor.shape[0] // head_dim
    split = tensor.reshape(heads, head_dim // 2, 2, *tensor.shape[1:])
    return split.transpose(1, 2).reshape(tensor.shape)
