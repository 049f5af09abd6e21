"""What a bridge did to the language: perplexity is transformers' own loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers as hf
from llava_tiny import tiny_tokenizer, write_chat_model

from lbbt_mm.analysis import text_loss
from lbbt_mm.language import CheckpointError
from lbbt_mm.measure.measurements import Settings
from lbbt_mm.measure.perplexity import perplexity_of, read_text
from lbbt_mm.models import LanguageBackbone

TEXT = "How many shirts are there? There are two, three, no. It is a red bag."


def measured(source: str, **options: object) -> SimpleNamespace:
    """A model as it is measured, as far as it is looked at."""
    backbone = LanguageBackbone(source, img_size=8, patch_size=4, **options)
    backbone.init_weights()
    return SimpleNamespace(backbone=backbone, checkpoint=None)


def expected(model: hf.PreTrainedModel, window: int) -> float:
    """The perplexity of windows of equal length, by transformers' own loss."""
    words = torch.tensor([tiny_tokenizer()(TEXT)["input_ids"]])
    losses = []
    for part in words.split(window, 1):
        with torch.no_grad():
            loss = model(input_ids=part, labels=part).loss if part.shape[1] > 1 else 0
        losses.append(loss * (part.shape[1] - 1))
    counts = sum(part.shape[1] - 1 for part in words.split(window, 1))
    return math.exp(sum(losses) / counts)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_before_and_after(kind: str, tmp_path: Path) -> None:
    source = write_chat_model(tmp_path / "lm", kind)
    (tmp_path / "text.txt").write_text(TEXT)
    model = measured(source, num_layers=1, first_block=1)
    whole = hf.AutoModelForCausalLM.from_pretrained(source).eval()
    before = expected(whole, 7)
    found = perplexity_of(model, str(tmp_path / "text.txt"), 7)
    assert found["perplexity"] == found["before"] == pytest.approx(before, rel=1e-4)
    with torch.no_grad():
        model.backbone.language.blocks[0].down.weight.mul_(-30)
        row = whole.transformer.h if kind == "gpt2" else whole.model.layers
        (row[1].mlp.c_proj if kind == "gpt2" else row[1].mlp.down_proj).weight.mul_(-30)
    changed = perplexity_of(model, str(tmp_path / "text.txt"), 7)
    assert changed["before"] == found["before"]
    assert changed["perplexity"] == pytest.approx(expected(whole, 7), rel=1e-4)
    assert changed["perplexity"] != pytest.approx(before, rel=1e-3)
    assert (changed["blocks"], changed["of"]) == (1, 2)
    nats = math.log(changed["perplexity"]) * (
        changed["words"] - len(range(0, changed["words"], 7))
    )
    assert changed["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(TEXT))
    plain = perplexity_of(source, str(tmp_path / "text.txt"), 7)
    assert plain["perplexity"] == found["before"] and plain["blocks"] == 0


def test_what_knows_no_words_is_refused(tmp_path: Path) -> None:
    source = write_chat_model(tmp_path / "lm", "gpt2")
    with pytest.raises(ValueError, match="these are from scratch"):
        perplexity_of(measured(source, pretrained=False), "", 7)
    bert = hf.BertConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, vocab_size=32, max_position_embeddings=8,
    )  # fmt: skip
    hf.BertModel(bert).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="Expected a causal language model"):
        perplexity_of(measured(str(tmp_path / "bert")), "", 7)
    hf.GPT2Model(
        hf.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9, n_positions=8)
    ).save_pretrained(tmp_path / "mute")
    with pytest.raises(CheckpointError, match="expected a tokeniser"):
        perplexity_of(str(tmp_path / "mute"), "", 7)
    with pytest.raises(ValueError, match="expected a text"):
        read_text(str(tmp_path / "none.txt"))


def test_a_result_is_of_one_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    one = Settings(text=str(tmp_path / "text.txt")).of("perplexity")
    assert one.keys() == {"seed", "window", "text"}
    (tmp_path / "text.txt").write_text(TEXT + " No.")
    assert Settings(text=str(tmp_path / "text.txt")).of("perplexity") != one
    assert len(read_text("")) > 3000


def test_loss_of_even_scores() -> None:
    def even(words: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, words.shape[1], 8)

    total, number = text_loss(even, torch.arange(7), window=3)
    assert number == 4 and total == pytest.approx(4 * math.log(8))
    with pytest.raises(ValueError, match="two words"):
        text_loss(even, torch.arange(1), window=3)
    with pytest.raises(ValueError, match="not finite"):
        text_loss(lambda words: even(words) / 0, torch.arange(4), window=3)


@pytest.mark.slow
def test_as_a_measurement_of_the_tool(
    tool: Callable, project, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from lbbt_mm.runs.measurement import MeasurementRecord

    source = write_chat_model(tmp_path / "lm", "gpt2")
    with project.config.open("a") as file:
        file.write(
            f"model['backbone'] = dict(type='lbbt_mm.LanguageBackbone', "
            f"language_model={source!r}, img_size=8, patch_size=4, out_type='avg')\n"
        )
    options = ("--only", "perplexity", "--work-dir", str(project.work_dir))
    tool("analyze.py", str(project.config), *options).main()
    (path,) = project.work_dir.rglob("perplexity.json")
    record = MeasurementRecord.read(path)
    assert record.error is None
    assert record.result["perplexity"] == record.result["before"]
    tool("analyze.py", str(project.config), *options).main()
    assert "there already" in capsys.readouterr().out
