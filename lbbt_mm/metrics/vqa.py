"""Metrics of visual question answering, in all and by type of question.

mmpretrain's metrics of these names were run on the same answers and are others: VQAAcc
gives full marks for three of ten matching answers (0.9 in VQA's own evaluator) and does
not part ``'s`` from its word, GQAAcc drops articles and turns number words into digits,
and its ScienceQAMetric takes one letter alone and draws any other answer at random.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric

from lbbt_mm.files import write_whole
from lbbt_mm.metrics.vqa_rules import (
    exact_score,
    gqa_score,
    option_letter,
    ten_answer_score,
)
from lbbt_mm.registry import METRICS

RULES: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact": exact_score,
    "gqa": gqa_score,
    "ten_answers": ten_answer_score,
}

_KEPT = (
    "sample_id",
    "question",
    "answers",
    "question_type",
    "choices",
    "img_paths",
    "unanswered",
)


class _AnswerMetric(BaseMetric):
    """Keeps of every data sample the answer and what it is compared with."""

    default_prefix = "vqa"

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each sample's answer.

        Args:
            data_batch: Unused.
            data_samples: What ``lbbt_mm.VQADataset`` gave, and the model's answer.

        Raises:
            ValueError: A sample lacks the prediction or ``sample_id``, or, where the
                metric needs them, its answers.
        """
        for sample in data_samples:
            said = sample.get("pred_answer")
            known = sample.get("sample_id") is not None and sample.get("answers")
            if not isinstance(said, str) or not known:
                raise ValueError(
                    f"{type(self).__name__} expects a text 'pred_answer', a "
                    "sample_id and answers in each data sample, got "
                    f"{sorted(sample.keys())}; does the file carry answers?"
                )
            kept = {name: sample.get(name) for name in _KEPT}
            self.results.append(dict(kept, said=said))


def _by_type(scores: Sequence[float], results: Sequence[dict]) -> dict[str, float]:
    """Means in per cent, of all and of each named type, and the number of them."""
    groups = defaultdict(list)
    for score, result in zip(scores, results, strict=True):
        groups["accuracy"].append(score)
        if result["question_type"]:
            groups[f"accuracy/{result['question_type']}"].append(score)
    means = {name: 100 * sum(group) / len(group) for name, group in groups.items()}
    return means | dict(questions=float(len(scores))) | _unanswered(results)


def _unanswered(results: Sequence[dict]) -> dict[str, float]:
    """How many questions the model could not be asked, if any."""
    count = sum(bool(result.get("unanswered")) for result in results)
    return dict(unanswered=float(count)) if count else {}


@METRICS.register_module()
class VQAMetric(_AnswerMetric):
    """Accuracy in per cent, also by ``question_type``, under ``vqa/``.

    ``unanswered``, where there are any, counts questions that the model could not be
    asked (``on_long='skip'`` of ``lbbt_mm.LLaVA``): wrong answers.

    Args:
        rule: ``'ten_answers'`` (VQA v2, TextVQA), ``'exact'`` (equality after the same
            normalisation) or ``'gqa'``; :mod:`lbbt_mm.metrics.vqa_rules` defines
            them and names the sources.
        out_file: JSON file of every question with its answers, what the model said and
            its score, in the order of ``sample_id``; replaced as a whole. None: none.
        **kwargs: ``collect_device`` and ``prefix``, as mmengine's metrics have them.

    Raises:
        ValueError: There is no such rule.

    Example:
        >>> val_evaluator = dict(type="lbbt_mm.VQAMetric", rule="gqa")
    """

    def __init__(
        self, rule: str = "ten_answers", out_file: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if rule not in RULES:
            raise ValueError(f"rule: expected one of {sorted(RULES)}, got {rule!r}.")
        self.rule, self.out_file = rule, out_file

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Score all answers."""
        rule = RULES[self.rule]
        scores = [
            0.0 if r.get("unanswered") else rule(r["said"], r["answers"])
            for r in results
        ]
        if self.out_file:
            records = [
                {k: v for k, v in r.items() if v is not None} | {"score": score}
                for r, score in zip(results, scores, strict=True)
            ]
            records.sort(key=lambda record: record["sample_id"])
            text = json.dumps(records, indent=1, ensure_ascii=False)
            write_whole(Path(self.out_file), text + "\n")
        return _by_type(scores, results)


@METRICS.register_module()
class ScienceQAMetric(_AnswerMetric):
    """Accuracy of option letters in per cent, also by subject, under ``scienceqa/``.

    ``accuracy/image`` is over the questions with an image, LLaVA's IMG-Acc.
    ``unparsed`` counts answers without a letter, ``out_of_range`` letters that the
    question does not offer. Both are wrong answers, as in LLaVA's evaluator.

    Example:
        >>> val_evaluator = dict(type="lbbt_mm.ScienceQAMetric")
    """

    default_prefix = "scienceqa"

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Score all answers."""
        scores, unparsed, outside = [], 0, 0
        for result in results:
            letter = option_letter(result["said"])
            offered = "ABCDE"[: len(result["choices"] or "ABCDE")]
            unparsed += letter is None
            outside += letter is not None and letter not in offered
            scores.append(float(letter == result["answers"][0]))
        means = _by_type(scores, results)
        pairs = zip(scores, results, strict=True)
        seen = [score for score, result in pairs if result["img_paths"]]
        if seen:
            means["accuracy/image"] = 100 * sum(seen) / len(seen)
            means["questions/image"] = float(len(seen))
        return means | dict(unparsed=float(unparsed), out_of_range=float(outside))


@METRICS.register_module()
class MMVetSubmission(_AnswerMetric):
    """Write MM-Vet's submission file: question id -> answer.

    MM-Vet is scored by a language model as judge, so no score is computed here; the
    file goes to its authors' evaluator.

    Args:
        out_file: Where to write; replaced as a whole.
        **kwargs: As in :class:`VQAMetric`.

    Example:
        >>> test_evaluator = dict(type="lbbt_mm.MMVetSubmission", out_file="mmvet.json")
    """

    default_prefix = "mmvet"

    def __init__(self, out_file: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_file = out_file

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the file; the main process does this alone.

        Returns:
            ``questions`` and ``empty``, the number of empty answers.
        """
        answers = {r["sample_id"]: r["said"] for r in results}
        text = json.dumps(answers, indent=2, ensure_ascii=False)
        write_whole(Path(self.out_file), text + "\n")
        empty = sum(not answer.strip() for answer in answers.values())
        count = dict(questions=float(len(answers)), empty=float(empty))
        return count | _unanswered(results)
