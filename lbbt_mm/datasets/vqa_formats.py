"""Public file formats of conversations and visual questions, as one sample.

A sample is a dict: ``sample_id`` (str), ``img_paths`` (paths relative to the image
folder), ``turns`` (``dict(role, text)``, the text with its ``<image>`` tokens); of a
question also ``question``, ``answers`` (list of str), ``question_type``, and where the
format has them ``choices`` and ``subject``.

``docs/vqa.md`` names the files. A reader (path, words behind a question, split) raises
``KeyError`` or ``TypeError`` for a record that lacks a field; the data sets put that
into a sentence.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

IMAGE_TOKEN = "<image>"
LETTERS = "ABCDEFGHIJ"
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
# LLaVA-1.5's words behind a question (arXiv 2310.03744).
SHORT_ANSWER = "Answer the question using a single word or phrase."
OPTION_LETTER = "Answer with the option's letter from the given choices directly."


class BadSampleError(ValueError):
    """A record that cannot be used.

    Args:
        kind: A few words that are the same for all records with this fault.
        detail: What is wrong with this one.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


def read_json(path: str | os.PathLike) -> Any:
    """Read JSON, or JSON lines if the name ends in ``.jsonl``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, or a line is not.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected an annotation file {path}, got none; correct ann_file or "
            "data_root."
        )
    where = ""
    try:
        text = path.read_text(encoding="utf-8-sig")  # without a byte-order mark
        if path.suffix != ".jsonl":
            return json.loads(text)
        records = []
        # Not splitlines(): JSON allows U+2028 and its like within a string.
        for number, line in enumerate(text.split("\n"), 1):
            where = f" in line {number}"
            if line.strip():
                records.append(json.loads(line))
        return records
    except ValueError as error:  # also of bytes that are no UTF-8
        raise ValueError(
            f"{path}: expected JSON, got something else{where} ({error}); fetch it "
            "again."
        ) from error


def llava_sample(record: dict[str, Any], number: int) -> dict[str, Any]:
    """Read a record of LLaVA's pre-training or instruction file.

    Args:
        record: ``conversations`` of ``from`` and ``value``; ``image`` if there is one,
            a list if there are several.
        number: Stands in for a missing ``id``.

    Raises:
        BadSampleError: Unknown role, no turns, turns out of order, or tokens and images
            that do not match.
    """
    images = record.get("image") or []
    images = [images] if isinstance(images, str) else list(images)
    turns = []
    for turn in record["conversations"]:
        if turn["from"] not in ROLES:
            raise BadSampleError(
                "unknown role", f"expected one of {sorted(ROLES)}, got {turn['from']!r}"
            )
        turns.append(dict(role=ROLES[turn["from"]], text=turn["value"]))
    # As LLaVA does: some ShareGPT conversations begin with the end of another.
    while turns and turns[0]["role"] == "assistant":
        turns = turns[1:]
    _check_turns(turns, len(images))
    sample_id = str(record.get("id", number))
    return dict(sample_id=sample_id, img_paths=images, turns=turns)


def _check_turns(turns: list[dict[str, str]], images: int) -> None:
    spoken = [turn for turn in turns if turn["role"] != "system"]
    if len(spoken) < 2:
        raise BadSampleError("empty conversation", f"{len(spoken)} turn(s)")
    roles = [turn["role"] for turn in spoken]
    if roles != ["user", "assistant"] * (len(roles) // 2) or any(
        turn["role"] == "system" for turn in turns[1:]
    ):
        raise BadSampleError(
            "turns out of order",
            f"expected questions and answers by turns, got {roles}",
        )
    where = Counter[str]()
    for turn in turns:
        where[turn["role"]] += turn["text"].count(IMAGE_TOKEN)
    if where["assistant"] or where["system"]:
        raise BadSampleError(
            "image token outside of a question", f"expected none, got {dict(where)}"
        )
    if where["user"] != images:
        kind = (
            "image token without image"
            if where["user"] > images
            else "image without image token"
        )
        raise BadSampleError(kind, f"{where['user']} token(s), {images} image(s)")


def _ask(
    sample_id: str,
    image: str | None,
    question: str,
    prompt: str,
    answers: list[str],
    question_type: str,
    **more: Any,
) -> dict[str, Any]:
    lines = [IMAGE_TOKEN] * (image is not None) + [question] + [prompt] * bool(prompt)
    turn: dict[str, Any] = dict(role="user", text="\n".join(lines))
    if IMAGE_TOKEN in question + prompt:
        turn["images"] = int(image is not None)  # further ones are words
    return dict(
        sample_id=sample_id,
        img_paths=[] if image is None else [image],
        turns=[turn],
        question=question,
        answers=answers,
        question_type=question_type,
        **more,
    )


def textvqa(path: str, prompt: str, split: str) -> Iterator[dict[str, Any]]:
    """``TextVQA_0.5.1_val.json``: ten answers a question; no question types."""
    for item in read_json(path)["data"]:
        image = f"{item['image_id']}.jpg"
        answers = [str(answer) for answer in item.get("answers", ())]
        name = str(item["question_id"])
        yield _ask(name, image, item["question"], prompt, answers, "")


def gqa(path: str, prompt: str, split: str) -> Iterator[dict[str, Any]]:
    """``testdev_balanced_questions.json``; the type is the structural one."""
    for name, item in read_json(path).items():
        answers = [item["answer"]] if "answer" in item else []
        kind = item.get("types", {}).get("structural") or ""
        image = f"{item['imageId']}.jpg"
        yield _ask(name, image, item["question"], prompt, answers, kind)


def scienceqa(path: str, prompt: str, split: str) -> Iterator[dict[str, Any]]:
    """``problems.json``, and ``pid_splits.json`` beside it; the type is the subject."""
    problems = read_json(path)
    splits = read_json(Path(path).with_name("pid_splits.json"))
    if split not in splits:
        raise ValueError(f"split: expected one of {sorted(splits)}, got {split!r}.")
    for name in splits[split]:
        item = problems[name]
        choices = item["choices"]
        hint = item.get("hint") or ""
        lines = [f"Context: {hint}"] * bool(hint) + [item["question"]]
        lines += [f"{LETTERS[i]}. {choice}" for i, choice in enumerate(choices)]
        image = f"{name}/{item['image']}" if item.get("image") else None
        yield _ask(
            name,
            image,
            "\n".join(lines),
            prompt,
            [LETTERS[item["answer"]]],
            item.get("subject") or "",
            choices=choices,
        )


def mmvet(path: str, prompt: str, split: str) -> Iterator[dict[str, Any]]:
    """``mm-vet.json``; the type is the capabilities, sorted, with ``+`` between."""
    for name, item in read_json(path).items():
        kind = "+".join(sorted(item.get("capability", ())))
        image, answers = item["imagename"], [item["answer"]]
        yield _ask(name, image, item["question"], prompt, answers, kind)


def llava(
    path: str, prompt: str, split: str
) -> Iterator[dict[str, Any] | BadSampleError]:
    """LLaVA's records of one question and one answer; ``question_type`` if given."""
    for number, record in enumerate(read_json(path)):
        try:
            sample = llava_sample(record, number)
        except BadSampleError as error:
            yield error
            continue
        if [turn["role"] for turn in sample["turns"]] != ["user", "assistant"]:
            yield BadSampleError("not one question", f"{len(sample['turns'])} turns")
            continue
        user, answer = (turn["text"] for turn in sample["turns"])
        asked = user.replace(IMAGE_TOKEN, "").strip()
        user = f"{user}\n{prompt}" if prompt else user
        yield dict(
            sample,
            turns=[dict(role="user", text=user)],
            question=asked,
            answers=[answer],
            question_type=record.get("question_type", ""),
        )


# Name -> reader, and the words behind a question unless others are asked for.
_Reader = Callable[[str, str, str], Iterator[dict | BadSampleError]]
FORMATS: dict[str, tuple[_Reader, str]] = {
    "gqa": (gqa, SHORT_ANSWER),
    "llava": (llava, ""),
    "mmvet": (mmvet, ""),
    "scienceqa": (scienceqa, OPTION_LETTER),
    "textvqa": (textvqa, SHORT_ANSWER),
}
