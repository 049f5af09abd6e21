"""A backbone's blocks back in their language model: what transformers loads then."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from lbbt_mm.export import hugging_face
from lbbt_mm.export.__main__ import main
from lbbt_mm.language.gguf_config import config_from_hf
from lbbt_mm.language.whole import config_to_hf
from lbbt_mm.models import LanguageBackbone

sys.path.insert(0, str(Path(__file__).parents[1] / "language"))
import tiny  # noqa: E402

HEADS = {
    "bert": hf.BertForMaskedLM,
    "roberta": hf.RobertaForMaskedLM,
    "xlm-roberta": hf.XLMRobertaForMaskedLM,
    "camembert": hf.CamembertForMaskedLM,
    "data2vec-text": hf.Data2VecTextForMaskedLM,
    "distilbert": hf.DistilBertForMaskedLM,
    "electra": hf.ElectraForMaskedLM,
    "electra-wide": hf.ElectraForPreTraining,
    "mt5": hf.MT5ForConditionalGeneration,
    "t5": hf.T5EncoderModel,
    "t5-gated": hf.T5ForConditionalGeneration,
}
FORMATS = [(name, "folder") for name in tiny.CONFIGS]
FORMATS += [(n, "gguf") for n in ("gpt2", "bert", "llama", "mistral", "qwen2", "qwen3")]
FORMATS += [("gpt2", "bin"), ("llama", "shards")]


def saved(name: str, storage: str, folder: Path) -> tuple[torch.nn.Module, str]:
    """Write a random model with a head, and return it with its place."""
    if storage == "gguf":  # its writer takes what has no head
        base = tiny.build(name)
        return base, tiny.save(base, folder, storage)
    torch.manual_seed(0)
    config = copy.deepcopy(tiny.CONFIGS[name])
    kind = HEADS.get(name)
    model = kind(config) if kind else hf.AutoModelForCausalLM.from_config(config)
    return model.eval(), tiny.save(model, folder, storage)


def bridge(source: str, file: Path, change: float = 0.0, **options: object) -> Path:
    """Write a checkpoint whose backbone comes from a language model."""
    sizes = dict(img_size=8, patch_size=4)
    backbone = LanguageBackbone(source, **{**sizes, **options})
    backbone.init_weights()
    with torch.no_grad():
        for parameter in backbone.language.parameters():
            parameter.add_(change)
    state = {f"backbone.{n}": t for n, t in backbone.state_dict().items()}
    torch.save(dict(state_dict=state), file)
    return file


def export(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["export", *map(str, words)])
    main()


def scores(model: torch.nn.Module) -> torch.Tensor:
    words = torch.arange(2 * 9).view(2, 9) * 5 % tiny.VOCAB
    also = dict(decoder_input_ids=words) if model.config.is_encoder_decoder else {}
    if isinstance(model, hf.T5EncoderModel):
        also = {}
    with torch.no_grad():
        return model(input_ids=words, **also)[0]


@pytest.mark.parametrize(("name", "storage"), FORMATS)
def test_an_unbridged_backbone_is_the_language_model(
    name: str, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = saved(name, storage, tmp_path / "source")
    checkpoint = bridge(source, tmp_path / "a.pth")
    export(monkeypatch, checkpoint, tmp_path / "out")
    kind = type(model) if storage != "gguf" else hf.AutoModel
    found, info = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert {n.split(".")[0] for n in info["missing_keys"]} <= {"pooler"}  # BERT's gguf
    assert not info["mismatched_keys"]
    if storage != "gguf":
        assert_close(found.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert_close(scores(found.eval()), scores(model))  # of memory in other places


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("gpt2", "transformer.h.1."),
        ("qwen3", "model.layers.1."),
        ("bert", "bert.encoder.layer.1."),
        ("t5-gated", "encoder.block.1."),
    ],
)
def test_only_the_bridged_blocks_are_replaced(
    name: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = saved(name, "folder", tmp_path / "source")
    file = bridge(source, tmp_path / "a.pth", 0.5, num_layers=1, first_block=1)
    export(monkeypatch, file, tmp_path / "out")
    found = load_file(tmp_path / "out/model.safetensors")
    stored = load_file(tmp_path / "source/model.safetensors")
    assert found.keys() == stored.keys()
    for key, tensor in found.items():
        expected = stored[key] + 0.5 * key.startswith(block)
        assert_close(tensor, expected, rtol=0, atol=0, msg=key)
    type(model).from_pretrained(tmp_path / "out")


def test_a_bridge_of_a_bridge_with_lora_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    model, source = saved("gpt2", "folder", tmp_path / "source")
    first = bridge(source, tmp_path / "a.pth", 0.5, num_layers=2, first_block=1)
    options = dict(num_layers=1, first_block=1, attention="bidirectional")
    options |= dict(trainable_layers="patch_embed", lora=dict(r=2))
    backbone = LanguageBackbone(str(first), img_size=8, patch_size=4, **options)
    backbone.init_weights()
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(parameter)
    state = {f"backbone.{n}": t for n, t in backbone.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / "b.pth")
    monkeypatch.setattr(hugging_face, "SHARD", 20_000)
    out = tmp_path / "out"
    export(monkeypatch, tmp_path / "b.pth", out, "--dtype", "bfloat16")
    said = capsys.readouterr().out
    assert "1 of its 3 blocks" in said and "no tokeniser" in said
    assert "trained with bidirectional attention" in said
    found = hf.AutoModelForCausalLM.from_pretrained(out, torch_dtype="auto")
    assert found.dtype is torch.bfloat16 and len(list(out.glob("*.safetensors"))) > 1
    layer = backbone.language.blocks[0].qkv
    change = layer.get_delta_weight("default") + layer.base_layer.weight
    expected = change.t().bfloat16()
    assert_close(found.transformer.h[2].attn.c_attn.weight, expected, rtol=0, atol=0)
    kept = model.transformer.h[1].attn.c_attn.weight.bfloat16()
    assert_close(found.transformer.h[1].attn.c_attn.weight, kept, rtol=0, atol=0)


def test_what_does_not_go_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    _, source = saved("gpt2", "folder", tmp_path / "source")
    wide = hf.GPT2Config(n_embd=48, n_layer=3, n_head=4, n_positions=64, vocab_size=96)
    hf.GPT2LMHeadModel(wide).save_pretrained(tmp_path / "wide")
    file = bridge(source, tmp_path / "a.pth")
    scratch = bridge(source, tmp_path / "b.pth", pretrained=False)
    torch.save({"a": torch.zeros(2)}, tmp_path / "c.pth")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")

    def refused(*words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            export(monkeypatch, *words)
        assert ended.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "--overwrite" in refused(file, tmp_path / "full")
    assert "holds no LanguageBackbone" in refused(tmp_path / "c.pth", tmp_path / "o")
    assert "no file" in refused(tmp_path / "none.pth", tmp_path / "o")
    assert "started from scratch" in refused(scratch, tmp_path / "o")
    other = ("--language-model", tmp_path / "wide")
    assert "width: 32 != 48" in refused(file, tmp_path / "o", *other)
    assert "without words" in refused(file, tmp_path / "o", "--language-model", file)
    state = load_file(tmp_path / "source/model.safetensors")
    state["transformer.h.0.ln_1.bias"] += 1
    save_file(state, tmp_path / "source/model.safetensors", {"format": "pt"})
    assert "other weights" in refused(file, tmp_path / "o")
    same = ("--language-model", source)
    export(monkeypatch, file, tmp_path / "full", "--overwrite", *same)
    assert (tmp_path / "full" / "note").exists()
    before = (tmp_path / "source/model.safetensors").read_bytes()
    said = refused(file, tmp_path / "source", "--overwrite", *same)
    assert "holds the language model itself" in said
    assert (tmp_path / "source/model.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama-biased", "llama3-rope"])
def test_a_written_architecture_is_read_back(name: str) -> None:
    config = config_from_hf(tiny.CONFIGS[name].to_dict(), name)
    assert config_from_hf(config_to_hf(config), name) == config
