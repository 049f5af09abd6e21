"""The header of a gguf file (llama.cpp's format, versions 2 and 3), checked.

The ``gguf`` package reads headers too, but makes Python objects of every token of the
vocabulary: three seconds for 49 000 tokens, longer than everything else together. It
also trusts the sizes that a header states. Dequantisation is the package's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

_STRING, _ARRAY = 8, 9
_SCALARS = {**dict(enumerate("BbHhIif?")), 10: "Q", 11: "q", 12: "d"}
_MAX_DIMENSIONS = 4
# Longer arrays are vocabularies and merges, which nobody asks for.
_LONGEST_ARRAY = 64
_PAST_THE_END = "its header runs past the end of the file"


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
        start: First byte of the tensors' data.
        alignment: Every tensor begins at a multiple of it, in bytes.
    """

    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    start: int
    alignment: int


class _Cursor:
    """A place in the file; every read is checked against its end."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer
        self.place = 0

    def scalar(self, code: str) -> Any:
        layout, start = struct.Struct("<" + code), self.place
        self.skip(layout.size)
        return layout.unpack_from(self.buffer, start)[0]

    def skip(self, size: int) -> None:
        if size > len(self.buffer) - self.place:
            raise ValueError(_PAST_THE_END)
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
        if item not in _SCALARS and item != _STRING:
            # Nor does llama.cpp read arrays of arrays.
            raise ValueError(f"its header has an array of the unknown type {item}")
        if length <= _LONGEST_ARRAY:
            return [self.value(item) for _ in range(length)]
        if item in _SCALARS:
            self.skip(length * struct.calcsize("<" + _SCALARS[item]))
            return _Long(length)
        self.skip_strings(length)
        return _Long(length)

    def skip_strings(self, count: int) -> None:
        """Pass over strings; a vocabulary has 49 000, so this loop is kept short."""
        size_of = struct.Struct("<Q").unpack_from
        buffer, place, last = self.buffer, self.place, len(self.buffer) - 8
        if count > len(buffer) // 8:  # each has its length before it
            raise ValueError(_PAST_THE_END)
        for _ in range(count):
            if place > last:
                raise ValueError(_PAST_THE_END)
            place += 8 + size_of(buffer, place)[0]
        self.place = place
        self.skip(0)


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
        key = f"{key}.length" if isinstance(value, _Long) else key
        if key in metadata:
            raise ValueError(f"its header says {key[:40]!r} twice")
        metadata[key] = value
    listed: dict[str, TensorInfo] = {}
    for _ in range(tensor_count):
        name = cursor.string()
        dimensions = cursor.scalar("I")
        if name in listed:
            raise ValueError(f"its header lists the tensor {name[:40]!r} twice")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise ValueError(
                f"the tensor {name[:40]!r} has {dimensions} dimensions, not 1 to "
                f"{_MAX_DIMENSIONS}"
            )
        sizes = [cursor.scalar("Q") for _ in range(dimensions)]
        if not all(sizes):
            raise ValueError(f"the tensor {name[:40]!r} is empty")
        kind, offset = cursor.scalar("I"), cursor.scalar("Q")
        listed[name] = TensorInfo(tuple(reversed(sizes)), kind, offset)
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"its alignment is {alignment!r}, not a power of two")
    start = -(-cursor.place // alignment) * alignment
    tensors = {
        name: TensorInfo(info.shape, info.kind, start + info.offset)
        for name, info in listed.items()
    }
    return Header(metadata, tensors, start, alignment)
