"""Values of every kind in every place of a configuration: refused, or computed with."""

from __future__ import annotations

import json
import resource
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import mutations
import pytest
from forked import ForkedScript

pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parents[2]
MEMORY = 256 << 20  # beyond what the process has when it starts

HF = ["gpt2", "bert", "llama3-rope", "mistral-window", "qwen3", "t5-gated"]
GGUF = ["gpt2", "bert", "llama", "qwen3"]
VALUES = (
    *(None, True, False, "", "4", [], [4], {}, {"a": 1}),
    *(0, -1, 3, 2**31, 2**63, 10**30, 10**400, 0.5, 1e308),
    *(float("nan"), float("inf")),
)


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _array(kind: int, items: list[bytes]) -> tuple[int, bytes]:
    return 9, struct.pack("<IQ", kind, len(items)) + b"".join(items)


GGUF_VALUES = (
    *((4, struct.pack("<I", number)) for number in (0, 3, 2**32 - 1)),
    *((10, struct.pack("<Q", number)) for number in (2**62, 2**64 - 1)),
    *((6, struct.pack("<f", number)) for number in (float("nan"), float("inf"), 4.5)),
    *(
        (5, struct.pack("<i", -1)),
        (12, struct.pack("<d", 1e308)),
        (7, b"\1"),
        (7, b"\0"),
    ),
    *((8, _text(text)) for text in (b"", b"llama", b"x" * 500, b"\0\n")),
    *(_array(4, [struct.pack("<I", 4)] * length) for length in (0, 1, 100)),
    _array(8, [_text(b"abc")]),
)


def hf_lies(path: Path) -> Iterator[str]:
    """Write one wrong value after the other into a ``config.json``."""
    good = path.read_text()
    content = json.loads(good)
    places = [(key,) for key in content]
    places += [
        (key, inner)
        for key, value in content.items()
        if isinstance(value, dict)
        for inner in value
    ]
    for place in places:
        for value in VALUES:
            lie = json.loads(good)
            target = lie
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = value
            path.write_text(json.dumps(lie))
            yield f"{place}: {json.dumps(value)[:40]}"
    path.write_text(good)


def gguf_lies(path: Path) -> Iterator[str]:
    """Write one wrong value after the other into the header of a gguf file."""
    good = mutations.Gguf(path.read_bytes())
    for index, pair in enumerate(good.pairs):
        for kind, value in GGUF_VALUES:
            lie = good.lie(lambda f, i=index, k=kind, v=value: f.pairs[i].update(
                kind=k, value=v))  # fmt: skip
            path.write_bytes(lie)
            yield f"{pair['key']!r}: {kind} {value[:40]!r}"
    path.write_bytes(good.bytes())


def run(folder: Path) -> dict:
    """Open every lie, build and fill what opens, and say what must not happen."""
    import tiny
    import torch

    from lbbt_mm.language import CheckpointError, LanguageModel, open_checkpoint

    kinds = [("folder", name, hf_lies, "config.json") for name in HF]
    kinds += [("gguf", name, gguf_lies, "model.gguf") for name in GGUF]
    sources = {
        (kind, name): tiny.save(tiny.build(name), folder / kind / name, kind)
        for kind, name, _, _ in kinds
    }
    used = int(Path("/proc/self/statm").read_text().split()[0])
    limit = used * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    tally: dict = {"opened": 0, "refused": 0, "wrong": []}
    computed = set()  # most lies are in keys that nobody reads
    for kind, name, lies, file in kinds:
        for label in lies(folder / kind / name / file):
            try:
                checkpoint = open_checkpoint(sources[kind, name])
                tally["opened"] += 1
                if (known := (kind, name, repr(checkpoint.config))) in computed:
                    continue
                computed.add(known)
                model = LanguageModel(checkpoint.config).eval()
                model.load(checkpoint)
                with torch.no_grad():
                    model(torch.ones(1, 3, 32))
            except CheckpointError as error:
                tally["refused"] += 1
                if not str(error).isprintable() or len(str(error)) > 1200:
                    tally["wrong"].append((kind, name, label, str(error)[:300]))
            except BaseException as error:
                tally["wrong"].append((kind, name, label, repr(error)[:300]))
    return tally


def test_a_lying_configuration_is_refused_or_computed_with(tmp_path: Path) -> None:
    done = ForkedScript([__file__, tmp_path], tmp_path)
    said, _ = done.communicate()
    assert done.returncode == 0, said
    result = json.loads(said.splitlines()[-1])
    assert result["wrong"] == []
    assert result["refused"] > 800  # most keys are of no interest to us
    assert result["opened"] > 800


RECORD = dict(
    family="gpt2", num_layers=3, width=32, num_heads=4, num_kv_heads=4, head_dim=8,
    ffn_width=128, vocab_size=96, max_positions=64, norm="layernorm", norm_eps=1e-5,
    pre_norm=True, activation="gelu_tanh", gated=False, attention="causal",
    position="table", qkv_bias=True, out_bias=True, ffn_bias=True,
)  # fmt: skip


@pytest.mark.parametrize("key", [*RECORD, "rope_scaling", "sliding_window", "qk_norm"])
def test_a_record_that_lies(key: str) -> None:
    from lbbt_mm.language import CheckpointError
    from lbbt_mm.language.config import LanguageConfig

    for value in VALUES:
        try:
            LanguageConfig.from_dict({**RECORD, key: value})
        except CheckpointError as error:
            assert str(error).isprintable() and len(str(error)) < 1200


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
