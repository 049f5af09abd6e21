"""What can be answered without looking: baselines from answers alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A question as a blind answerer sees it, and its answer."""

    question_type: str
    question: str
    answer: str


def blind_accuracy(
    train: Iterable[Asked], held_out: Sequence[Asked], by: str = "question_type"
) -> dict[str, float]:
    """Answer every held-out question with the commonest answer of the training set.

    Args:
        train: Where answers are counted; of equally common ones the first in the
            alphabet counts.
        held_out: What is answered.
        by: ``'question_type'``: the commonest answer of the type; ``'question'``: that
            of the very question, and of its type where training never asked it.

    Returns:
        Accuracy in per cent: ``'all'``, and of each type.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for asked in train:
        for key in {asked.question_type, getattr(asked, by)}:
            counts[key][asked.answer] += 1
    hits = defaultdict(list)
    for asked in held_out:
        guess = _commonest(
            counts.get(getattr(asked, by)) or counts.get(asked.question_type) or {}
        )
        for name in ("all", asked.question_type):
            hits[name].append(guess == asked.answer)
    return {name: 100 * sum(found) / len(found) for name, found in hits.items()}


class CommonestAnswers:
    """Answers every question with the commonest training answer of its type.

    Args:
        dataset: A ``lbbt_mm.VQADataset`` of training questions, wrapped or not.

    Raises:
        ValueError: A sample has no answers.
    """

    def __init__(self, dataset: Any) -> None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for number in range(len(dataset)):
            sample = dataset.get_data_info(number)
            if not sample.get("answers") or "question_type" not in sample:
                raise ValueError(
                    "The commonest answers expect training questions of a "
                    f"lbbt_mm.VQADataset with answers, got {sorted(sample)} in number "
                    f"{number}."
                )
            for kind in {sample["question_type"], ""}:
                counts[kind].update(sample["answers"])
        self.answers = {kind: _commonest(known) for kind, known in counts.items()}

    def predict(self, data_samples: Sequence[Any]) -> list[Any]:
        """Set ``pred_answer`` of each sample; of an unknown type, the commonest one."""
        for sample in data_samples:
            kind = sample.get("question_type")
            said = self.answers.get(kind, self.answers[""])
            sample.set_field(said, "pred_answer")
        return list(data_samples)


def _commonest(counts: Mapping[str, int]) -> str | None:
    """Of equally common answers the first in the alphabet."""
    return min(counts, key=lambda answer: (-counts[answer], answer), default=None)
