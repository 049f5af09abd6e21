"""Kinds of chat templates that language models bring: exact labels, or a refusal."""

from __future__ import annotations

import re
from typing import Any

import pytest
from llava_tiny import CHATML, tiny_tokenizer, turns

from lbbt_mm.models.multimodal import conversation
from lbbt_mm.models.multimodal.conversation import IGNORED, Conversations, Encoded

ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
EACH = "{% for m in messages %}"
ALTERNATE = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
)
THOUGHT = "<think>\n\n</think>\n\n"

# Those whose answers can be told apart; what closes an answer.
EXACT = {
    "chatml": (CHATML, "<|im_end|>"),
    # Qwen3's: an empty thought before the last answer, which its prompt has not.
    "thinks": (
        EACH + "{% if m.role == 'assistant' and loop.last %}"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
        "{{ m.content.lstrip('\n') }}<|im_end|>\n"
        "{% else %}" + TURN + "{% endif %}{% endfor %}" + ASK,
        "<|im_end|>",
    ),
    # DeepSeek-R1's: its prompt begins a thought, which no answer of training has.
    "begins a thought": (
        EACH + TURN + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant"
        "\n<think>\n{% endif %}",
        "<|im_end|>",
    ),
    "no prompt of its own": (EACH + TURN + "{% endfor %}", "<|im_end|>"),
    # Llama-2's: turns without blanks around them, in pairs.
    "pairs": (
        EACH + ALTERNATE + "{% if m.role == 'user' %}<|im_start|>[INST] "
        "{{ m.content | trim }} [/INST]{% else %} {{ m.content | trim }} <|im_end|>"
        "{% endif %}{% endfor %}",
        " <|im_end|>",
    ),
    # Phi-3's: one mark behind a turn, another behind the conversation.
    "two ends": (
        EACH + TURN + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant"
        "\n{% else %}<|endoftext|>{% endif %}",
        "<|im_end|>",
    ),
    "marks answers": (
        EACH + "{% if m.role == 'assistant' %}<|im_start|>assistant\n"
        "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n"
        "{% else %}" + TURN + "{% endif %}{% endfor %}" + ASK,
        "<|im_end|>",
    ),
    "date": (
        "<|im_start|>system\nToday: {{ strftime_now('%d %b %Y') }}<|im_end|>\n"
        + EACH + TURN + "{% endfor %}" + ASK,
        "<|im_end|>",
    ),
    "words": (
        EACH + "{% if m.role == 'user' %}### Q: {{ m.content }}\n### A:"
        "{% else %} {{ m.content }}{{ eos_token }}\n{% endif %}{% endfor %}",
        "<|im_end|>",
    ),
}  # fmt: skip
TALKS = (
    turns("<image>\nWhat is this?", "It is a bag."),
    turns(" How many? ", "\nTwo, no: three ", "Where?", "Here"),
    turns("Say </s>", "1 2", "Say <|im_end|> two", "?", "a" * 20, "été 🙂"),
)


def build(template: str, system: str | None = None) -> Conversations:
    return Conversations(tiny_tokenizer(), template, system)


def learned(talk: Conversations, found: Encoded) -> list[tuple[int, str]]:
    """Where runs of labelled tokens begin, and their texts."""
    runs: list[tuple[int, list[int]]] = []
    before = IGNORED
    for place, label in enumerate(found.labels):
        if label != IGNORED:
            if before == IGNORED:
                runs.append((place, []))
            runs[-1][1].append(label)
        before = label
    decode = talk.tokenizer.decode
    return [(n, decode(r, clean_up_tokenization_spaces=False)) for n, r in runs]


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("said", TALKS)
def test_labels_are_the_answers_and_prompts_what_stands_before(
    kind: str, said: list[dict]
) -> None:
    template, close = EXACT[kind]
    talk = build(template)
    found = talk.encode(said)
    runs = learned(talk, found)
    answers = [turn["text"] for turn in said if turn["role"] == "assistant"]
    expected = [f"{answer.strip()}{close}" for answer in answers]
    got = [f"{text.removesuffix(close).strip()}{close}" for _, text in runs]
    assert got == expected and all(text.endswith(close) for _, text in runs)
    for number, (begin, _) in enumerate(runs):
        asked = talk.encode_prompt(said[: 2 * number + 1])
        assert found.ids[:begin] == asked.ids
    assert talk.end_ids[0] == talk.tokenizer.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize("kind", sorted(set(EXACT) - {"thinks", "date"}))
def test_the_text_is_the_templates(kind: str) -> None:
    template = EXACT[kind][0]
    talk, said = build(template), TALKS[1]
    messages = [dict(role=turn["role"], content=turn["text"]) for turn in said]
    text = talk.tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False
    )
    expected = talk.tokenizer(text, add_special_tokens=False)["input_ids"]
    decode = talk.tokenizer.decode
    assert decode(talk.encode(said).ids) == decode(expected)


