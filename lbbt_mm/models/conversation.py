"""Conversations as tokens and labels, by the language model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

IMAGE_TOKEN = "<image>"
IGNORED = -100

# For models whose tokeniser brings no template.
CHAT_TEMPLATES = {
    # LLaVA-1.5's words for Vicuna 1.1 and 1.5 (arXiv 2310.03744).
    "vicuna_v1": (
        "{{ bos_token }}"
        "{% if messages[0]['role'] != 'system' %}"
        "A chat between a curious user and an artificial intelligence assistant. The "
        "assistant gives helpful, detailed, and polite answers to the user's questions."
        "{% endif %}"
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] }}"
        "{% elif message['role'] == 'user' %} USER: {{ message['content'] }}"
        "{% else %} ASSISTANT: {{ message['content'] }}{{ eos_token }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
    ),
    # LLaVA's first stage: no words but the caption.
    "plain": (
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}"
        "{{ message['content'] }}{{ eos_token }}"
        "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    ),
}


class Encoded(NamedTuple):
    """Tokens of one conversation.

    Attributes:
        ids: One a token; the image token stands once for each image.
        labels: The id where the token is to be learned, otherwise -100.
    """

    ids: list[int]
    labels: list[int]


class Conversations:
    """Turns of a conversation -> tokens, with labels on the answers alone.

    An answer's end mark is learned too, the line break behind it is not.

    Args:
        tokenizer: A fast tokeniser of transformers; ``<image>`` is added to it as a
            special token, beyond the language model's own table.
        chat_template: A Jinja template, or a name of :data:`CHAT_TEMPLATES`. None: the
            tokeniser's own.
        system: A system message for conversations that begin without one. None: what
            the template then does.

    Raises:
        ValueError: There is no template.
    """

    def __init__(
        self,
        tokenizer: Any,
        chat_template: str | None = None,
        system: str | None = None,
    ) -> None:
        template = CHAT_TEMPLATES.get(chat_template or "", chat_template)
        self.template = template or tokenizer.chat_template
        if not self.template:
            raise ValueError(
                "Expected a tokeniser with a chat template, got "
                f"{tokenizer.name_or_path} without one; set chat_template to "
                f"{' or '.join(map(repr, CHAT_TEMPLATES))}, or to a template of your "
                "own."
            )
        self.tokenizer, self.system = tokenizer, system
        tokenizer.add_special_tokens(
            {"additional_special_tokens": [IMAGE_TOKEN]},
            replace_additional_special_tokens=False,
        )
        self.image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.end_ids = self._end_ids()

    def prompt(self, turns: Sequence[Mapping[str, str]]) -> str:
        """Write out a conversation up to where the next answer begins.

        Args:
            turns: ``role`` and ``text`` each; the last is the user's.

        Raises:
            ValueError: The last turn is not the user's.
        """
        if not turns or turns[-1]["role"] != "user":
            raise ValueError(
                "Expected turns that end with a question, got "
                f"{[turn['role'] for turn in turns]}."
            )
        return self._render(self._messages(turns), True)

    def encode_prompt(self, turns: Sequence[Mapping[str, str]]) -> Encoded:
        """Tokens of :meth:`prompt`; no labels."""
        ids = self._tokens(self.prompt(turns))["input_ids"]
        return Encoded(ids, [IGNORED] * len(ids))

    def encode(self, turns: Sequence[Mapping[str, str]]) -> Encoded:
        """Tokens of a whole conversation, labels on its answers.

        Args:
            turns: ``role`` and ``text`` each.

        Raises:
            ValueError: There is no answer, or the template writes earlier turns
                differently once later ones follow.
        """
        messages = self._messages(turns)
        if not any(message["role"] == "assistant" for message in messages):
            raise ValueError(
                f"Expected a conversation with an answer to learn, got {list(turns)!r}."
            )
        text = self._render(messages, False)
        spans = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render(messages[:number], True)
            after = self._render(messages[: number + 1], False)
            if not (text.startswith(after) and after.startswith(before)):
                raise ValueError(
                    "Expected a chat template that writes a turn the same way whatever "
                    f"follows it, got another text once turn {number} had an answer; "
                    "set chat_template to one that does."
                )
            spans.append((len(before), len(after.rstrip())))
        found = self._tokens(text)
        ids, labels = found["input_ids"], []
        for token, (start, end) in zip(ids, found["offset_mapping"], strict=True):
            # By its end: a token may take the space before the answer along.
            inside = any(a < end <= b for a, b in spans) and start < end
            labels.append(token if inside else IGNORED)
        return Encoded(ids, labels)

    def _messages(self, turns: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        messages = [dict(role=turn["role"], content=turn["text"]) for turn in turns]
        if self.system is not None and messages and messages[0]["role"] != "system":
            messages.insert(0, dict(role="system", content=self.system))
        return messages

    def _render(self, messages: list[dict[str, str]], ask: bool) -> str:
        return self.tokenizer.apply_chat_template(
            messages,
            chat_template=self.template,
            tokenize=False,
            add_generation_prompt=ask,
        )

    def _tokens(self, text: str) -> Mapping[str, Any]:
        # The template wrote the special tokens already.
        return self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True
        )

    def _end_ids(self) -> list[int]:
        """What ends an answer: the template's mark, and the tokeniser's own end."""
        asked = [dict(role="user", content="a"), dict(role="assistant", content="b")]
        before, after = self._render(asked[:1], True), self._render(asked, False)
        behind = after[len(before) :].lstrip().removeprefix("b")
        first = self._tokens(behind)["input_ids"][:1]
        special = set(self.tokenizer.all_special_ids) | set(
            self.tokenizer.added_tokens_decoder
        )
        ends = [token for token in first if token in special]
        eos = self.tokenizer.eos_token_id
        return ends + [eos] * (not ends and eos is not None)
