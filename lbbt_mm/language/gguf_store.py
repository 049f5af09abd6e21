"""A reader of llama.cpp's files, quantised or not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.gguf_header import read_header
from lbbt_mm.language.storage import TensorStore, explained


def open_gguf(paths: Sequence[Path]) -> GGUFStore:
    """Open a llama.cpp file, or all parts of one that was split.

    Args:
        paths: The file, or its parts in their order.

    Raises:
        CheckpointError: As :class:`GGUFStore`, or they are not the parts of one file.
    """
    store, *others = (GGUFStore(path) for path in paths)
    for number, part in enumerate((store, *others)):
        said = {key: part.metadata.get(f"split.{key}") for key in ("count", "no")}
        count = said["count"] or 1
        if count != len(paths) or (count > 1 and said["no"] != number):
            raise CheckpointError(
                f"{paths[number]} is part {(said['no'] or 0) + 1} of {count} of a gguf "
                f"file by its header, not {number + 1} of {len(paths)}; put all parts "
                f"into one folder under the names that llama.cpp gave them, such as "
                f"NAME-00001-of-00003.gguf."
            )
    for part in others:
        store.add(part)
    return store


class GGUFStore(TensorStore):
    """A llama.cpp file; quantised tensors become float32 when they are read.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is truncated or not in this format, or the ``gguf``
            package is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            import gguf
        except ImportError as error:
            raise CheckpointError(
                f"Reading {path.name} needs gguf>=0.10, which does not import here "
                f"({error}). Install it with: pip install gguf"
            ) from error
        self._gguf = gguf
        self._path = path
        self._parts: dict[str, GGUFStore] = {}
        with explained(path, "a gguf file"):
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
            header = read_header(memoryview(self._bytes.data))
            self.metadata = header.metadata
            self._tensors = header.tensors
            self._check_places(header.start, header.alignment)
        tokens = header.metadata.get("tokenizer.ggml.tokens")  # a list, if it is short
        length = header.metadata.get("tokenizer.ggml.tokens.length")
        if isinstance(tokens, list):
            length = len(tokens)
        self.vocab_size: int | None = None if length is None else int(length)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape."""
        found = {name: info.shape for name, info in self._tensors.items()}
        for name, part in self._parts.items():
            found[name] = part._tensors[name].shape
        return found

    def add(self, part: GGUFStore) -> None:
        """Take the tensors of another part too.

        Raises:
            CheckpointError: It holds one that is here already.
        """
        twice = part._tensors.keys() & self.shapes().keys()
        if twice:
            raise CheckpointError(
                f"{part._path} holds {min(twice)}, which another part holds too; fetch "
                f"all parts again, of one version."
            )
        self._parts |= dict.fromkeys(part._tensors, part)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Read and dequantise a tensor or some of its rows."""
        if name in self._parts:
            return self._parts[name].read(name, start, stop)
        with explained(self._path, "a gguf file"):
            kind = self._gguf.GGMLQuantizationType(self._tensors[name].kind)
            rows = np.ascontiguousarray(self._rows_of_bytes(name)[start:stop])
            values = self._gguf.quants.dequantize(rows, kind)
            # Unquantised rows are a view of the read-only file, which torch warns of.
            return torch.from_numpy(np.require(values, requirements="W"))

    def _check_places(self, end: int, alignment: int) -> None:
        """Check that the tensors fill the file one after the other, as written."""
        places = sorted(
            (info.offset, name, math.prod(self._byte_shape(name)))
            for name, info in self._tensors.items()
        )
        for offset, name, size in places:
            if offset % alignment or not end <= offset < end + alignment:
                # Also how a size or a storage type that is wrong shows itself.
                raise ValueError(
                    f"the tensor {name[:40]!r} starts at byte {offset}, but what is "
                    f"before it ends at {end}"
                )
            end = offset + size
            if end > len(self._bytes):
                raise ValueError(
                    f"the tensor {name[:40]!r} does not lie within the file"
                )

    def _byte_shape(self, name: str) -> tuple[int, ...]:
        """Return ``(rows, ..., bytes of a row)``."""
        info = self._tensors[name]
        try:
            kind = self._gguf.GGMLQuantizationType(info.kind)
        except ValueError as error:
            raise ValueError(
                f"the tensor {name[:40]!r} is stored as type {info.kind}, which this "
                f"gguf package does not know (a newer one may)"
            ) from error
        elements, size = self._gguf.GGML_QUANT_SIZES[kind]
        *outer, columns = info.shape
        if columns % elements:
            raise ValueError(
                f"a row of the tensor {name[:40]!r} has {columns} numbers, not a "
                f"multiple of {elements} as {kind.name} needs"
            )
        return (*outer, columns // elements * size)

    def _rows_of_bytes(self, name: str) -> Any:
        """Return a tensor's bytes as ``(rows, ..., bytes of a row)``."""
        shape, start = self._byte_shape(name), self._tensors[name].offset
        return self._bytes[start : start + math.prod(shape)].reshape(shape)
