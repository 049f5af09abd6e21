"""Conversations as tokens: what is learned, by three templates, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from llava_tiny import CHATML, tiny_tokenizer, turns

from lbbt_mm.models.multimodal.conversation import (
    CHAT_TEMPLATES,
    IGNORED,
    IMAGE_TOKEN,
    Conversations,
    Encoded,
)

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The "
    "assistant gives helpful, detailed, and polite answers to the user's questions."
)
TWO = turns("<image>\nWhat is this?", "It is a bag.", "How many?", "Two, no: three")


def build(template: str | None = None, system: str | None = None) -> Conversations:
    return Conversations(tiny_tokenizer(), template, system)


def learned(talk: Conversations, encoded: Encoded) -> list[str]:
    """Texts of the runs of labelled tokens."""
    runs: list[list[int]] = [[]]
    for token, label in zip(encoded.ids, encoded.labels, strict=True):
        assert label in (IGNORED, token)
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(token)
    return [talk.tokenizer.decode(run) for run in runs if run]


def text(talk: Conversations, encoded: Encoded) -> str:
    return talk.tokenizer.decode(encoded.ids, clean_up_tokenization_spaces=False)


def test_chatml() -> None:
    talk = build()
    found = talk.encode(TWO)
    assert text(talk, found) == (
        "<|im_start|>system\nBe kind<|im_end|>\n"
        "<|im_start|>user\n<image>\nWhat is this?<|im_end|>\n"
        "<|im_start|>assistant\nIt is a bag.<|im_end|>\n"
        "<|im_start|>user\nHow many?<|im_end|>\n"
        "<|im_start|>assistant\nTwo, no: three<|im_end|>\n"
    )
    expected = ["It is a bag.<|im_end|>", "Two, no: three<|im_end|>"]
    assert learned(talk, found) == expected
    assert found.ids.count(talk.image_id) == 1
    assert talk.end_ids == [talk.tokenizer.convert_tokens_to_ids("<|im_end|>")]


def test_vicuna() -> None:
    talk = build("vicuna_v1")
    found = talk.encode(TWO)
    assert text(talk, found) == (
        f"<|im_start|>{VICUNA} USER: <image>\nWhat is this? ASSISTANT: It is a bag."
        "<|im_end|>USER: How many? ASSISTANT: Two, no: three<|im_end|>"
    )
    # With the space before: it is a part of the answer's first token.
    expected = [" It is a bag.<|im_end|>", " Two, no: three<|im_end|>"]
    assert learned(talk, found) == expected
    assert text(talk, talk.encode_prompt(TWO[:1])) == (
        f"<|im_start|>{VICUNA} USER: <image>\nWhat is this? ASSISTANT:"
    )
    assert talk.end_ids == [talk.tokenizer.eos_token_id]


def test_plain() -> None:
    talk = build("plain")
    found = talk.encode(turns("<image>", "a small bag"))
    assert text(talk, found) == "<|im_start|><image>a small bag<|im_end|>"
    assert learned(talk, found) == ["a small bag<|im_end|>"]
    assert text(talk, talk.encode_prompt(turns("<image>"))) == "<|im_start|><image>"


@pytest.mark.parametrize("template", [None, "vicuna_v1", "plain"])
def test_a_prompt_is_where_the_first_answer_begins(template: str | None) -> None:
    """Training and asking have to see the same tokens."""
    talk = build(template)
    for answer in ("It is a bag.", "No", "42", "été 🙂"):
        whole = talk.encode(turns("<image> What?", answer))
        asked = talk.encode_prompt(turns("<image> What?"))
        first = next(i for i, label in enumerate(whole.labels) if label != IGNORED)
        assert whole.ids[:first] == asked.ids
        assert asked.labels == [IGNORED] * len(asked.ids)
        assert learned(talk, whole)[0].strip() == f"{answer}<|im_end|>"


def test_an_answer_that_repeats_the_question_or_the_marks() -> None:
    talk = build()
    found = talk.encode(turns("Say two", "Say two", "Say two", "assistant"))
    assert learned(talk, found) == ["Say two<|im_end|>", "assistant<|im_end|>"]


@pytest.mark.parametrize(
    ("system", "said", "expected"),
    [
        (None, [], "system\nBe kind<"),  # the template's own
        ("Answer briefly", [], "system\nAnswer briefly<"),
        (None, ["system:Only two"], "system\nOnly two<"),
        ("Answer briefly", ["system:Only two"], "system\nOnly two<"),
    ],
)
def test_system_messages(system: str | None, said: list, expected: str) -> None:
    talk = build(system=system)
    found = talk.encode(turns(*said, "What?", "No"))
    shown = text(talk, found)
    assert shown.startswith(f"<|im_start|>{expected}") and shown.count("system") == 1
    assert learned(talk, found) == ["No<|im_end|>"]
    asked = talk.prompt(turns(*said, "What?"))
    assert asked.startswith(f"<|im_start|>{expected}")


def test_vicunas_system_message_gives_way() -> None:
    talk = build("vicuna_v1", system="Be brief.")
    assert talk.prompt(turns("What?")) == "<|im_start|>Be brief. USER: What? ASSISTANT:"


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    rewriting = CHATML.replace(
        "{{ message['content'] }}",
        "{{ message['content'] if loop.last else message['content'] | upper }}",
    )
    with pytest.raises(ValueError, match="writes every answer once and as it is"):
        build(rewriting)


def test_no_template() -> None:
    with pytest.raises(ValueError, match="'vicuna_v1' or 'plain'"):
        Conversations(tiny_tokenizer(chat_template=None))
    talk = Conversations(tiny_tokenizer(chat_template=None), "plain")
    assert talk.template == CHAT_TEMPLATES["plain"]


@pytest.mark.parametrize("said", [turns("What?"), turns("system:No"), []])
def test_nothing_to_learn(said: list) -> None:
    with pytest.raises(ValueError, match="conversation with an answer to learn"):
        build("plain").encode(said)


@pytest.mark.parametrize("said", [turns("What?", "No"), turns("system:No"), []])
def test_nothing_to_answer(said: list) -> None:
    with pytest.raises(ValueError, match="turns that end with a question"):
        build().encode_prompt(said)


def test_the_image_token_lies_beyond_the_table() -> None:
    before = tiny_tokenizer()
    talk = build()
    assert talk.image_id == len(before)
    others: list[Any] = [
        t for t in talk.tokenizer.all_special_tokens if t != IMAGE_TOKEN
    ]
    assert set(others) == set(before.all_special_tokens)
    # A second model on the same tokeniser adds no other one.
    assert Conversations(talk.tokenizer).image_id == talk.image_id


@pytest.mark.parametrize(
    ("template", "ends"),
    [
        (None, ["<|im_end|>"]),
        ("{{ messages[0]['content'] }} -> {% for m in messages[1:] %}{{ m['content'] }}"
         "<|endoftext|>{% endfor %}", ["<|endoftext|>", "<|im_end|>"]),
        # No mark that is a token: then the tokeniser's own end.
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", ["<|im_end|>"]),
    ],
)  # fmt: skip
def test_what_ends_an_answer(template: str | None, ends: list[str]) -> None:
    talk = build(template)
    assert talk.tokenizer.convert_ids_to_tokens(talk.end_ids) == ends
