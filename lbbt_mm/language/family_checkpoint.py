"""A language model on disk: its tensors by the names of the parts that they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.language.block import BlockWeights, block_shapes
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.families import OURS
from lbbt_mm.language.key_table import KeyTable, numbered
from lbbt_mm.language.names import sort_names
from lbbt_mm.language.storage import TensorStore


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
        self.table = table
        self.store = store
        found = store.shapes()
        names = sort_names(source, config.family, table, found, config.num_layers)
        self.stored = names.stored
        self._others = names.others
        self.shapes = {name: found[full] for name, full in names.stored.items()}
        # Sorted once: a look through all names for every block grows with its square.
        self._inside: dict[str, list[str]] = {}
        for name in self.shapes:
            match = numbered(table.block).match(name)
            if match is not None and name != table.positions:  # T5's are in a block
                self._inside.setdefault(match[0], []).append(name[match.end() :])
        for index in range(config.num_layers):  # before a byte of them is read
            self.assemble(index, self.without_data)
        self._check_globals()

    def block(self, index: int) -> BlockWeights:
        """Read one block.

        Args:
            index: Block number, from 0.

        Raises:
            CheckpointError: The file is damaged.
        """
        return self.assemble(index, self._read)

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        full = self.stored[name]
        tensor = self.store.read(full, start, stop)
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

    def without_data(self, name: str) -> Tensor:
        """Return a tensor of the stored shape, without reading it."""
        return torch.empty(self.shapes[name], device="meta")

    def assemble(self, index: int, read: Callable[[str], Tensor]) -> BlockWeights:
        """Put a block's stored tensors together; every key must be known and fit."""
        origin = f"{self.source}, block {index}"
        root = self.table.block.format(i=index)
        present = set(self._inside.get(root, ()))
        stored = set(present)
        tensors: dict[str, Tensor] = {}
        for part, shape in block_shapes(self.config).items():
            name, _, kind = part.rpartition(".")
            keys = [f"{key}.{kind}" for key in self.table.parts.get(name, ())]
            if keys and all(key in present for key in keys):
                pieces = [self._oriented(read(root + key), name, key) for key in keys]
                pieces = [self._share(pieces[0], name)] if len(keys) == 1 else pieces
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
        for key in sorted(stored - set(self.table.ignored_in_block)):
            tensors[key] = self.without_data(root + key)
        return BlockWeights(self.config, tensors, origin)

    def positions(self) -> Tensor:
        """Read the learned positions, shaped as the configuration's position_shape.

        BERT adds the embedding of segment 0 to every token; it is folded in here.

        Raises:
            CheckpointError: This family has none, or the file lacks it.
        """
        shape = self.config.position_shape
        if self.table.positions is None or shape is None:
            raise CheckpointError(f"{self.source} has no position table.")
        if self.table.positions not in self.shapes:
            raise CheckpointError(
                f"{self.source} was saved without its positions; build the model "
                f"without them (position='learned' or 'sincos2d'), or from a "
                f"checkpoint that has them."
            )
        table = self._read(self.table.positions, self.table.first_position)
        if self.table.token_types:
            table = table + self._rows(self.table.token_types, 0, 1)
        return table

    def norm(self, which: str) -> dict[str, Tensor]:
        """Read a norm outside the blocks: part (``weight``, ``bias``) -> ``(width,)``.

        With embeddings narrower than the stream, ``'embed_norm'`` has the projection's
        ``project.weight`` and ``project.bias`` too.

        Args:
            which: ``'embed_norm'`` or ``'final_norm'``.

        Raises:
            CheckpointError: This family has none.
        """
        if not getattr(self.config, which):
            raise CheckpointError(f"{self.source} has no {which}.")
        own, projection = f"{getattr(self.table, which)}.", self.table.embed_project
        return {
            name.removeprefix(own)
            if name.startswith(own)
            else name.replace(f"{projection}.", "project."): self._read(name)
            for name in self._norm_shapes(which)
        }

    def embedding_rows(self, start: int, stop: int) -> Tensor:
        """Read some rows of the word embedding, ``(stop - start, input_width)``.

        Raises:
            CheckpointError: The file has no word embedding (a checkpoint of ours).
        """
        if not self.table.embeddings:
            raise CheckpointError(f"{self.source} carries no word embedding.")
        return self._rows(self.table.embeddings, start, stop).float()

    def other_names(
        self, blocks: Collection[int], norm: str | None, positions: bool = False
    ) -> list[str]:
        """Name the stored tensors outside of some blocks and, if named, a norm.

        Args:
            blocks: Block numbers.
            norm: As for :meth:`norm`, or None.
            positions: Whether the learned positions are left out, too.
        """
        roots = [self.table.block.format(i=index) for index in blocks]
        if norm is not None:
            roots.append(f"{getattr(self.table, norm)}.")
        if positions:
            used = (self.table.positions, self.table.token_types)
            roots += [name for name in used if name]
        own = tuple(roots)
        outside = (n for n in self.stored.items() if not n[0].startswith(own))
        return sorted([*(full for _, full in outside), *self._others])

    def _share(self, tensor: Tensor, part: str) -> Tensor:
        """Take a part's rows out of a tensor that holds several parts of one size."""
        names = self.table.parts[part]
        parts = [other for other, keys in self.table.parts.items() if keys == names]
        if len(parts) == 1 or tensor.ndim == 0 or len(tensor) % len(parts):
            return tensor
        return tensor.chunk(len(parts))[parts.index(part)]

    def _oriented(self, tensor: Tensor, part: str, key: str) -> Tensor:
        """Turn a stored tensor of a block to our orientation and row order.

        One that is misshapen comes back as it is, for the shapes are checked later.
        """
        if part in self.table.transposed and key.endswith(".weight"):
            return tensor.t() if tensor.ndim == 2 else tensor
        if key.rpartition(".")[0] in self.table.interleaved:
            return _uninterleave(tensor, self.config.head_dim)
        return tensor

    def _check_globals(self) -> None:
        """Compare what is outside the blocks with the configuration, before memory.

        A stack of ours writes the positions only if it uses them, and no embedding.
        """
        config, table = self.config, self.table
        wanted: dict[str, tuple[int, ...]] = {}
        if config.position_shape is not None and table.positions is not None:
            if table is not OURS or table.positions in self.shapes:
                rows, columns = config.position_shape
                wanted[table.positions] = rows + table.first_position, columns
        for which in ("embed_norm", "final_norm"):
            if getattr(config, which):
                wanted |= self._norm_shapes(which)
        if table.embeddings in self.shapes:
            wanted[table.embeddings] = (config.vocab_size, config.input_width)
        if table.token_types is not None:  # row 0 is read; there are 1 or 2
            rows = (*self.shapes.get(table.token_types, ()), 1)[0]
            wanted[table.token_types] = (max(rows, 1), config.input_width)
        for name, shape in wanted.items():
            found = self.shapes.get(name)
            if found != shape:
                raise CheckpointError(
                    f"{self.source} should hold {name} of shape {list(shape)} by its "
                    f"configuration; found {list(found) if found else 'nothing'}. Use "
                    f"the configuration and the weights of one model."
                )

    def _norm_shapes(self, which: str) -> dict[str, tuple[int, ...]]:
        config, name = self.config, getattr(self.table, which)
        width = config.input_width if which == "embed_norm" else config.width
        kinds = ("weight", "bias") if config.norm == "layernorm" else ("weight",)
        shapes: dict[str, tuple[int, ...]] = {f"{name}.{k}": (width,) for k in kinds}
        if which == "embed_norm" and config.embed_width is not None:
            projection = self.table.embed_project
            shapes[f"{projection}.weight"] = (config.width, width)
            shapes[f"{projection}.bias"] = (config.width,)
        return shapes

    def _rows(self, name: str, start: int, stop: int) -> Tensor:
        found = self.shapes.get(name, ())
        if len(found) != 2 or found[0] < stop or found[1] != self.config.input_width:
            raise CheckpointError(
                f"{self.source} should hold {name} of {stop} or more "
                f"rows and {self.config.input_width} columns; found "
                f"{list(found) if found else 'nothing'}."
            )
        return self._read(name, start, stop)


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
