"""Questions about the fashion scenes, balanced so that blind guesses do not pay."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from lbbt_mm.report.sheets import Captioned, captioned_sheet

# One word for each class, in the order of Fashion-MNIST.
WORDS = (
    "t-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)
TYPES = ("what", "how_many", "where", "larger")
FOLDERS = {"train": "training", "val": "validation"}
_MOST_COUNTED = 6
_OFF_CENTRE = 0.1  # of the canvas: nearer to the middle is neither left nor right
_APART = 0.08  # of the canvas, between the leftmost and the next
_LARGER = 1.5  # times the visible pixels of the other
_ANSWER = (0, 110, 50)  # colour on the sheet


class Question(NamedTuple):
    """A question about a scene.

    Attributes:
        kind: One of :data:`TYPES`.
        form: What is asked; within a form every answer is asked for equally often.
        image: File name.
        text: The question.
        answer: One word or number.
    """

    kind: str
    form: str
    image: str
    text: str
    answer: str


class _Seen(NamedTuple):
    word: str
    x: float  # centre, share of the canvas
    y: float
    area: int  # visible pixels
    edge: float  # the left one, share of the canvas


def read_scenes(root: Path, split: str) -> list[tuple[str, list[_Seen]]]:
    """Read the scenes of a split.

    Args:
        root: Folder that ``projects/fashion_scenes/make_scenes.py`` made.
        split: ``'train'`` or ``'val'``.

    Returns:
        File name and garments of each scene.

    Raises:
        FileNotFoundError: There is no annotation file.
    """
    path = root / "detection" / f"{split}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected fashion scenes with {path}, got none; make them with "
            "projects/fashion_scenes/make_scenes.py."
        )
    coco = json.loads(path.read_text(encoding="utf-8-sig"))
    garments: dict[int, list[_Seen]] = defaultdict(list)
    sides = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    for found in coco["annotations"]:
        width, height = sides[found["image_id"]]
        x, y, w, h = found["bbox"]
        garments[found["image_id"]].append(
            _Seen(
                WORDS[found["category_id"] - 1],
                (x + w / 2) / width,
                (y + h / 2) / height,
                found["area"],
                x / width,
            )
        )
    return [(i["file_name"], garments[i["id"]]) for i in coco["images"]]


def questions_of(image: str, garments: Sequence[_Seen]) -> Iterator[Question]:
    """Every question that a scene answers clearly.

    Largest and larger mean 1.5 times the visible pixels; leftmost, a centre 8 % and a
    left edge 4 % of the canvas further left than any other; left, right, top and
    bottom, 10 % off the middle. A garment that is named is the only one of its
    class.
    """
    count = len(garments)
    if not garments:
        return
    if count == 1:
        yield Question("what", "single", image, "What is this?", garments[0].word)
    else:
        by_area = sorted(garments, key=lambda g: -g.area)
        if by_area[0].area >= _LARGER * by_area[1].area:
            text = "What is the largest garment?"
            yield Question("what", "largest", image, text, by_area[0].word)
        by_x = sorted(garments, key=lambda g: g.x)
        first, second = by_x[:2]
        clear = all(g.edge - first.edge >= _APART / 2 for g in by_x[1:])
        if clear and second.x - first.x >= _APART:
            text = "What is the leftmost garment?"
            yield Question("what", "leftmost", image, text, first.word)
    if count <= _MOST_COUNTED:
        text = "How many garments are there?"
        yield Question("how_many", "count", image, text, str(count))
    words = Counter(g.word for g in garments)
    unique = sorted(g for g in garments if words[g.word] == 1)
    for garment in unique:
        for place, low, high in (
            (garment.x, "left", "right"),
            (garment.y, "top", "bottom"),
        ):
            if abs(place - 0.5) >= _OFF_CENTRE:
                verb = "Are" if garment.word == "trousers" else "Is"
                text = f"{verb} the {garment.word} at the {low} or at the {high}?"
                answer = low if place < 0.5 else high
                # A form of its own for each word: a sandal is as often left as right.
                form = f"{low}/{high} {garment.word}"
                yield Question("where", form, image, text, answer)
    for one, two in itertools.combinations(unique, 2):
        small, large = sorted((one, two), key=lambda g: g.area)
        if large.area >= _LARGER * small.area:
            # The order of the words is that of the alphabet: it tells nothing, since
            # both answers are equally common within a pair.
            text = f"Which is larger, the {one.word} or the {two.word}?"
            form = f"{one.word}/{two.word}"
            yield Question("larger", form, image, text, large.word)


def balanced(
    questions: Iterable[Question], most: int, rng: random.Random
) -> list[Question]:
    """Draw questions of one type, every answer of a form equally often.

    Args:
        questions: What can be asked.
        most: At most so many are drawn, shared evenly among the forms; a form that has
            too few leaves its share to the others.
        rng: Draws.

    Returns:
        The questions, in mixed order.
    """
    forms: dict[str, dict[str, list[Question]]] = defaultdict(dict)
    for question in questions:
        forms[question.form].setdefault(question.answer, []).append(question)
    answers_of: dict[str, set[str]] = defaultdict(set)
    for form, answers in forms.items():
        # 'single', 'largest', 'leftmost': ten answers; 'left/right bag': two.
        answers_of[form] = set(answers)
        for answer in sorted(answers):
            rng.shuffle(answers[answer])
    # With one answer only, the question would give it away.
    names = sorted(form for form in forms if len(answers_of[form]) > 1)
    rng.shuffle(names)
    quota = dict.fromkeys(names, 0)
    total, growing = 0, True
    while growing:
        growing = False
        for form in names:
            lists = forms[form].values()
            fits = total + len(lists) <= most
            if fits and quota[form] < min(len(found) for found in lists):
                quota[form] += 1
                total += len(lists)
                growing = True
    drawn = [
        question
        for form in names
        for answer in sorted(forms[form])
        for question in forms[form][answer][: quota[form]]
    ]
    rng.shuffle(drawn)
    return drawn


def make_questions(
    scenes: Iterable[tuple[str, list[_Seen]]], split: str, per_type: int, seed: int
) -> list[Question]:
    """Ask about a split's scenes; the same arguments give the same questions.

    Args:
        scenes: What :func:`read_scenes` gives.
        split: ``'train'`` or ``'val'``.
        per_type: At most so many of each type.
        seed: Of the draws.

    Raises:
        ValueError: The scenes answer too few questions of a type.
    """
    possible = [q for image, garments in scenes for q in questions_of(image, garments)]
    drawn = []
    for kind in TYPES:
        rng = random.Random(f"{seed} {split} {kind}")
        found = balanced((q for q in possible if q.kind == kind), per_type, rng)
        if not found:
            raise ValueError(
                f"Expected scenes of {split} that answer questions of type {kind!r} in "
                f"a balanced way with at most {per_type}, got none; make more scenes, "
                "or ask for more questions."
            )
        drawn += found
    random.Random(f"{seed} {split}").shuffle(drawn)
    return drawn


def as_llava(questions: Sequence[Question], split: str) -> list[dict[str, Any]]:
    """LLaVA's records; ``image`` is relative to the scenes' folder ``images``."""
    return [
        {
            "id": f"{split}_{number:06d}",
            "image": f"{FOLDERS[split]}/{question.image}",
            "question_type": question.kind,
            "conversations": [
                {"from": "human", "value": f"<image>\n{question.text}"},
                {"from": "gpt", "value": question.answer},
            ],
        }
        for number, question in enumerate(questions)
    ]


def by_image(records: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Put questions about an image into one conversation, as LLaVA-1.5 trains.

    An image's tokens are then computed once for several questions.

    Args:
        records: What :func:`as_llava` gives.
        most: Questions in a conversation; an image with more has several. Shorter
            rows of a batch are filled up to the longest one.

    Returns:
        Conversations in the order of their first questions.
    """
    merged: list[dict[str, Any]] = []
    latest: dict[str, dict[str, Any]] = {}
    for record in records:
        asked, said = record["conversations"]
        known = latest.get(record["image"])
        if known and len(known["conversations"]) < 2 * most:
            asked = dict(asked, value=asked["value"].removeprefix("<image>\n"))
            known["conversations"] += [asked, said]
        else:
            kept = {key: record[key] for key in ("id", "image")}
            latest[record["image"]] = kept | {"conversations": [asked, said]}
            merged.append(latest[record["image"]])
    return merged


