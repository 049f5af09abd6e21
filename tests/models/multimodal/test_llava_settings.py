"""What a checkpoint of a LLaVA says about how it answers, and what loading compares."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from llava_tiny import (
    CHATML,
    build_llava,
    collate,
    mixed_samples,
    sample,
    tiny_tokenizer,
    write_chat_model,
)

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.record import decode_record, encode_record
from lbbt_mm.models.multimodal.llava_parts import RECORD
from lbbt_mm.models.multimodal.llava_settings import same_weights, sample_weights

LORA = dict(r=2, lora_alpha=4, target_modules=["q_proj"])
BRIDGE = dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=16)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(
        "lbbt_mm.models.multimodal.llava_parts.print_log",
        lambda text, *_, **__: texts.append(text),
    )
    return texts


def trained(language_model: str, **options: Any) -> dict[str, Any]:
    """State of a model that has learned from one batch."""
    model = build_llava(language_model, **options).train()
    model(**collate(model, *mixed_samples()), mode="loss")
    return copy.deepcopy(model.state_dict())


def ask(model: Any, **more: Any) -> list[str]:
    return model.answer(**collate(model, sample("What? <image>", images=1, **more)))


COMPUTED = {
    "alpha": (
        dict(train_language=LORA),
        dict(train_language=dict(LORA, lora_alpha=8)),
        r"lora_scaling 4\.0 != 2\.0",
    ),
    "root of the rank": (
        dict(train_language=LORA),
        dict(train_language=dict(LORA, use_rslora=True)),
        r"lora_scaling 2\.8\d+ != 2\.0",
    ),
    "alpha of one module": (
        dict(train_language=LORA),
        dict(train_language=dict(LORA, alpha_pattern={"layers.1.self_attn.q_proj": 9})),
        r"lora_scaling \{.*4\.5.* != 2\.0|lora_scaling \{.* != 2\.0",
    ),
    "temperature": (
        dict(projector=BRIDGE),
        dict(projector=dict(BRIDGE, temperature=0.1)),
        r"projector\.temperature 0\.1 != 1\.0",
    ),
    "weights of words": (
        dict(projector=BRIDGE),
        dict(projector=dict(BRIDGE, weights="linear")),
        "projector.weights 'linear' != 'softmax'",
    ),
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_another_function_of_the_same_tensors_is_refused(chat_model, kind) -> None:
    stored, built, words = COMPUTED[kind]
    state = trained(chat_model, **stored)
    build_llava(chat_model, **stored).load_state_dict(copy.deepcopy(state))
    with pytest.raises(CheckpointError, match=words):
        build_llava(chat_model, **built).load_state_dict(state)


ASKED = {
    "template": (
        dict(chat_template="plain"),
        "chat_template .*for message in .* != .*if loop",
    ),
    "system": (dict(system="Be quick"), "system 'Be quick' != None"),
    "mean": (
        dict(data_preprocessor=dict(type="lbbt_mm.TilePreprocessor", mean=[1, 2, 3])),
        r"mean \[1\.0, 2\.0, 3\.0\] != \[",
    ),
    "encoder": (
        dict(vision_encoder__out_indices=0, vision_encoder__attention="bidirectional"),
        "vision_encoder.attention 'bidirectional' != None",
    ),
}


@pytest.mark.parametrize("kind", ASKED)
def test_other_prompts_and_images_are_for_training_only(chat_model, kind, said) -> None:
    from llava_tiny import llava_config

    given, words = ASKED[kind]
    options = {k: v for k, v in given.items() if "__" not in k}
    encoder = llava_config(chat_model)["vision_encoder"]
    encoder |= {k.split("__")[1]: v for k, v in given.items() if "__" in k}
    state = trained(chat_model)
    same = build_llava(chat_model)
    said.clear()
    same.load_state_dict(copy.deepcopy(state))
    assert ask(same) and not any("other settings" in text for text in said)
    other = build_llava(chat_model, vision_encoder=encoder, **options)
    other.load_state_dict(state)
    (warning,) = [text for text in said if "trained with other settings" in text]
    with pytest.raises(CheckpointError, match=words) as caught:
        ask(other)
    assert str(caught.value).partition("stored: ")[2][:20] in warning
    other.train()
    other(**collate(other, *mixed_samples()), mode="loss")
    assert ask(other.eval())  # it has learned from these by now


def test_another_tokeniser_and_other_weights(chat_model, tmp_path: Path) -> None:
    state = trained(chat_model, train_encoder=False)
    folder = Path(write_chat_model(tmp_path / "other"))
    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.add_tokens(["shirtbag"])
    tokenizer.save_pretrained(folder)
    other = build_llava(str(folder))
    other.load_state_dict(copy.deepcopy(state))
    with pytest.raises(CheckpointError, match="tokenizer '321 entries .*320 entries"):
        ask(other)

    drawn = build_llava(chat_model, pretrained=False, train_encoder=False)
    drawn.load_state_dict(copy.deepcopy(state))
    words = "built != stored: the frozen weights of the language_model"
    with pytest.raises(CheckpointError, match=words):
        ask(drawn)

    eyeless = build_llava(chat_model, train_encoder=False)
    with torch.no_grad():
        for parameter in eyeless.vision_encoder.parameters():
            parameter.add_(0.1)
    eyeless.load_state_dict(state)
    with pytest.raises(CheckpointError, match="the frozen weights of the vision_enc"):
        ask(eyeless)


def test_images_that_are_stretched_instead_of_padded(chat_model) -> None:
    """No tensor of a checkpoint shows it, and no tile."""
    model = build_llava(chat_model)
    model.load_state_dict(trained(chat_model))
    batch = collate(model, sample("What? <image>", images=1))
    batch["data_samples"][0].set_metainfo(dict(stretched=True))
    with pytest.raises(CheckpointError, match="stretched True != False"):
        model.answer(**batch)
    lesson = collate(model, *mixed_samples())
    lesson["data_samples"][0].set_metainfo(dict(stretched=True))
    model.train()(**lesson, mode="loss")
    again = build_llava(chat_model)
    again.load_state_dict(model.state_dict())
    assert len(again.answer(**batch)) == 1
    again.load_state_dict(model.state_dict())
    with pytest.raises(CheckpointError, match="stretched False != True"):
        ask(again)


def test_another_precision_is_the_same_model(chat_model) -> None:
    state = trained(chat_model, train_encoder=False)
    half = build_llava(chat_model, train_encoder=False, dtype="bfloat16")
    half.load_state_dict(state)
    half.vision_encoder.to(torch.bfloat16).to(torch.float32)
    assert len(ask(half)) == 1


def test_weights_that_train_are_not_those_of_before(chat_model) -> None:
    """The whole language model is in the checkpoint: nothing frozen to compare."""
    state = trained(chat_model, train_language="all")
    settings = decode_record(state[RECORD])["settings"]
    assert "language_model_weights" not in settings and settings["tile_size"] == 16
    drawn = build_llava(chat_model, train_language="all", pretrained=False)
    drawn.load_state_dict(state)
    assert len(ask(drawn)) == 1


def test_checkpoints_from_before(chat_model, said) -> None:
    state = trained(chat_model)
    record = decode_record(state[RECORD])
    del record["settings"]
    state[RECORD] = encode_record(record)
    other = build_llava(chat_model, system="Be quick")
    other.load_state_dict(state)
    assert any("does not say its settings" in text for text in said)
    assert ask(other)


def test_samples_of_weights() -> None:
    weights = [torch.randn(7, 9), torch.empty(0), torch.randn(40)]
    some = sample_weights(weights)
    assert same_weights(some, sample_weights(w.bfloat16() for w in weights))
    assert same_weights(some, sample_weights(w.half() for w in weights))
    assert not same_weights(some, sample_weights(w * 1.05 for w in weights))
    assert not same_weights(some, sample_weights(weights[:1]))
    assert not same_weights(some, sample_weights(w * torch.nan for w in weights))
    assert sample_weights([]) is None and same_weights(None, some)
