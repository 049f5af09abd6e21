"""What can be answered without looking at a scene."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from fashion_scenes.questions import Question
from lbbt_mm.metrics.constant_baseline import commonest


def blind_accuracy(
    train: Iterable[Question], held_out: Sequence[Question], by: str = "kind"
) -> dict[str, float]:
    """Answer every held-out question with the commonest answer of the training set.

    Args:
        train: Where answers are counted; of equally common ones the first in the
            alphabet counts.
        held_out: What is answered.
        by: ``'kind'``: the commonest answer of the type; ``'text'``: that of the very
            question, and of its type where training never asked it.

    Returns:
        Accuracy in per cent: ``'all'``, and of each type.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for asked in train:
        for key in {asked.kind, getattr(asked, by)}:
            counts[key][asked.answer] += 1
    hits = defaultdict(list)
    for asked in held_out:
        guess = commonest(
            counts.get(getattr(asked, by)) or counts.get(asked.kind) or {}
        )
        for name in ("all", asked.kind):
            hits[name].append(guess == asked.answer)
    return {name: 100 * sum(found) / len(found) for name, found in hits.items()}
