"""Bad input to the language room: what the message says; nothing is touched."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import gguf
import mutations
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from lbbt_mm.language import CheckpointError, open_checkpoint, storage
from lbbt_mm.language.record import encode_record
from lbbt_mm.language.storage import load_pickle


def refused(language_model: str, *words: str) -> None:
    """The model is refused in one line with these words, and its folder left alone."""
    path = Path(language_model)
    folder = path if path.is_dir() else path.parent

    def content() -> dict:
        return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    before = content() if path.exists() else {}
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(language_model).block(0)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert message.isprintable() and len(message) < 2100
    assert (content() if path.exists() else {}) == before


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models as transformers and llama.cpp store them; copied, never changed."""
    root = tmp_path_factory.mktemp("models")
    llama = tiny.build("llama")
    tiny.save(tiny.build("gpt2"), root / "gpt2", "folder")
    tiny.save(llama, root / "llama", "folder")
    tiny.save(llama, root / "shards", "shards")
    tiny.save(llama, root / "gguf", "gguf")
    return root


@pytest.fixture
def models(originals: Path, tmp_path: Path) -> Path:
    """Copies that a test may damage."""
    return Path(shutil.copytree(originals, tmp_path / "models"))


def edit(path: Path, **changes: object) -> str:
    """Change a JSON file; ``None`` as a string removes a key. Returns its folder."""
    content = {**json.loads(path.read_text()), **changes}
    content = {key: value for key, value in content.items() if value != "None"}
    path.write_text(json.dumps(content))
    return str(path.parent)


# ------------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("gpt2", dict(n_head="4"), ["num_heads='4'", "positive whole"]),
        ("gpt2", dict(n_head=0), ["num_heads=0"]),
        ("gpt2", dict(n_head=True), ["num_heads=True"]),
        ("gpt2", dict(n_head="None"), ["lacks 'n_head'", "config.json"]),
        ("gpt2", dict(n_head=5), ["width 32", "5 heads do not divide"]),
        ("gpt2", dict(n_embd=32.0), ["width=32.0"]),
        ("gpt2", dict(n_layer=10**12), ["blocks 0 to 999999999999", "found 3 blocks"]),
        ("gpt2", dict(n_embd=2**40), ["block 0", str(2**40), "got [32]"]),
        ("gpt2", dict(n_inner=-1), ["ffn_width=-1"]),
        ("gpt2", dict(layer_norm_epsilon="small"), ["norm_eps='small'", "above 0"]),
        ("gpt2", dict(layer_norm_epsilon=float("nan")), ["norm_eps=nan"]),
        ("gpt2", dict(resid_pdrop=1.5), ["residual_drop=1.5", "0 to below 1"]),
        ("gpt2", dict(activation_function=["gelu"]), ["of another kind"]),
        ("gpt2", dict(model_type="mamba"), ["'mamba'", "supported families: gpt2"]),
        ("gpt2", dict(model_type=["gpt2"]), ["['gpt2']", "supported families"]),
        ("gpt2", dict(model_type="bert"), ["lacks", "bert model needs"]),
        ("llama", dict(num_key_value_heads=3), ["4 query heads, which 3 key-value"]),
        ("llama", dict(num_key_value_heads=4), ["k_proj.weight", "(16, 32)"]),
        ("llama", dict(num_attention_heads=2), ["q_proj.weight", "(16, 32)"]),
        ("llama", dict(head_dim=7), ["head_dim=7", "even"]),
        ("llama", dict(hidden_size=64), ["q_proj.weight", "(32, 64)", "(32, 32)"]),
        ("llama", dict(intermediate_size=64), ["expected [64, 32], got [48, 32]"]),
        ("llama", dict(rope_theta="1e4x"), ["rope_theta='1e4x'"]),
        ("gpt2", dict(n_positions=2**31), ["2147483648 positions"]),
        ("gpt2", dict(n_positions=63), ["wpe.weight of shape [63, 32]", "[64, 32]"]),
        ("gpt2", dict(vocab_size=97), ["wte.weight of shape [97, 32]", "[96, 32]"]),
        ("gpt2", dict(n_inner=0), ["ffn_width=0"]),
        ("gpt2", dict(layer_norm_epsilon=10**40), ["norm_eps=1000", "above 0"]),
        ("llama", dict(vocab_size=2**40), ["embed_tokens.weight of shape"]),
        ("llama", dict(attention_bias="no"), ["qkv_bias='no'", "True, False"]),
        ("llama", dict(head_dim=0), ["head_dim=0"]),
        ("llama", dict(num_key_value_heads=False), ["num_kv_heads=False"]),
        ("llama", dict(rope_theta=True), ["rope_theta=True"]),
        ("llama", dict(rope_theta=float("inf")), ["rope_theta=inf"]),
        ("llama", dict(rope_scaling="linear"), ["of another kind"]),
        ("llama", dict(rope_scaling=dict(rope_type="linear")), ["lacks 'factor'"]),
        (
            "llama",
            dict(rope_scaling=dict(rope_type="linear", factor=-2)),
            ["factor=-2", "above 0"],
        ),
        ("llama", dict(rope_scaling=dict(rope_type="ntk")), ["'ntk'", "llama3"]),
        ("llama", dict(rope_scaling=dict(rope_type="yarn")), ["'factor'"]),
        ("llama", dict(rope_scaling=dict(rope_type="longrope")), ["'short_factor'"]),
        ("llama", dict(model_type="mistral", sliding_window=0), ["sliding_window=0"]),
    ],
)
def test_a_config_that_does_not_fit(models, family, changes, words) -> None:
    refused(edit(models / family / "config.json", **changes), *words)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"n_head": NaN'])
