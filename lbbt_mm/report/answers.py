"""What several models said of the same images: read, chosen, and drawn on one sheet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lbbt_mm.report.sheets import Captioned, captioned_sheet
from lbbt_mm.runs import shapes
from lbbt_mm.runs.files import UnreadableError, read_json

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
        records = read_json(path, shapes.ANSWERS, path.parent)
    except UnreadableError as error:
        raise ValueError(
            f"Expected answers that VQAMetric(out_file=...) wrote, got {path}, which "
            f"cannot be read as such ({error.reason}); run tools/test.py with "
            "--cfg-options test_evaluator.out_file=FILE.json."
        ) from error
    return {record["sample_id"]: record for record in records}


def refuse_paths_outside(
    answers: Mapping[str, dict[str, Any]], folders: Sequence[Path]
) -> None:
    """Refuse images that lie elsewhere: whoever wrote the file named them.

    Args:
        answers: Of one model; detours in their paths (``a/../b``) are taken out.
        folders: Where images may lie.

    Raises:
        ValueError: One lies in none of them.
    """
    inside = [os.path.abspath(folder) + os.sep for folder in folders]
    for record in answers.values():
        paths = list(map(os.path.normpath, record.get("img_paths", ())))
        for path in paths:
            if not any(os.path.abspath(path).startswith(place) for place in inside):
                raise ValueError(
                    f"The answer to {record['sample_id']} names the image {path}, "
                    f"which is in none of {', '.join(inside)}; if your images are "
                    "there, say so with --images FOLDER."
                )
        record["img_paths"] = paths


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
    rows = [kinds[kind][first : first + count] for kind in sorted(kinds)]
    return [row[n] for n in range(count) for row in rows if n < len(row)]


def answer_sheet(
    models: Mapping[str, Mapping[str, Mapping[str, Any]]],
    chosen: Sequence[str],
    columns: int = 4,
) -> Image.Image:
    """Draw the sheet.

    Args:
        models: Name -> what :func:`read_answers` gave.
        chosen: Ids of the questions.
        columns: Images in a row.

    Returns:
        The truth is named as such; right answers are green and marked with a tick,
        wrong ones red with a cross.

    Raises:
        ValueError: There is nothing to draw, or a model did not answer a question.
    """
    absent = [n for n, said in models.items() if any(c not in said for c in chosen)]
    if not models or not chosen or absent:
        unanswered = f", some of them not answered by {', '.join(absent)}"
        raise ValueError(
            "Expected answers of one or more models to the same questions, got "
            f"{len(models)} model(s), {len(chosen)} question(s)"
            f"{unanswered if absent else ''}."
        )
    images, first = [], next(iter(models.values()))
    for name in chosen:
        record = first[name]
        answer = next(iter(record.get("answers", ())), "")
        lines: list[Any] = [
            (record["question"], "black"),
            (f"truth: {answer}", "black"),
        ]
        for model, answers in models.items():
            right = answers[name]["score"] > 0
            text = f"{'✓' if right else '✗'} {model}: {answers[name]['said'][:32]}"
            lines.append((text, _RIGHT if right else _WRONG))
        path = next(iter(record.get("img_paths", ())), None)
        images.append(Captioned(path, lines))
    return captioned_sheet(images, columns)
