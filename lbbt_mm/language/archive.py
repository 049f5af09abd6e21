"""What a ``.pth`` archive holds by its own list, compared before torch reads it.

torch maps such a file into memory and takes a storage's bytes from where it begins,
however long the archive says it is and whether or not it is compressed: one that was
cut or packed again is read as other tensors' bytes, without an error.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


def check_archive(path: Path) -> bool:
    """Check that every tensor of a file has the bytes that its shape needs.

    Args:
        path: A file of :func:`torch.save`. Those from before torch 1.6 are no archives
            and are read by torch in full, which checks them.

    Returns:
        Whether it can be mapped into memory: it is an archive, and not compressed.

    Raises:
        ValueError: A tensor's bytes are missing or too few.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        records = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(records) != 1:
            return False  # torch says what it misses
        folder = records[0].filename.removesuffix("data.pkl")
        sizes = {entry.filename: entry.file_size for entry in entries}
        with archive.open(records[0]) as file:
            try:
                _SizeCheck(file, folder, sizes).load()
            except _Contradiction as error:
                raise ValueError(str(error)) from error
            except Exception:
                pass  # what it stumbles over, torch refuses in its own words
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


class _Contradiction(Exception):
    """The file's list of tensors does not agree with its bytes."""


@dataclass(frozen=True)
class _Kind:
    itemsize: int  # bytes of a number


@dataclass(frozen=True)
class _Storage:
    size: int  # bytes
    itemsize: int


class _Inert:
    """Stands for every object of a pickle; does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        """Take what a pickle fills its objects with."""

    __init__ = __setitem__ = __setstate__ = append = extend = add = update = _nothing


class _SizeCheck(pickle.Unpickler):
    """Reads a pickle without making any of its objects, and checks its tensors."""

    def __init__(self, file: Any, folder: str, sizes: dict[str, int]) -> None:
        super().__init__(file)
        self._folder = folder
        self._sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        """Find nothing that a file asks for by name, except what is checked."""
        if module == "torch._utils" and name in _REBUILDERS:
            return _check_extent
        if module.startswith("torch") and name.endswith("Storage"):
            return _Kind(_ITEM_SIZES.get(name.removesuffix("Storage"), 1))
        found = getattr(torch, name, None) if module == "torch" else None
        return _Kind(found.itemsize) if isinstance(found, torch.dtype) else _Inert

    def persistent_load(self, pid: Any) -> _Storage:
        """Check a storage: ``('storage', kind, key, device, numbers)``."""
        _, kind, key, _, numbers = pid
        needed = numbers * kind.itemsize
        found = self._sizes.get(f"{self._folder}data/{key}", 0)
        if found != needed:
            raise _Contradiction(
                f"one of its tensors needs {needed} bytes and has {found}"
            )
        return _Storage(needed, kind.itemsize)


_ITEM_SIZES = {
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
"""Bytes of a number in torch's typed storages; of the others, 1."""

_REBUILDERS = (
    "_rebuild_tensor",
    "_rebuild_tensor_v2",
    "_rebuild_tensor_v3",
    "_rebuild_qtensor",
)


def _check_extent(
    storage: _Storage, offset: int, shape: Any, stride: Any, *more: Any
) -> _Inert:
    """Take a rebuilder's arguments; the third version's seventh is a dtype."""
    itemsize = storage.itemsize
    if len(more) > 2 and isinstance(more[2], _Kind):
        itemsize = more[2].itemsize
    if math.prod(shape):
        steps = zip(shape, stride, strict=True)
        end = offset + sum((size - 1) * step for size, step in steps) + 1
        if end * itemsize > storage.size:
            raise _Contradiction(
                f"a tensor of shape {list(shape)} does not fit into its "
                f"{storage.size} bytes"
            )
    return _Inert()