def test_a_config_that_is_none(models: Path, text: str) -> None:
    (models / "gpt2" / "config.json").write_text(text)
    refused(str(models / "gpt2"), "config.json", "etch it again")


# -------------------------------------------------------------------------- weights


def reweigh(folder: Path, change) -> str:
    """Save a folder's tensors again after ``change(tensors)``."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return str(folder)


def test_heads_that_only_add_up_are_refused(models: Path) -> None:
    def exchange(tensors: dict) -> None:
        for part in ("q_proj", "k_proj"):
            rows = 32 if part == "k_proj" else 16
            tensors[f"layers.1.self_attn.{part}.weight"] = torch.ones(rows, 32)

    refused(
        reweigh(models / "llama", exchange),
        "block 1",
        "(32, 32), (16, 32), (16, 32)",
        "found [(16, 32), (32, 32), (16, 32)]",
    )


@pytest.mark.parametrize("part", ["q_proj", "o_proj"])
def test_whole_numbers_are_no_weights(models: Path, part: str) -> None:
    name = f"layers.0.self_attn.{part}.weight"
    folder = reweigh(
        models / "llama", lambda t: t.update({name: torch.ones(32, 32).int()})
    )
    refused(folder, name, "torch.int32", "unquantised")


def test_names_in_a_message_cannot_break_it(models: Path) -> None:
    evil = {"a\nb\x1b[2J": torch.ones(1), "c" * 9000: torch.ones(1)}
    refused(
        reweigh(models / "llama", lambda t: t.update(evil)), "a\\nb\\x1b[2J", " ... "
    )


def test_embedding_of_another_width(models: Path) -> None:
    folder = reweigh(
        models / "gpt2", lambda t: t.update({"wte.weight": torch.ones(96, 16)})
    )
    with pytest.raises(
        CheckpointError, match=r"wte.weight of shape \[96, 32\].*\[96, 16\]"
    ):
        open_checkpoint(folder).embedding_rows(0, 4)


# --------------------------------------------------------------------------- shards


def test_index_that_names_a_missing_tensor(models: Path) -> None:
    index = models / "shards" / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    first = next(iter(weight_map.values()))
    edit(index, weight_map={**weight_map, "layers.9.mlp.up_proj.weight": first})
    refused(str(models / "shards"), "index.json", "layers.9.mlp.up_proj.weight")


@pytest.mark.parametrize("weight_map", [{}, {"a": 1}, {"a": ["b"]}, ["a"], None, "a"])
def test_index_that_is_none(models: Path, weight_map: object) -> None:
    index = models / "shards" / "model.safetensors.index.json"
    edit(index, weight_map=weight_map)
    refused(str(models / "shards"), str(index), "not a list of shards")


def test_truncated_shard_is_named(models: Path) -> None:
    shard = sorted((models / "shards").glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    refused(str(models / "shards"), str(shard), "cannot be read", "truncated")


def test_a_tensor_in_two_shards(models: Path) -> None:
    first, second, *_ = sorted((models / "shards").glob("*.safetensors"))
    name, tensor = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: tensor}, second)
    refused(str(models / "shards"), second.name, first.name, f"holds {name} too")


def test_shards_of_the_old_format(models: Path) -> None:
    folder = models / "llama"
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"1.bin": names[:9], "2.bin": names[8:]}
    for file, part in halves.items():
        torch.save({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps(dict(weight_map=weight_map)))
    refused(str(folder), "2.bin", names[8], "another shard")
    torch.save({name: tensors[name] for name in names[9:]}, folder / "2.bin")
    assert open_checkpoint(str(folder)).config.num_layers == 3
    edit(index, weight_map={**weight_map, "model.more": "1.bin"})
    refused(str(folder), "model.more", "Fetch index and shards again")
    (folder / "2.bin").unlink()
    refused(str(folder), "2.bin", "missing", "Copy them there")


# -------------------------------------------------------------------------- pickles


@pytest.mark.parametrize(
    "content",
    [[torch.ones(1)], {0: torch.ones(1)}, {"state_dict": [1]}, torch.ones(1), "text"],
)
def test_a_pickle_that_is_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    refused(str(tmp_path / "x.pth"), "x.pth holds a", "expected a state dict")


def test_a_pickle_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file .*x\.pth; expected"):
        load_pickle(tmp_path / "x.pth")


@pytest.mark.parametrize("record", [dict(), dict(config=1), dict(config=dict(a=1))])
def test_a_checkpoint_of_ours_with_a_damaged_record(tmp_path, record) -> None:
    torch.save({"x._extra_state": encode_record(record)}, tmp_path / "x.pth")
    refused(str(tmp_path / "x.pth"), "configuration does not fit this version")


def test_memory_that_runs_out_is_not_called_damage(tmp_path, monkeypatch) -> None:
    def full(*args, **kwargs):
        raise MemoryError

    torch.save({}, tmp_path / "x.pth")
    monkeypatch.setattr(storage.torch, "load", full)
    with pytest.raises(MemoryError):
        load_pickle(tmp_path / "x.pth")


# ------------------------------------------------------------------- gguf, and a hub


@pytest.fixture
def described(models: Path) -> mutations.Gguf:
    return mutations.Gguf((models / "gguf" / "model.gguf").read_bytes())


def value_of(described: mutations.Gguf, key: str) -> dict:
    return next(p for p in described.pairs if p["key"] == key.encode())


@pytest.mark.parametrize(
    ("key", "kind", "value", "words"),
    [
        ("llama.attention.head_count", 4, 0, ["num_heads=0"]),
        ("llama.attention.head_count", 6, 4.0, ["num_heads=4.0"]),
        ("llama.attention.head_count", 4, 2, ["attn_q.weight", "(16, 32)"]),
        ("llama.block_count", 4, 2**32 - 1, ["blocks 0 to 4294967294"]),
        ("llama.embedding_length", 4, 2**31, [f"(32, {2**31})"]),
        ("llama.attention.layer_norm_rms_epsilon", 6, -1.0, ["norm_eps=-1.0"]),
    ],
)
def test_gguf_metadata_that_does_not_fit(
    models, described, key, kind, value, words
) -> None:
    path = models / "gguf" / "model.gguf"
    packed = struct.pack("<f" if kind == 6 else "<I", value)
    value_of(described, key).update(kind=kind, value=packed)
    path.write_bytes(described.bytes())
    refused(str(path), *words)


def test_gguf_of_another_architecture_or_without_a_key(models, described) -> None:
    path = models / "gguf" / "model.gguf"
    lost = value_of(described, "llama.block_count")
    name = b"llama.something"
    path.write_bytes(described.lie(lambda f: value_of(f, "llama.block_count").update(
        key=name, size=len(name))))  # fmt: skip
    refused(str(path), "lacks llama.block_count", "current llama.cpp")
    assert lost in described.pairs
    other = mutations._packed(5, b"rwkv7")
    value_of(described, "general.architecture").update(value=other)
    path.write_bytes(described.bytes())
    refused(str(path), "'rwkv7'", "supported families: gpt2")


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (dict(kind=99), ["type 99", "newer"]),
        (dict(kind=26), ["I32"]),
        (dict(offset=0), ["starts at byte", "before it ends at"]),
        (dict(offset=2**40), ["starts at byte"]),
        (dict(sizes=[33, 32]), ["starts at byte"]),
        (dict(sizes=[0, 32]), ["is empty"]),
        (dict(dimensions=9), ["9 dimensions"]),
        (dict(kind=2, sizes=[33, 32]), ["33 numbers", "multiple of 32"]),
    ],
)
def test_gguf_tensor_that_lies(models, described, lie, words) -> None:
    path = models / "gguf" / "model.gguf"
    name = b"blk.0.attn_q.weight"
    next(i for i in described.infos if i["name"] == name).update(lie)
    path.write_bytes(described.bytes())
    refused(str(path), str(path), "cannot be read as a gguf file", *words)


def test_quantised_gguf_rows_are_checked_and_read(tmp_path, models) -> None:
    """The lies above are about plain numbers; here a row is blocks of 32."""
    weights = np.random.default_rng(0).normal(size=(96, 32)).astype(np.float32)
    packed = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
    assert packed.shape == (96, 34)
    source = models / "gguf" / "model.gguf"
    described = mutations.Gguf(source.read_bytes())
    info = described.infos[0]
    assert info["name"] == b"token_embd.weight" and info["offset"] == 0
    old, new = 96 * 32 * 4, 96 * 34
    described.payload = packed.tobytes() + bytes(-new % 32) + described.payload[old:]
    info["kind"] = 8
    for other in described.infos[1:]:
        other["offset"] -= old - (new + -new % 32)
    source.write_bytes(described.bytes())
    rows = open_checkpoint(str(source)).embedding_rows(2, 4)
    torch.testing.assert_close(rows, torch.from_numpy(weights[2:4]), atol=0.02, rtol=0)
    info["kind"] = 2  # blocks of 18 bytes, not 34
    source.write_bytes(described.bytes())
    refused(str(source), "before it ends at")


def test_hub_repository_without_weights_we_read(monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub

    snapshot = tmp_path / "models--me--flax" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = tmp_path / "models--me--flax" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")

    def lacks(*args, **kwargs):
        raise huggingface_hub.errors.EntryNotFoundError("not in the repository")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lacks)
    refused("me/flax", "'me/flax' holds a config.json but neither model.safetensors")
