"""Lazy readers of the file formats that language models are stored in.

Nothing is read before it is asked for, except headers. Pickles are opened by torch's
restricted unpickler only, so a file that would run code is refused.
"""

from __future__ import annotations

import codecs
import collections
import contextlib
import datetime
import errno
import json
import pickle
import re
import struct
import types
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.language.archive import check_archive
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.recognise import what_it_is

# What is data and nothing else, and torch does not let through by itself.
_PLAIN: list[Any] = [
    *(int, float, complex, str, bytearray, list, dict, set, frozenset, range, slice),
    *(collections.OrderedDict, collections.Counter),
    # torch fills no subclass of dict that it does not know; its factory is no data.
    (lambda *factory: {}, "collections.defaultdict"),
    *(datetime.datetime, datetime.date, datetime.timedelta, datetime.timezone),
    *(
        (kind, f"pathlib.{inner}{kind.__name__}")  # Python 3.13 has them in _local
        for kind in (PurePosixPath, PureWindowsPath, PosixPath)
        for inner in ("", "_local.")
    ),
]


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
            with explained(path, "a safetensors file"):
                handle = safe_open(str(path), framework="pt")
                _refuse_repeated_names(path)
                for name in handle.keys():
                    if name in self._handles:
                        other = self._handles[name][1].name
                        raise ValueError(f"{other} holds {name} too")
                    shape = handle.get_slice(name).get_shape()
                    self._shapes[name] = tuple(shape)
                    self._handles[name] = (handle, path)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape."""
        return self._shapes

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Read a tensor or some of its rows."""
        handle, path = self._handles[name]
        with explained(path, "a safetensors file"):
            if start == 0 and stop is None:
                return handle.get_tensor(name)
            return handle.get_slice(name)[start:stop]


def _refuse_repeated_names(path: Path) -> None:
    """Check what the safetensors package does not: which of two would it be?"""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"its header says {twice[:40]!r} twice")
        return found

    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))  # the package has checked it
        json.loads(file.read(size), object_pairs_hook=unique)


class TorchStore(TensorStore):
    """A state dict that is already in memory or memory-mapped.

    Args:
        tensors: Name -> tensor.

    Raises:
        CheckpointError: One is no plain array of numbers.
    """

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._tensors = {
            name: value for name, value in tensors.items() if torch.is_tensor(value)
        }
        for name, value in self._tensors.items():
            kind = _unusual(value)
            if kind is not None:
                raise CheckpointError(
                    f"{name} is {kind}; expected plain tensors. Save the model's "
                    f"state_dict() again with every tensor dense and on the CPU."
                )

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape."""
        return {name: tuple(value.shape) for name, value in self._tensors.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Return a tensor or some of its rows."""
        whole = start == 0 and stop is None
        return self._tensors[name] if whole else self._tensors[name][start:stop]


def _unusual(tensor: Tensor) -> str | None:
    """Name what makes a tensor more, or less, than an array of numbers."""
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_meta:
        return "a tensor without data (of the meta device)"
    if tensor.is_quantized:
        return "a quantised tensor"
    if tensor.layout != torch.strided:
        return f"a sparse tensor ({tensor.layout})"
    return None


def load_pickle(path: Path, map_location: Any = "cpu", mmap: bool = True) -> Any:
    """Open a ``.pth`` or ``.bin`` file without running any code in it.

    Args:
        path: The file.
        map_location: As in :func:`torch.load`.
        mmap: Map tensors into memory instead of reading them, where the format allows
            it. The file must not change while they are in use.

    Returns:
        What was saved.

    Raises:
        CheckpointError: It is missing or truncated, or holds objects other than
            tensors, plain types and mmengine's training history.
    """
    if not path.is_file():
        raise CheckpointError(
            f"There is no file {path.absolute()}; expected a checkpoint, check its "
            f"path."
        )
    with explained(path, "a PyTorch checkpoint of tensors and plain types"):
        mappable = check_archive(path)
        if not _weights_only_takes_exceptions():
            restricted = _old_unpickler()
            return torch.load(
                path, map_location, pickle_module=restricted, weights_only=False
            )
        with torch.serialization.safe_globals(_harmless_globals()):
            return torch.load(
                path, map_location, weights_only=True, mmap=mmap and mappable
            )


_WHERE_WEIGHTS_LIE = ("state_dict", "model", "module", "model_state_dict")
"""Keys of mmengine's and Lightning's, timm's and DETR's, DeepSpeed's and hand-written
checkpoints."""


def load_state_dict(path: Path) -> dict[str, Any]:
    """Open a ``.pth`` or ``.bin`` file of weights; see :func:`load_pickle`.

    Args:
        path: The file: a state dict, or a dict that has one under ``state_dict``,
            ``model``, ``module`` or ``model_state_dict``.

    Returns:
        Name -> tensor. A model's extra state may be of another type.

    Raises:
        CheckpointError: As :func:`load_pickle`, or there is no state dict in it.
    """
    return weights_in(load_pickle(path), str(path))


def weights_in(content: Any, name: str) -> dict[str, Any]:
    """Find the state dict in what a file held; see :func:`load_state_dict`.

    Args:
        content: What was saved.
        name: Of the file, for messages.

    Raises:
        CheckpointError: There is none.
    """
    if isinstance(content, dict):
        for key in _WHERE_WEIGHTS_LIE:
            inner = content.get(key)
            if isinstance(inner, Mapping) and any(map(torch.is_tensor, inner.values())):
                content = inner
                break
        else:
            content = content.get("state_dict", content)
    if not isinstance(content, Mapping) or not all(isinstance(k, str) for k in content):
        raise CheckpointError(
            f"{name} holds a {type(content).__name__}; expected a state dict, whose "
            f"keys are the names of tensors. Save model.state_dict() instead."
        )
    return dict(content)


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
    from mmengine.config import ConfigDict
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
    dtypes = {type(np.dtype(kind)) for kind in np.typecodes["All"]}
    return [
        HistoryBuffer,
        ConfigDict,  # what lies in it is data until somebody builds it
        *_PLAIN,
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
def explained(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises into one sentence that names the file.

    Args:
        path: The file.
        kind: What it should be, with its article.

    Raises:
        CheckpointError: Reading failed, for any reason but a lack of memory.
    """
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        reason, advice = _reason(path, error)
        raise CheckpointError(
            f"{path} cannot be read as {kind}: {reason.rstrip('.')}. {advice}"
        ) from error


def _reason(path: Path, error: Exception) -> tuple[str, str]:
    """Say why a file could not be read, and what helps."""
    found = what_it_is(path)
    if found is not None:
        return found
    # torch's refusal is a page of advice; the name it stumbled over is what counts.
    named = re.search(r"GLOBAL (\S+) (was not|whose)", str(error))
    if named:
        return (
            f"it calls {named[1]}, which could run code",
            "If you trust where it comes from, save its weights alone and use that "
            "file: python -c \"import torch; c = torch.load('FILE', 'cpu', "
            "weights_only=False); torch.save(c.state_dict() if hasattr(c, "
            "'state_dict') else c.get('state_dict', c), 'weights.pth')\"",
        )
    if "TorchScript" in str(error):
        return (
            "it is a TorchScript program",
            "Save the state_dict() of the model that it was made from.",
        )
    told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if "weights_only" in told:  # torch's advice is to run whatever is in it
        told = "it is no file of torch.save"
    # A cut archive makes torch seek to before its beginning: no fault of the disk.
    if isinstance(error, OSError) and error.errno != errno.EINVAL:
        return told, "Check the path and who may read it."
    return (
        told,
        "The file may be truncated, damaged or of another format; fetch it again.",
    )