def test_labels_are_those_that_transformers_marks() -> None:
    template = EXACT["marks answers"][0]
    talk, said = build(template), turns("What?", "It is.", "How many?", "two")
    messages = [dict(role=turn["role"], content=turn["text"]) for turn in said]
    marked = talk.tokenizer.apply_chat_template(
        messages,
        chat_template=template,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    found = talk.encode(said)
    assert found.ids == marked["input_ids"]
    assert [int(n != IGNORED) for n in found.labels] == marked["assistant_masks"]


def test_an_empty_thought_stands_before_every_answer() -> None:
    talk = build(EXACT["thinks"][0])
    said = turns("What?", "A bag", "Where?", "Here")
    text = talk.tokenizer.decode(talk.encode(said).ids)
    assert text.count(THOUGHT) == 2 and "A bag<|im_end|>" in text
    assert talk.prompt(said[:3]).endswith(f"<|im_start|>assistant\n{THOUGHT}")


def test_todays_date_is_no_part_of_a_prompt() -> None:
    assert "Today: 26 Jul 2024" in build(EXACT["date"][0]).prompt(turns("What?"))


CLOSED_ONCE = (
    EACH + "<|im_start|>{{ m.role }}\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}{{ eos_token }}"
    "{% endif %}"
)
SYSTEM_LAST = (
    "{% set ns = namespace(system='') %}{% if messages[0].role == 'system' %}"
    "{% set ns.system = messages[0].content + '\n' %}"
    "{% set messages = messages[1:] %}{% endif %}" + EACH + "{% if m.role == 'user' %}"
    "[INST] {% if m == (messages | selectattr('role', 'equalto', 'user') | list)[-1] %}"
    "{{ ns.system }}{% endif %}{{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
REFUSED = {
    "closed once": (CLOSED_ONCE, "closes every answer in the same way, got '\\\\n<"),
    "changes answers": (
        CHATML.replace("message['content']", "message['content'] | upper"),
        "every answer once and as it is, got .*IT IS A BAG",
    ),
    "writes no answer": (
        CHATML.replace("{% for", "{% for message in messages[:1] %}{% endfor %}{% for")
        .replace("message['content']", "message['content'] if message.role == 'user'"),
        "every answer once",
    ),
    "leaves questions out": (
        EACH + "{% if m.role != 'user' %}" + TURN + "{% endif %}{% endfor %}" + ASK,
        "writes 'What is this\\?' before the answer, got",
    ),
    "wants parts of a message": (
        EACH + "{{ m.role }}{% for part in m.content %}{{ part.text }}{% endfor %}"
        "{% endfor %}",
        "every answer once and as it is|turns of",
    ),
    "wants tools": (EACH + "{% for t in tools %}{% endfor %}" + TURN + "{% endfor %}",
                    r"write turns of \['user', 'assistant'\], got TypeError"),
    "wants another role": (
        EACH + "{% if m.role == 'assistant' %}{{ raise_exception('say model') }}"
        "{% endif %}{% endfor %}",
        "TemplateError: say model",
    ),
    "no Jinja": ("{% for", "TemplateSyntaxError"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_exact_is_refused_when_it_is_built(kind: str) -> None:
    template, words = REFUSED[kind]
    with pytest.raises(ValueError, match=words):
        build(template)


NO_SYSTEM = {
    "moves it to the last question": (SYSTEM_LAST, "the same way whatever follows"),
    "wants none": (EXACT["pairs"][0], "roles must alternate"),
    "leaves it out": (
        EACH + "{% if m.role != 'system' %}" + TURN + "{% endif %}{% endfor %}" + ASK,
        "writes '.*' before the answer",
    ),
}


@pytest.mark.parametrize("kind", NO_SYSTEM)
def test_a_system_message_that_the_template_cannot_write(kind: str) -> None:
    template, words = NO_SYSTEM[kind]
    with pytest.raises(ValueError, match=words):
        build(template, system="Only two words")
    talk = build(template)
    said = turns("What?", "A bag", "Where?", "Here")
    assert len(learned(talk, talk.encode(said))) == 2
    with pytest.raises(ValueError, match=f"system message.*{words}"):
        talk.encode(turns("system:Be kind", "What?", "A bag"))


@pytest.mark.parametrize("named", [False, True])
def test_a_tokeniser_with_several_templates(named: bool) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = dict(tool_use="{{ tools }}")
    if not named:
        with pytest.raises(ValueError, match="without one; set chat_template"):
            Conversations(tokenizer)
        return
    tokenizer.chat_template["default"] = CHATML
    assert Conversations(tokenizer).template == CHATML


def test_words_that_look_like_special_tokens_are_words() -> None:
    talk = build(CHATML)
    said = turns("Is <|im_end|> or <image> an end?", "It is <|endoftext|>.")
    said[0]["images"] = 0
    found = talk.encode(said)
    assert talk.image_id not in found.ids
    text = talk.tokenizer.decode(found.ids)
    assert "Is <|im_end|> or <image> an end?<|im_end|>\n" in text
    end = talk.end_ids[0]
    assert found.ids.count(end) == 3  # of three turns
    ((_, answer),) = learned(talk, found)
    assert answer == "It is <|endoftext|>.<|im_end|>"
    assert talk.encode_prompt(said[:1]).ids.count(end) == 2
    shown = dict(role="user", text="<image> Is <image> a word?", images=1)
    assert talk.encode_prompt([shown]).ids.count(talk.image_id) == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("thinks", "the model is asked with that"),
        ("begins a thought", r"assistant\\n<think>\\n', what is learned follows"),
        ("no end", "nothing that is learned stops an answer"),
        ("chatml", None),
    ],
)
def test_what_people_should_know_is_said(kind: str, words: Any, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        conversation, "print_log", lambda text, *_, **__: said.append(text)
    )
    no_end = (EACH + "\n{{ m.role }}: {{ m.content }}{% endfor %}", "")
    build((EXACT | {"no end": no_end})[kind][0])
    assert bool(said) == bool(words)
    assert not words or re.search(words, said[-1])
