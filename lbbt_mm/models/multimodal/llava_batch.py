"""Several conversations as one batch of embeddings: its loss, and its answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from lbbt_mm.models.multimodal.conversation import IGNORED, Conversations, Encoded


class Batch(NamedTuple):
    """What a language model is given; shorter rows are filled up on the left.

    Attributes:
        embeds: ``(B, T, D)``.
        mask: ``(B, T)`` of int64, 0 where a row is filled up.
        labels: ``(B, T)`` of int64, -100 where nothing is learned.
    """

    embeds: Tensor
    mask: Tensor
    labels: Tensor

    @property
    def positions(self) -> Tensor:
        """Positions ``(B, T)`` that begin with 0 at each row's first token."""
        return (self.mask.cumsum(dim=1) - 1).clamp(min=0)


def encode_samples(
    conversations: Conversations,
    samples: Sequence[Any],
    visual: Sequence[Sequence[Tensor]],
    most: int,
    answers: bool,
) -> tuple[list[Encoded], dict[int, str]]:
    """Encode the conversations of a batch, and find those that cannot be used.

    Args:
        conversations: Of the language model.
        samples: B, with ``turns`` and ``sample_id``.
        visual: For each of them the tokens ``(tokens, D)`` of its images.
        most: Most tokens of a conversation, visual ones included.
        answers: Whether the answers are in it, with labels.

    Returns:
        B conversations, and for the number of each that cannot be used the reason; it
        has two tokens without labels instead.
    """
    encoded: list[Encoded] = []
    problems: dict[int, str] = {}
    for number, (sample, images) in enumerate(zip(samples, visual, strict=True)):
        turns, name = sample.get("turns"), sample.get("sample_id")
        try:
            if answers:
                one = conversations.encode(turns)
            else:
                asked = turns[:-1] if turns[-1]["role"] == "assistant" else turns
                one = conversations.encode_prompt(asked)
            _check_images(one, images, conversations.image_id)
            length = len(one.ids) - len(images) + sum(map(len, images))
            if length > most:
                raise ValueError(
                    f"Expected conversations of at most {most} tokens, got {length} in "
                    f"{name}; set max_length if the language model allows more."
                )
        except ValueError as error:
            problems[number] = f"{name}: {error}"
            # Any two words: its own may be image tokens, and one predicts nothing.
            one = Encoded([0, 0], [IGNORED, IGNORED])
        encoded.append(one)
    return encoded, problems


def make_batch(
    encoded: Sequence[Encoded],
    visual: Sequence[Sequence[Tensor]],
    image_id: int,
    table: nn.Module,
) -> Batch:
    """Put each image's tokens in the place of its image token.

    Filling up on the left lets all rows of a batch go on with their next token at the
    same place, so that training and generation see the same.

    Args:
        encoded: Tokens of B conversations.
        visual: For each of them the tokens ``(tokens, D)`` of its images, in order.
        image_id: The image token.
        table: The language model's word embeddings, a module from ids to ``(..., D)``.

    Raises:
        ValueError: A conversation has another number of image tokens than of images.
    """
    device = next(table.parameters()).device
    flat = torch.tensor([i for one in encoded for i in one.ids], device=device)
    words = table(flat.masked_fill(flat == image_id, 0))
    rows, start = [], 0
    for one, images in zip(encoded, visual, strict=True):
        row = words[start : start + len(one.ids)]
        start += len(one.ids)
        rows.append(_splice(one, row, images, image_id))
    longest = max(len(embeds) for embeds, _ in rows)
    fill = [longest - len(embeds) for embeds, _ in rows]
    return Batch(
        torch.stack(
            [
                nn.functional.pad(embeds, (0, 0, missing, 0))
                for (embeds, _), missing in zip(rows, fill, strict=True)
            ]
        ),
        torch.stack([(torch.arange(longest) >= n).long() for n in fill]).to(device),
        torch.tensor(
            [[IGNORED] * n + labels for (_, labels), n in zip(rows, fill, strict=True)],
            device=device,
        ),
    )


def _splice(
    one: Encoded, words: Tensor, images: Sequence[Tensor], image_id: int
) -> tuple[Tensor, list[int]]:
    places = _check_images(one, images, image_id)
    parts: list[Tensor] = []
    labels: list[int] = []
    start = 0
    for place, image in zip(places, images, strict=True):
        parts += [words[start:place], image.to(words.dtype)]
        labels += one.labels[start:place] + [IGNORED] * len(image)
        start = place + 1
    return torch.cat([*parts, words[start:]]), labels + one.labels[start:]


def _check_images(one: Encoded, images: Sequence[Tensor], image_id: int) -> list[int]:
    """The places of a conversation's image tokens."""
    places = [number for number, token in enumerate(one.ids) if token == image_id]
    if len(places) != len(images):
        raise ValueError(
            f"Expected as many images as image tokens in a conversation, got "
            f"{len(images)} image(s) and {len(places)} token(s) '<image>'."
        )
    return places


def answer_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over all labelled tokens, as transformers computes it.

    Args:
        logits: ``(B, n, V)`` at some places.
        labels: ``(B, n)``: what should follow at each of them, or -100.

    Returns:
        The loss, and the share of labelled tokens that are the most likely ones. Where
        there are none both are zero.
    """
    learned = labels != IGNORED
    if not learned.any():
        return logits.sum() * 0.0, logits.new_zeros(())
    logits, labels = logits[learned].float(), labels[learned]
    loss = nn.functional.cross_entropy(logits, labels)
    highest, place = logits.max(dim=-1)  # NaN is no word
    return loss, ((place == labels) & highest.isfinite()).float().mean()


def generate(
    language_model: Any,
    batch: Batch,
    conversations: Conversations,
    options: Mapping[str, Any],
) -> tuple[list[str], dict[int, str]]:
    """Let a language model go on where its prompts end.

    Args:
        language_model: Of transformers.
        batch: Prompts.
        conversations: Says what ends an answer.
        options: Of ``generate()``.

    Returns:
        One text a row without special tokens; for the numbers of the rows whose scores
        were NaN, of which nothing can be chosen, the reason.
    """
    ends = conversations.end_ids
    stop = dict(pad_token_id=ends[0], eos_token_id=ends) if ends else {}
    scores = _Scores(len(batch.embeds), batch.embeds.device)
    said = language_model.generate(
        inputs_embeds=batch.embeds,
        attention_mask=batch.mask,
        **stop
        | dict(options)
        | dict(logits_processor=[*options.get("logits_processor", ()), scores]),
    )
    texts = conversations.tokenizer.batch_decode(said, skip_special_tokens=True)
    if conversations.end_text.strip():
        texts = [text.partition(conversations.end_text)[0] for text in texts]
    lost = scores.diverged.nonzero()[:, 0].tolist()
    if lost:
        print_log(
            f"LLaVA: {len(lost)} of {len(texts)} answers of a batch are empty, as the "
            "scores of their words are NaN: has the training diverged?",
            "current",
            logging.WARNING,
        )
    why = dict.fromkeys(lost, "the language model's scores are NaN")
    return [text.strip() for text in texts], why


class _Scores:
    """Remembers which rows had NaN among their scores, and puts zeros there."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.diverged = torch.zeros(rows, dtype=torch.bool, device=device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        nan = scores.isnan()
        # Beams have rows of their own.
        self.diverged |= nan.view(len(self.diverged), -1).any(dim=1)
        return scores.masked_fill(nan, 0.0)
