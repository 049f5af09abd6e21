"""Damaged safetensors and gguf files: lies that must be found, and random damage."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable, Iterator

HUGE = (2**31, 2**40, 2**62, 2**63, 2**64 - 1)
# More than four times what any field of a tiny file holds, and odd.
MORE = (1, 7, 97, 9973)

Mutant = tuple[str, bytes]


def random_damage(data: bytes, header: int, rng: random.Random) -> Iterator[Mutant]:
    """Yield files with flipped, cut, inserted and swapped bytes in the header."""
    while True:
        mutant = bytearray(data)
        done = []
        for _ in range(rng.choice((1, 1, 2, 5))):
            place = rng.randrange(header)
            size = rng.choice((1, 4, 8, 100))
            kind = rng.choice(("flip", "cut", "insert", "delete", "number", "swap"))
            if kind == "flip":
                mutant[place] ^= 1 << rng.randrange(8)
            elif kind == "cut":
                del mutant[rng.randrange(header, len(mutant)) :]
            elif kind == "insert":
                mutant[place:place] = rng.randbytes(size)
            elif kind == "delete":
                del mutant[place : place + size]
            elif kind == "number":
                mutant[place : place + 8] = struct.pack("<Q", rng.choice(HUGE))
            else:
                other = rng.randrange(header)
                mine, yours = mutant[place:][:size], mutant[other:][:size]
                mutant[other : other + size] = mine
                mutant[place : place + size] = yours
            done.append(f"{kind} at {place}")
            if len(mutant) <= header:
                break
        yield ", ".join(done), bytes(mutant)


# --------------------------------------------------------------------- safetensors


def safetensors_header(data: bytes) -> int:
    """Return where the tensors begin."""
    return 8 + struct.unpack("<Q", data[:8])[0]


def safetensors_lies(data: bytes, rng: random.Random) -> Iterator[Mutant]:
    """Yield files whose header contradicts itself, the file's size or the model."""
    start = safetensors_header(data)
    header, payload = json.loads(data[8:start]), data[start:]
    names = sorted(set(header) - {"__metadata__"})

    def file(content: dict | bytes, size: int | None = None) -> bytes:
        if isinstance(content, dict):
            content = json.dumps(content).encode()
        size = len(content) if size is None else size
        return struct.pack("<Q", size) + content + payload

    def edited(name: str, key: str, value: object) -> bytes:
        return file({**header, name: {**header[name], key: value}})

    for size in (0, 1, start // 2, start - 9, start - 7, len(data), *HUGE):
        yield f"a header of {size} bytes", file(data[8:start], size)
    for size in (0, 4, 8, start - 1, start, start + 1, len(data) - 1):
        yield f"cut to {size}", data[:size]
    yield "bytes behind the last tensor", data + bytes(8)
    for name in names:
        begin, end = header[name]["data_offsets"]
        shape = header[name]["shape"]
        twice = json.dumps({name: header[name]})[1:-1].encode()
        yield f"{name} twice", file(b"{" + twice + b", " + data[9:start])
        rest = {key: value for key, value in header.items() if key != name}
        yield f"{name} gone", file(rest)
        yield f"{name} renamed", file({**rest, f"{name}x": header[name]})
        for more in (rng.choice(MORE), -rng.choice(MORE), rng.choice(HUGE)):
            yield (
                f"{name} ends later",
                edited(name, "data_offsets", [begin, end + more]),
            )
            yield (
                f"{name} moved",
                edited(name, "data_offsets", [begin + more, end + more]),
            )
            axis = rng.randrange(len(shape))
            sizes = [*shape[:axis], shape[axis] + more, *shape[axis + 1 :]]
            yield f"{name} of shape {sizes}", edited(name, "shape", sizes)
        yield f"{name} turned", edited(name, "data_offsets", [end, begin])
        yield f"{name} flat", edited(name, "shape", [1, *shape])
        kind = rng.choice(["F64", "F16", "U8", "I32", "F99", "", None, 4])
        yield f"{name} of type {kind}", edited(name, "dtype", kind)
        key = rng.choice(["dtype", "shape", "data_offsets"])
        lost = {k: v for k, v in header[name].items() if k != key}
        yield f"{name} without {key}", file({**header, name: lost})


# ---------------------------------------------------------------------------- gguf


class Gguf:
    """A gguf file taken apart, to be written again with a lie in it."""

    def __init__(self, data: bytes) -> None:
        self.magic, self.version, self.tensors, self.values = struct.unpack(
            "<4sIQQ", data[:24]
        )
        self.place = 24
        self.pairs = [self._pair(data) for _ in range(self.values)]
        self.infos = [self._info(data) for _ in range(self.tensors)]
        self.payload = data[-(-self.place // 32) * 32 :]

    def _take(self, data: bytes, layout: str) -> list:
        values = struct.unpack_from("<" + layout, data, self.place)
        self.place += struct.calcsize("<" + layout)
        return list(values)

    def _text(self, data: bytes) -> list:
        (size,) = self._take(data, "Q")
        return [size, *self._take(data, f"{size}s")]

    def _pair(self, data: bytes) -> dict:
        """Scalars and strings are all that the tiny file holds."""
        size, key = self._text(data)
        (kind,) = self._take(data, "I")
        if kind == 8:
            length, text = self._text(data)
            return dict(size=size, key=key, kind=kind, value=_packed(length, text))
        width = {4: 4, 5: 4, 6: 4, 7: 1, 10: 8}[kind]
        return dict(
            size=size, key=key, kind=kind, value=self._take(data, f"{width}s")[0]
        )

    def _info(self, data: bytes) -> dict:
        size, name = self._text(data)
        (dimensions,) = self._take(data, "I")
        sizes = self._take(data, f"{dimensions}Q")
        kind, offset = self._take(data, "IQ")
        return dict(
            size=size, name=name, dimensions=dimensions, sizes=sizes, kind=kind,
            offset=offset,
        )  # fmt: skip

    def bytes(self) -> bytes:
        """Write the file."""
        head = struct.pack(
            "<4sIQQ", self.magic, self.version, self.tensors, self.values
        )
        for pair in self.pairs:
            head += _packed(pair["size"], pair["key"]) + struct.pack("<I", pair["kind"])
            head += pair["value"]
        for info in self.infos:
            head += _packed(info["size"], info["name"])
            head += struct.pack("<I", info["dimensions"])
            head += struct.pack(f"<{len(info['sizes'])}Q", *info["sizes"])
            head += struct.pack("<IQ", info["kind"], info["offset"])
        return head + bytes(-len(head) % 32) + self.payload

    def lie(self, change: Callable[[Gguf], object]) -> bytes:
        """Write the file after ``change``; this object stays as it is."""
        other = copy.deepcopy(self)
        change(other)
        return other.bytes()


def _packed(size: int, text: bytes) -> bytes:
    return struct.pack("<Q", size) + text


def gguf_pair(key: bytes, kind: int, value: bytes) -> dict:
    """Describe one value of the metadata."""
    return dict(size=len(key), key=key, kind=kind, value=value)


def gguf_header(data: bytes) -> int:
    """Return where the tensors begin."""
    return len(data) - len(Gguf(data).payload)


def gguf_lies(data: bytes, rng: random.Random) -> Iterator[Mutant]:
    """Yield files whose header contradicts itself, the file's size or the model."""
    good = Gguf(data)
    assert good.bytes() == data, "taken apart and put together, it is the same file"
    start = gguf_header(data)

    def with_pair(key: bytes, kind: int, value: bytes) -> bytes:
        return good.lie(
            lambda f: (
                f.pairs.append(gguf_pair(key, kind, value)),
                setattr(f, "values", f.values + 1),
            )
        )

    for name, values in (
        ("magic", (b"GGML", b"ggug", bytes(4))),
        ("version", (0, 1, 4, 2**32 - 1)),
        ("tensors", (0, good.tensors - 1, good.tensors + 1, *HUGE)),
        ("values", (0, good.values - 1, good.values + 1, *HUGE)),
    ):
        for value in values:
            yield (
                f"{name} {value!r}",
                good.lie(lambda f, n=name, v=value: setattr(f, n, v)),
            )
    for size in (0, 3, 4, 23, start - 1, start, start + 1, len(data) // 2):
        yield f"cut to {size}", data[:size]
    for alignment in (0, 3, 24, 2**31):
        value = struct.pack("<I", alignment)
        yield f"alignment {alignment}", with_pair(b"general.alignment", 4, value)
    for item, length in ((9, 1), (9, 100), (13, 3), (4, 2**62), (8, 2**40), (8, 5000)):
        value = struct.pack("<IQ", item, length)
        if item == 9:  # arrays of arrays, deep
            value *= 5000
        yield f"an array of {length} of type {item}", with_pair(b"x", 9, value)
    for index, pair in enumerate(good.pairs):
        for size in HUGE:
            yield (
                f"{pair['key']!r} of {size} characters",
                good.lie(lambda f, i=index, s=size: f.pairs[i].update(size=s)),
            )
        kind = rng.choice((13, 14, 255, 2**32 - 1))
        yield (
            f"{pair['key']!r} of type {kind}",
            good.lie(lambda f, i=index, k=kind: f.pairs[i].update(kind=k)),
        )
        yield (
            f"{pair['key']!r} twice",
            with_pair(**{name: pair[name] for name in ("key", "kind", "value")}),
        )
    for index, info in enumerate(good.infos):
        other = good.infos[index - 1]
        lies = [
            dict(name=other["name"], size=other["size"]),
            dict(name=bytes(info["size"])),
            dict(size=rng.choice(HUGE)),
            dict(dimensions=rng.choice((0, 5, 2**32 - 1))),
            dict(kind=rng.choice((4, 5, 26, 99, 2**32 - 1))),  # 26: whole numbers
            dict(offset=info["offset"] + rng.choice((1, 32, *HUGE[:-1]))),
            dict(offset=other["offset"]),
            dict(sizes=[*info["sizes"][:-1], 0]),
            dict(sizes=[info["sizes"][0] + rng.choice(MORE), *info["sizes"][1:]]),
            dict(sizes=[*info["sizes"][:-1], rng.choice(HUGE)]),
        ]
        if index + 1 < len(good.infos):  # nothing says where the last one must end
            lies.append(dict(kind=rng.choice((1, 2, 8, 28, 30))))
        for lie in lies:
            yield (
                f"{info['name']!r}: {lie}",
                good.lie(lambda f, i=index, change=lie: f.infos[i].update(change)),
            )
