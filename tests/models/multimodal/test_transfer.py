"""A LangBridge projector in another language model: the same weights, its words."""

from __future__ import annotations

import llava_tiny
import pytest
import torch
from llava_tiny import build_llava, collate, sample, write_chat_model

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.record import decode_record
from lbbt_mm.models.multimodal.llava_parts import RECORD
from lbbt_mm.models.multimodal.transfer import move_projector, transfer_projector

BRIDGE = dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=40)


@pytest.fixture
def other_model(tmp_path, monkeypatch) -> str:
    """Wider, of another family, and with other words in its tokeniser."""
    some = "What is this? a red bag shirt user assistant system There are three green"
    monkeypatch.setattr(llava_tiny, "_WORDS", some)
    return write_chat_model(tmp_path / "other", "gpt2", n_embd=48)


def test_same_tokeniser_same_weights(chat_model: str) -> None:
    state = build_llava(chat_model, projector=BRIDGE).state_dict()
    with pytest.warns(DeprecationWarning, match="move_projector is transfer_projector"):
        transferred = move_projector(state, chat_model)
    assert len(transferred.vocabulary) == 40 and transferred.left_out == 0
    for name, value in state.items():
        if name not in (RECORD, "projector._extra_state"):
            torch.testing.assert_close(
                transferred.state_dict[name], value, rtol=0, atol=0
            )


def test_another_tokeniser_keeps_the_words_that_it_has(
    chat_model: str, other_model: str
) -> None:
    first = build_llava(
        chat_model,
        projector=BRIDGE,
        train_language=dict(r=2, target_modules=["q_proj"]),
    )
    transferred = transfer_projector(
        first.state_dict(), other_model, minimum_overlap=0.1
    )
    count = len(transferred.vocabulary)
    assert 5 < count < 40 and transferred.left_out == 4
    record = decode_record(transferred.state_dict[RECORD])
    assert record["width"] == 48 and record["transferred_from"] == chat_model
    assert record["language_model"] == other_model

    options = dict(projector=dict(BRIDGE, vocabulary_size=count), pretrained=True)
    encoder = llava_tiny.llava_config(chat_model)["vision_encoder"]
    second = build_llava(other_model, vision_encoder=encoder, **options)
    second.load_state_dict(transferred.state_dict)
    # What was said of it: softmax over the kept words, times the other embeddings.
    tokens = torch.randn(3, 5, 32)
    table = second.language_model.get_input_embeddings().weight
    texts = first.projector.vocabulary.texts
    places = [texts.index(text) for text in second.projector.vocabulary.texts]
    weights = first.projector.layers(tokens)[..., places].softmax(-1)
    rows = second.projector.vocabulary.ids(second.tokenizer)
    torch.testing.assert_close(second.projector(tokens, table), weights @ table[rows])
    # The encoder is the same; the whole answers, and trains.
    pixels = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(
        second.vision_encoder(pixels)[0], first.vision_encoder(pixels)[0]
    )
    asked = sample("<image>\nWhat is this?", "a red bag", images=1)
    batch = collate(second, asked)
    assert isinstance(second.answer(**batch)[0], str)
    second.loss(**batch)["loss"].backward()
    assert second.projector.layers[0].weight.grad.abs().sum() > 0


def test_too_few_words_in_common(chat_model: str, other_model: str) -> None:
    state = build_llava(chat_model, projector=BRIDGE).state_dict()
    with pytest.raises(CheckpointError, match="less than the minimum_overlap"):
        transfer_projector(state, other_model, minimum_overlap=1.0)


def test_an_mlp_cannot_be_transferred(chat_model: str) -> None:
    state = build_llava(chat_model).state_dict()
    with pytest.raises(CheckpointError, match="got one with MLPProjector. An MLP"):
        transfer_projector(state, chat_model)
    with pytest.raises(CheckpointError, match="got one with neither"):
        transfer_projector({"backbone.weight": torch.zeros(1)}, chat_model)
