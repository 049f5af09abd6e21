"""Let a language model go on where its prompts end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from lbbt_mm.models.multimodal.conversation import Conversations
from lbbt_mm.models.multimodal.llava_batch import Batch


def generate(
    language_model: Any,
    batch: Batch,
    conversations: Conversations,
    options: Mapping[str, Any],
) -> tuple[list[str], dict[int, str]]:
    """Generate answers.

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
