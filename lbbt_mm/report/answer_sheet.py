"""Images with a question under each, the right answer, and what several models said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lbbt_mm.report.captioned_sheet import Captioned, captioned_sheet

_RIGHT, _WRONG = (0, 110, 50), (190, 30, 30)


def read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """Read what ``VQAMetric(out_file=...)`` wrote.

    Args:
        path: The file.

    Returns:
        Question id -> record, with ``question``, ``answers``, ``said``, ``score``,
        ``question_type`` and ``img_paths``.

    Raises:
        ValueError: It is missing or something else.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
        found = {record["sample_id"]: record for record in records}
        for record in found.values():
            record["said"], record["score"], record["question"]
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected answers that VQAMetric(out_file=...) wrote, got {path}, which "
            f"cannot be read as such ({type(error).__name__}: {error}); run "
            "tools/test.py with --cfg-options test_evaluator.out_file=FILE.json."
        ) from error


def choose_questions(
    answers: Mapping[str, Mapping[str, Any]], count: int, first: int = 0
) -> list[str]:
    """Take the same number of questions of each type, in the order of their ids.

    Args:
        answers: Of one model.
        count: Questions of each type.
        first: Number of the first one within its type.
    """
    kinds: dict[str, list[str]] = {}
    for name, record in sorted(answers.items()):
        kinds.setdefault(record.get("question_type") or "", []).append(name)
    rows = [sorted(kinds[kind])[first : first + count] for kind in sorted(kinds)]
    return [row[n] for n in range(count) for row in rows if n < len(row)]


def answer_sheet(
    models: Mapping[str, Mapping[str, Mapping[str, Any]]],
    chosen: Sequence[str],
    columns: int = 4,
    side: int = 224,
) -> Image.Image:
    """Draw the sheet.

    Args:
        models: Name -> what :func:`read_answers` gave.
        chosen: Ids of the questions.
        columns: Images in a row.
        side: Longer side of each image in the sheet, in pixels.

    Returns:
        Right answers are green and marked with ``+``, wrong ones red with ``-``.

    Raises:
        ValueError: There is nothing to draw, or a model did not answer a question.
    """
    absent = [n for n, said in models.items() if any(c not in said for c in chosen)]
    if not models or not chosen or absent:
        raise ValueError(
            "Expected answers of one or more models to the same questions, got "
            f"{len(models)} model(s), {len(chosen)} question(s)"
            + (
                f", some of them not answered by {', '.join(absent)}."
                if absent
                else "."
            )
        )
    images, first = [], next(iter(models.values()))
    for name in chosen:
        record = first[name]
        lines = [(record["question"], "black"), (record["answers"][0], "black")]
        for model, answers in models.items():
            right = answers[name]["score"] > 0
            text = f"{'+' if right else '-'} {model}: {answers[name]['said'][:32]}"
            lines.append((text, _RIGHT if right else _WRONG))
        path = next(iter(record.get("img_paths", ())), None)
        images.append(Captioned(path, lines))
    return captioned_sheet(images, columns, side)
