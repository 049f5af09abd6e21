"""What a chat template writes around the answers of a conversation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

CUT = "\ufdd0"
"""No character of any language: what stands on both sides of it is read as tokens by
itself, and it is left out."""
_HOLE = "\ufdd1"  # stands for an answer
_QUESTIONS, _ANSWERS = ("What is this?", "How many?"), ("It is a bag.", "Two")
_SYSTEM = "Be brief and kind."


class Written(NamedTuple):
    """A conversation as its template writes it.

    Attributes:
        around: The texts before, between and behind the answers, one more than those.
        answers: The answers; a template may strip them.
    """

    around: list[str]
    answers: list[str]


class ChatTemplate:
    """A Jinja template of transformers, studied once.

    Some templates write an answer in another way once a further question follows: those
    of models that think put an empty thought before the last answer only. Then
    :meth:`write` puts it before every answer, so that each of them follows what it
    would follow if the model were asked. A template whose answers or earlier turns
    change in any other way is refused.

    Args:
        tokenizer: Of transformers.
        template: The template.
        system: The system message that every conversation will have, if any.

    Attributes:
        space: Blanks between a prompt and its answer that belong to the answer, as
            word pieces take the blank before a word along.
        thought: What stands before the last answer only.
        close: The text that ends an answer: up to the first special token behind it.
        close_id: That token; None if nothing behind an answer is a special token.
        asks: What the template's own prompt for an answer ends with, and what training
            sees before an answer, if that is something else; otherwise None.
        no_system: Why a system message cannot be used; None if it can.

    Raises:
        ValueError: Answers cannot be told from the rest, or the template changes them.
    """

    def __init__(self, tokenizer: Any, template: str, system: str | None) -> None:
        self.tokenizer, self.template = tokenizer, template
        self.thought = ""
        self._study(system)
        self.no_system: str | None = None
        if system is None:
            try:
                self._compare([dict(role="system", content=_SYSTEM)])
            except ValueError as error:
                self.no_system = str(error)

    def write(self, messages: Sequence[Mapping[str, str]]) -> Written:
        """Write a conversation that ends with an answer.

        Args:
            messages: ``role`` and ``content`` each.

        Raises:
            ValueError: The template raises for these messages, or changes an answer by
                more than stripping it.
        """
        answers = [m["content"] for m in messages if m["role"] == "assistant"]
        holes = [
            {**m, "content": _HOLE} if m["role"] == "assistant" else m for m in messages
        ]
        around = self.render(holes).split(_HOLE)
        text = self.render(messages)
        found: list[str] = []
        if len(around) == len(answers) + 1 and text.startswith(around[0]):
            found = list(_read(text[len(around[0]) :], answers, around[1:]))
        if len(found) != len(answers):
            raise ValueError(
                "Expected a chat template that writes every answer once and as it is, "
                f"got {text!r} of {answers!r}; set chat_template to one that does."
            )
        if self.thought:
            if not around[-2].endswith(self.thought):
                raise ValueError(
                    f"Expected a chat template that writes {self.thought!r} before the "
                    f"last answer, got {around[-2][-80:]!r}; set chat_template to "
                    "another one."
                )
            around = [
                *(before + self.thought for before in around[:-2]),
                *around[-2:],
            ]
        return Written(around, found)

    def render(self, messages: Sequence[Mapping[str, str]], ask: bool = False) -> str:
        """Let the template write messages.

        Args:
            messages: ``role`` and ``content`` each.
            ask: Whether it adds its own prompt for an answer.

        Raises:
            ValueError: The template raises.
        """
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                list(messages),
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=ask,
                # A prompt that changes every day is none that training has seen.
                strftime_now=_one_day,
            )
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            roles = [message["role"] for message in messages]
            raise ValueError(
                f"Expected a chat template that can write turns of {roles}, got "
                f"{type(error).__name__}: {error}; set chat_template to one that can."
            ) from error

    def _study(self, system: str | None) -> None:
        head = [] if system is None else [dict(role="system", content=system)]
        one = [*head, *_turns(1)]
        before, behind = self.write(one).around
        self.close, self.close_id = self._closing(behind)
        asked = self.render(one[:-1], ask=True)
        rest = before.removeprefix(asked)
        own = before.startswith(asked) and not rest.strip()
        self.space = rest if own else before[len(before.rstrip(" ")) :]
        tails = [text.rpartition(_QUESTIONS[0])[2] for text in (asked, before)]
        self.asks = None if own else (tails[0], tails[1].rstrip(" "))
        first = self.write([*head, *_turns(2)]).around[0]
        if before.startswith(first):
            self.thought = before[len(first) :]
        self._compare(head)

    def _compare(self, head: list[dict[str, str]]) -> None:
        """Check that turns stay what they were once others follow."""
        one, two = (self.write([*head, *_turns(n)]) for n in (1, 2))
        before, between, _ = two.around
        if before != one.around[0] or two.answers[0] != one.answers[0]:
            raise ValueError(
                "Expected a chat template that writes a turn the same way whatever "
                f"follows it, got {before!r}, which was {one.around[0]!r} before "
                "another turn followed; set chat_template to one that does."
            )
        said = [message["content"] for message in head] + [_QUESTIONS[0]]
        for text, where in [(t, before) for t in said] + [(_QUESTIONS[1], between)]:
            if text.strip() not in where.replace(CUT, ""):
                raise ValueError(
                    f"Expected a chat template that writes {text!r} before the answer, "
                    f"got {where!r}; set chat_template to one that does."
                )
        if not all(text.startswith(self.close) for text in two.around[1:]):
            raise ValueError(
                "Expected a chat template that closes every answer in the same way, "
                f"got {between!r} behind an answer and {self.close!r} behind the last; "
                "set chat_template to one that does."
            )

    def _closing(self, behind: str) -> tuple[str, int | None]:
        special = special_ids(self.tokenizer)
        found = self.tokenizer(
            behind, add_special_tokens=False, return_offsets_mapping=True
        )
        for token, (_, end) in zip(
            found["input_ids"], found["offset_mapping"], strict=True
        ):
            if token in special:
                # Some tokens take the line break behind them along.
                return behind[:end].rstrip(), token
        return behind.rstrip(), None


def special_ids(tokenizer: Any) -> set[int]:
    """Every token that the tokeniser finds before it splits text into words."""
    return set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)


class Literal:
    """Keeps words that look like special tokens from becoming such tokens.

    Args:
        tokenizer: Of transformers.
        image_token: The one token that a turn may hold.
    """

    def __init__(self, tokenizer: Any, image_token: str) -> None:
        added = tokenizer.added_tokens_decoder.values()
        marks = {token.content for token in added if token.special}
        marks |= {str(token) for token in tokenizer.all_special_tokens} | {image_token}
        longest = sorted((m for m in marks if len(m) > 1), key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, longest)))
        self._image = image_token

    def __call__(self, text: str, images: int | None = None) -> str:
        """Cut such words in two.

        Args:
            text: Of a turn.
            images: How many image tokens, from the first, are that. None: all.
        """
        left = float("inf") if images is None else images

        def cut(found: re.Match[str]) -> str:
            nonlocal left
            mark = found.group()
            if mark == self._image and left > 0:
                left -= 1
                return mark
            return f"{mark[0]}{CUT}{mark[1:]}"

        plain = text.replace(CUT, "").replace(_HOLE, "")
        return self._marks.sub(cut, plain)


def _turns(count: int) -> list[dict[str, str]]:
    pairs = zip(_QUESTIONS[:count], _ANSWERS, strict=False)
    return [
        dict(role=role, content=text)
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def _read(text: str, answers: list[str], behind: list[str]) -> Iterator[str]:
    """Find each answer, perhaps stripped, before what stands behind it."""
    for number, (answer, after) in enumerate(zip(answers, behind, strict=True)):
        last = number == len(answers) - 1
        for said in (
            answer,
            answer.strip(),
            answer.lstrip("\n"),
            answer.lstrip(),
            answer.rstrip(),
        ):
            whole = said + after
            if text == whole if last else text.startswith(whole):
                yield said
                text = text[len(whole) :]
                break
        else:
            return


def _one_day(form: str) -> str:
    from datetime import datetime

    return datetime(2024, 7, 26).strftime(form)
