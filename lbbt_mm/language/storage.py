"""Lazy readers of the file formats that language models are stored in.

Nothing is read before it is asked for, except headers. Pickles are opened by torch's
restricted unpickler only, so a file that would run code is refused.
"""

from __future__ import annotations

import codecs
import contextlib
import math
import pickle
import re
import types
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.gguf_header import read_header


class TensorStore(ABC):
    """Named tensors in files, read one at a time."""

    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape of everything stored, without reading it."""

    @abstractmethod
    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Read rows ``start`` to ``stop`` of a tensor; all of it by default."""


class SafetensorsStore(TensorStore):
    """One safetensors file or the shards of one checkpoint.

    Args:
        files: The files; names must not repeat between them.

    Raises:
        CheckpointError: A file is truncated or not in this format.
    """

    def __init__(self, files: list[Path]) -> None:
        from safetensors import safe_open

        self._shapes: dict[str, tuple[int, ...]] = {}
        self._handles: dict[str, tuple[Any, Path]] = {}
        for path in files:
            with _explained(path, "a safetensors file"):
                handle = safe_open(str(path), framework="pt")
                for name in handle.keys():
                    shape = handle.get_slice(name).get_shape()
                    self._shapes[name] = tuple(shape)
                    self._handles[name] = (handle, path)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape."""
        return self._shapes

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Read a tensor or some of its rows."""
        handle, path = self._handles[name]
        with _explained(path, "a safetensors file"):
            if start == 0 and stop is None:
                return handle.get_tensor(name)
            return handle.get_slice(name)[start:stop]


class TorchStore(TensorStore):
    """A state dict that is already in memory or memory-mapped.

    Args:
        tensors: Name -> tensor.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = {
            name: value for name, value in tensors.items() if torch.is_tensor(value)
        }

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape."""
        return {name: tuple(value.shape) for name, value in self._tensors.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Return a tensor or some of its rows."""
        return self._tensors[name][start:stop] if stop else self._tensors[name]


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
                f"Reading {path.name} needs the gguf package: pip install gguf"
            ) from error
        self._gguf = gguf
        self._path = path
        with _explained(path, "a gguf file"):
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
            header = read_header(memoryview(self._bytes.data))
            self.metadata = header.metadata
            self._tensors = header.tensors
            for name in self._tensors:
                self._rows_of_bytes(name)
        self.vocab_size: int | None = header.metadata.get(
            "tokenizer.ggml.tokens.length"
        )

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape."""
        return {name: info.shape for name, info in self._tensors.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Read and dequantise a tensor or some of its rows."""
        with _explained(self._path, "a gguf file"):
            kind = self._gguf.GGMLQuantizationType(self._tensors[name].kind)
            rows = np.ascontiguousarray(self._rows_of_bytes(name)[start:stop])
            values = self._gguf.quants.dequantize(rows, kind)
            # Unquantised rows are a view of the read-only file, which torch warns of.
            return torch.from_numpy(np.require(values, requirements="W"))

    def _rows_of_bytes(self, name: str) -> Any:
        """Return a tensor's bytes as ``(rows, ..., bytes of a row)``, checked."""
        info = self._tensors[name]
        kind = self._gguf.GGMLQuantizationType(info.kind)
        elements, size = self._gguf.GGML_QUANT_SIZES[kind]
        *outer, columns = info.shape
        row = columns // elements * size
        stop = info.offset + math.prod(outer) * row
        if columns % elements or stop > len(self._bytes):
            raise ValueError(f"the tensor {name} does not lie within the file")
        return self._bytes[info.offset : stop].reshape(*outer, row)


def load_pickle(path: Path) -> Any:
    """Open a ``.pth`` or ``.bin`` file without running any code in it.

    Args:
        path: The file.

    Returns:
        What was saved, tensors memory-mapped where the format allows it.

    Raises:
        CheckpointError: It is truncated, or holds objects other than tensors, plain
            types and mmengine's training history.
    """
    with _explained(path, "a PyTorch checkpoint of tensors and plain types"):
        if not _weights_only_takes_exceptions():
            restricted = _old_unpickler()
            return torch.load(path, "cpu", pickle_module=restricted, weights_only=False)
        with torch.serialization.safe_globals(_harmless_globals()):
            try:
                return torch.load(path, "cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap" not in str(error):
                    raise
                # Files from before torch 1.6 are no zip archives to be mapped.
                return torch.load(path, "cpu", weights_only=True)


def _weights_only_takes_exceptions() -> bool:
    """Tell whether this torch accepts names beside its own list (2.6 and later)."""
    return tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)


def _old_unpickler() -> Any:
    """Restrict pickle for torch versions whose ``weights_only`` takes no exceptions.

    The same names are let through as by newer versions: torch's own list and the plain
    data types of mmengine's checkpoints.
    """
    from torch._weights_only_unpickler import _get_allowed_globals

    allowed = dict(_get_allowed_globals())
    for entry in _harmless_globals():
        value, name = entry if isinstance(entry, tuple) else (entry, None)
        allowed[name or f"{value.__module__}.{value.__qualname__}"] = value

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            module = "builtins" if module == "__builtin__" else module
            full = f"{module}.{name}"
            if full not in allowed:
                raise pickle.UnpicklingError(f"GLOBAL {full} was not allowed")
            return allowed[full]

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    module = types.ModuleType("restricted_pickle")
    vars(module).update(Unpickler=Unpickler, load=load)
    return module


def _harmless_globals() -> list[Any]:
    """Name the plain data types that mmengine writes into its checkpoints.

    mmengine's own list allows ``getattr`` as well, which is a door to anything; here
    the name leads to a function that hands out the statistics of a history only.
    """
    from mmengine.logging import HistoryBuffer

    def history_method(owner: Any, name: str) -> Any:
        if owner is not HistoryBuffer or name not in ("min", "max", "mean", "current"):
            raise ValueError(f"it asks for the attribute {name!r} of {owner!r}")
        return getattr(HistoryBuffer, name)

    try:
        from numpy._core import multiarray
    except ImportError:  # before numpy 2
        from numpy.core import multiarray  # type: ignore[no-redef]
    rebuild = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("_reconstruct", "scalar")
        for core in ("core", "_core")  # a file says where its own numpy kept them
    ]
    dtypes = {type(np.dtype(kind)) for kind in "?bhilqBHILQefd"}
    return [
        HistoryBuffer,
        (history_method, "builtins.getattr"),
        # How pickle writes bytes; newer torch lets it through by itself.
        (codecs.encode, "_codecs.encode"),
        np.ndarray,
        np.dtype,
        *rebuild,
        *dtypes,
    ]


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Return a tensor's bytes, for hashing; not copied if it is contiguous on CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


@contextlib.contextmanager
def _explained(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises into one sentence that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        # torch's refusal is a page of advice; the name it stumbled over is what counts.
        named = re.search(r"GLOBAL (\S+) (was not|whose)", str(error))
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        reason = f"it calls {named[1]}, which could run code" if named else told
        raise CheckpointError(
            f"{path} cannot be read as {kind}: {reason.rstrip('.')}. The file "
            f"may be truncated, damaged, of another format or unsafe; fetch it again."
        ) from error
