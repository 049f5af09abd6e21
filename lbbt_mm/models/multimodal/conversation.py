"""Conversations as tokens and labels, by the language model's own chat template."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.logging import print_log

from lbbt_mm.models.multimodal.chat_template import (
    CUT,
    ChatTemplate,
    Literal,
    special_ids,
)

IMAGE_TOKEN = "<image>"
IGNORED = -100
Span = tuple[int, int]

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
        "{% elif message['role'] == 'user' %}"
        # As LLaVA: no blank between the end of an answer and the next question.
        "{% if loop.first or messages[loop.index0 - 1]['role'] != 'assistant' %} "
        "{% endif %}USER: {{ message['content'] }}"
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

    What closes an answer is learned too, the line break behind it is not. Words of a
    turn that look like special tokens (``</s>``) are words.

    Args:
        tokenizer: A fast tokeniser of transformers; ``<image>`` is added to it as a
            special token, beyond the language model's own table.
        chat_template: A Jinja template, or a name of :data:`CHAT_TEMPLATES`. None: the
            tokeniser's own.
        system: A system message for conversations that begin without one. None: what
            the template then does.

    Attributes:
        end_ids: The tokens that end an answer: the template's, and the tokeniser's own.
        end_text: What ends an answer where that is no token; otherwise empty.

    Raises:
        ValueError: There is no template, or it writes no answers that can be told from
            the rest: :class:`lbbt_mm.models.multimodal.chat_template.ChatTemplate`.
    """

    def __init__(
        self,
        tokenizer: Any,
        chat_template: str | None = None,
        system: str | None = None,
    ) -> None:
        self.template = CHAT_TEMPLATES.get(chat_template or "", chat_template)
        if not self.template:
            own = tokenizer.chat_template
            self.template = own.get("default") if isinstance(own, dict) else own
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
        self._chat = ChatTemplate(tokenizer, self.template, system)
        self._literal = Literal(tokenizer, IMAGE_TOKEN)
        self._special = special_ids(tokenizer)
        # Some tokenisers put a blank before all that they are given.
        self._by_parts = all(
            self._tokens(f"It:{CUT}{answer}")[0] == self._tokens(f"It:{answer}")[0]
            for answer in ("\nNo", " No", "No")
        )
        ends = (self._chat.close_id, tokenizer.eos_token_id)
        self.end_ids = list(dict.fromkeys(end for end in ends if end is not None))
        self.end_text = "" if self._chat.close_id is not None else self._chat.close
        self._report()

    def prompt(self, turns: Sequence[Mapping[str, Any]]) -> str:
        """Write out a conversation up to where the next answer begins.

        Args:
            turns: ``role`` and ``text`` each; the last is the user's.

        Raises:
            ValueError: The last turn is not the user's, or the template cannot write
                these turns.
        """
        return self._prompt(turns)[0].replace(CUT, "")

    def encode_prompt(self, turns: Sequence[Mapping[str, Any]]) -> Encoded:
        """Tokens of :meth:`prompt`; no labels."""
        ids = self._encoded(*self._prompt(turns)).ids
        return Encoded(ids, [IGNORED] * len(ids))

    def encode(self, turns: Sequence[Mapping[str, Any]]) -> Encoded:
        """Tokens of a whole conversation, labels on its answers.

        Args:
            turns: ``role`` and ``text`` each; one with ``images`` has so many image
                tokens, and further ones are words.

        Raises:
            ValueError: There is no answer, or the template cannot write these turns.
        """
        if not any(turn["role"] == "assistant" for turn in turns):
            raise ValueError(
                f"Expected a conversation with an answer to learn, got {list(turns)!r}."
            )
        return self._encoded(*self._whole(self._messages(turns)))

    def _messages(self, turns: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        messages = [
            dict(
                role=turn["role"],
                content=self._literal(turn["text"], turn.get("images")),
            )
            for turn in turns
        ]
        begins = [message["role"] for message in messages[:1]]
        if self.system is not None and begins != ["system"]:
            messages.insert(0, dict(role="system", content=self.system))
        elif begins == ["system"] and self._chat.no_system:
            raise ValueError(
                f"A conversation begins with a system message. {self._chat.no_system}"
            )
        return messages

    def _prompt(self, turns: Sequence[Mapping[str, Any]]) -> tuple[str, list[Span]]:
        if not turns or turns[-1]["role"] != "user":
            raise ValueError(
                "Expected turns that end with a question, got "
                f"{[turn['role'] for turn in turns]}."
            )
        answer = dict(role="assistant", content="a")
        text, spans = self._whole([*self._messages(turns), answer])
        return text[: spans[-1][0]], spans[:-1]

    def _whole(self, messages: Sequence[Mapping[str, str]]) -> tuple[str, list[Span]]:
        """A conversation's text, and where answers begin and what closes them ends."""
        written = self._chat.write(messages)
        text, spans = written.around[0], []
        for said, behind in zip(written.answers, written.around[1:], strict=True):
            if not behind.startswith(self._chat.close):
                raise ValueError(
                    f"Expected {self._chat.close!r} behind every answer, the chat "
                    f"template writes {behind[:80]!r} behind {said[-80:]!r}; set "
                    "chat_template to another one."
                )
            begin = len(text.removesuffix(self._chat.space))
            text += said
            spans.append((begin, len(text) + len(self._chat.close)))
            text += behind
        return text, spans

    def _encoded(self, text: str, spans: Sequence[Span]) -> Encoded:
        ids, offsets = self._tokens(text)
        # A prompt ends where an answer begins: no token may know what follows.
        marks = sorted({edge for span in spans for edge in span})
        cuts = {begin for begin, _ in spans} if self._by_parts else set()
        for token, (start, end) in zip(ids, offsets, strict=True):
            inside = marks[bisect_right(marks, start) : bisect_left(marks, end)]
            if inside and token not in self._special:
                cuts.update(inside)
        edges = sorted(cuts)
        if edges:
            parts = zip([0, *edges], [*edges, len(text)], strict=True)
            text = CUT.join(text[a:b] for a, b in parts)
            spans = [
                (a + bisect_right(edges, a), b + bisect_left(edges, b))
                for a, b in spans
            ]
            ids, offsets = self._tokens(text)
        labels = [
            token if any(a <= start < b for a, b in spans) else IGNORED
            for token, (start, _) in zip(ids, offsets, strict=True)
        ]
        return Encoded(ids, labels)

    def _tokens(self, text: str) -> tuple[list[int], list[Span]]:
        ids: list[int] = []
        offsets: list[Span] = []
        start = 0
        for piece in text.split(CUT):
            # The template wrote the special tokens already.
            found = self.tokenizer(
                piece, add_special_tokens=False, return_offsets_mapping=True
            )
            ids += found["input_ids"]
            offsets += [(start + a, start + b) for a, b in found["offset_mapping"]]
            start += len(piece) + len(CUT)
        return ids, offsets

    def _report(self) -> None:
        chat = self._chat
        if chat.asks is not None:
            print_log(
                "LLaVA: behind a question the chat template's own prompt has "
                f"{chat.asks[0]!r}, what is learned follows {chat.asks[1]!r}: the "
                "model is asked with that.",
                "current",
            )
        if chat.close_id is None:
            print_log(
                f"LLaVA: the chat template ends an answer with {chat.close!r}, which "
                "is no special token of the tokeniser: nothing that is learned stops "
                "an answer before max_new_tokens; let the template write eos_token.",
                "current",
                logging.WARNING,
            )
