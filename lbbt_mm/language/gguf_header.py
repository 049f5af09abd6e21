"""The header of a gguf file (llama.cpp's format, versions 2 and 3), checked.

The ``gguf`` package reads headers too, but makes Python objects of every token of the
vocabulary: three seconds for 49 000 tokens, longer than everything else together. It
also trusts the sizes that a header states. Dequantisation is the package's.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_MAX_DIMENSIONS = 4
# Longer arrays are vocabularies and merges, which nobody asks for.
_LONGEST_ARRAY = 64


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies.

    Attributes:
        shape: Sizes, slowest dimension first (the file lists the fastest first).
        kind: Number of its storage type, ``gguf.GGMLQuantizationType``.
        offset: First byte in the file.
    """

    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What a gguf file says about itself.

    Attributes:
        metadata: Key -> value; of long arrays only their length, as ``KEY.length``.
        tensors: Name -> where it lies.
    """

    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]


class _Cursor:
    """A place in the file; every read is checked against its end by ``struct``."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer
        self.place = 0

    def scalar(self, code: str) -> Any:
        layout = struct.Struct("<" + code)
        (value,) = layout.unpack_from(self.buffer, self.place)
        self.place += layout.size
        return value

    def skip(self, size: int) -> None:
        if size > len(self.buffer) - self.place:
            raise ValueError("its header runs past the end of the file")
        self.place += size

    def string(self) -> str:
        size = self.scalar("Q")
        start = self.place
        self.skip(size)
        return bytes(self.buffer[start : self.place]).decode("utf-8")

    def value(self, kind: int) -> Any:
        """Read one value; of long arrays only the length."""
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise ValueError(f"its header has a value of the unknown type {kind}")
        item, length = self.scalar("I"), self.scalar("Q")
        if length <= _LONGEST_ARRAY:
            return [self.value(item) for _ in range(length)]
        if item in _SCALARS:
            self.skip(length * struct.calcsize("<" + _SCALARS[item]))
        elif item == _STRING:
            for _ in range(length):
                self.skip(self.scalar("Q"))
        else:
            raise ValueError("its header has a long array of arrays")
        return _Long(length)


class _Long(int):
    """Length of an array that was passed over."""


def read_header(buffer: Any) -> Header:
    """Read and check a header.

    Args:
        buffer: The whole file's bytes, for example a memory map.

    Returns:
        Metadata and places of the tensors.

    Raises:
        ValueError: The header contradicts itself or the file's size.
        struct.error: The file ends inside the header.
    """
    cursor = _Cursor(buffer)
    if bytes(buffer[:4]) != b"GGUF":
        raise ValueError("it does not start with 'GGUF'")
    cursor.skip(4)
    version = cursor.scalar("I")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}; versions 2 and 3 are read")
    tensor_count, value_count = cursor.scalar("Q"), cursor.scalar("Q")
    metadata: dict[str, Any] = {}
    for _ in range(value_count):
        key = cursor.string()
        value = cursor.value(cursor.scalar("I"))
        metadata[f"{key}.length" if isinstance(value, _Long) else key] = value
    listed: dict[str, TensorInfo] = {}
    for _ in range(tensor_count):
        name = cursor.string()
        dimensions = cursor.scalar("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS or name in listed:
            raise ValueError(f"its header describes the tensor {name[:40]!r} wrongly")
        sizes = [cursor.scalar("Q") for _ in range(dimensions)]
        kind, offset = cursor.scalar("I"), cursor.scalar("Q")
        listed[name] = TensorInfo(tuple(reversed(sizes)), kind, offset)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"its alignment is {alignment!r}")
    start = math.ceil(cursor.place / alignment) * alignment
    tensors = {
        name: TensorInfo(info.shape, info.kind, start + info.offset)
        for name, info in listed.items()
    }
    return Header(metadata, tensors)