def captions(
    scenes: Iterable[tuple[str, list[_Seen]]], split: str
) -> list[dict[str, Any]]:
    """Say what is where in each scene, in LLaVA's pre-training format.

    Garments come from left to right, each with its place of nine, for example
    ``2 garments: bag top left, boot middle``.

    Args:
        scenes: What :func:`read_scenes` gives; empty ones are left out.
        split: ``'train'`` or ``'val'``.
    """
    found = []
    for image, garments in scenes:
        if not garments:
            continue
        said = []
        for garment in sorted(garments, key=lambda g: g.x):
            down = ("top", "", "bottom")[min(int(3 * garment.y), 2)]
            across = ("left", "", "right")[min(int(3 * garment.x), 2)]
            place = " ".join(word for word in (down, across) if word) or "middle"
            said.append(f"{garment.word} {place}")
        plural = "s" * (len(garments) > 1)
        caption = f"{len(garments)} garment{plural}: {', '.join(said)}"
        found.append(
            {
                "id": f"{split}_caption_{len(found):06d}",
                "image": f"{FOLDERS[split]}/{image}",
                "conversations": [
                    {"from": "human", "value": "<image>"},
                    {"from": "gpt", "value": caption},
                ],
            }
        )
    return found


def shares(questions: Sequence[Question]) -> dict[str, Any]:
    """Number of questions of each type, and how common each answer is in it."""
    found = {}
    for kind in TYPES:
        answers = Counter(q.answer for q in questions if q.kind == kind)
        total = sum(answers.values())
        found[kind] = {
            "questions": total,
            "answers": {a: round(n / total, 4) for a, n in sorted(answers.items())},
        }
    return found


def question_sheet(
    questions: Sequence[Question], folder: Path, columns: int = 4
) -> Image.Image:
    """Draw images, and under each its question and answer.

    Args:
        questions: One or more.
        folder: Of their images.
        columns: Images in a row.
    """
    images = [
        Captioned(
            folder / one.image,
            [(one.text, "black"), (f"answer: {one.answer}", _ANSWER)],
        )
        for one in questions
    ]
    return captioned_sheet(images, columns)
