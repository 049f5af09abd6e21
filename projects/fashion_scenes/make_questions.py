"""Make visual questions about the fashion scenes, in LLaVA's format.

What is it, how many, where, which is larger; training questions about training scenes,
held-out ones about validation scenes; beside them the training questions gathered by
image, and captions of the training scenes. The same options make the same files.
docs/vqa.md tells more.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import _launch  # noqa: E402

_launch.require_torch()

_QUESTIONS_TOGETHER = 3  # about an image in one training conversation


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for name, default, text in (
        ("scenes", "data/fashion_scenes", "folder that make_fashion_scenes.py made"),
        ("out", "data/fashion_questions", "folder to make; must not exist"),
    ):
        parser.add_argument(
            f"--{name}", type=Path, default=Path(default), metavar="DIR", help=text
        )
    for name, number, text in (
        ("train", 3000, "at most so many training questions of each type"),
        ("val", 300, "the same of held-out questions"),
        ("seed", 0, "another seed, other questions"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=number, metavar="N", help=text
        )
    return parser.parse_args()


def main() -> None:
    """Make the questions, whole or not at all."""
    args = parse_args()
    from fashion_scenes.blind import blind_accuracy
    from fashion_scenes.files import refuse_existing
    from fashion_scenes.questions import (
        FOLDERS,
        TYPES,
        as_llava,
        by_image,
        captions,
        make_questions,
        question_sheet,
        read_scenes,
        shares,
    )

    from lbbt_mm.progress import follow

    made, described = {}, []
    try:
        refuse_existing(args.out)
        for split in FOLDERS:
            scenes = read_scenes(args.scenes, split)
            shown = follow(scenes, split, unit="scenes")
            made[split] = make_questions(shown, split, getattr(args, split), args.seed)
            if split == "train":
                described = captions(scenes, split)
    except (ValueError, OSError) as error:
        _launch.fail(str(error))
    numbers = {name: getattr(args, name) for name in ("train", "val", "seed")}
    options = [f"--{name} {value}" for name, value in numbers.items()]
    summary = {
        "command": shlex.join(
            [
                "python",
                "projects/fashion_scenes/make_questions.py",
                *" ".join(options).split(),
            ]
        ),
        "questions": {split: shares(found) for split, found in made.items()},
        "blind_accuracy_on_val": {
            f"commonest_answer_of_the_{name}": blind_accuracy(
                made["train"], made["val"], by
            )
            for name, by in (("question_type", "kind"), ("question", "text"))
        },
    }
    # A column a type: three questions with three answers.
    firsts = {
        kind: list({q.answer: q for q in made["val"] if q.kind == kind}.values())
        for kind in TYPES
    }
    examples = [
        firsts[k][row] for row in range(3) for k in TYPES if row < len(firsts[k])
    ]
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{args.out.name}.part-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=args.out.parent) as hidden:
            part = Path(hidden, args.out.name)
            part.mkdir()
            files = {split: as_llava(found, split) for split, found in made.items()}
            files["train_by_image"] = by_image(files["train"], _QUESTIONS_TOGETHER)
            files["captions"] = described
            for name, records in files.items():
                text = json.dumps(records, indent=1) + "\n"
                (part / f"{name}.json").write_text(text, encoding="utf-8")
            text = json.dumps(summary, indent=2) + "\n"
            (part / "summary.json").write_text(text, encoding="utf-8")
            folder = args.scenes / "images" / FOLDERS["val"]
            question_sheet(examples, folder).save(part / "examples.png", optimize=True)
            os.rename(part, args.out)
    except OSError as error:
        _launch.fail_to_write("the questions", args.out, error)
    for split, parts in summary["questions"].items():
        for kind, found in parts.items():
            common = max(found["answers"].values())
            print(
                f"{split} {kind}: {found['questions']} questions, the commonest answer "
                f"is that of {100 * common:.1f} %"
            )
    for name, found in summary["blind_accuracy_on_val"].items():
        print(f"{name}: " + ", ".join(f"{k} {v:.1f} %" for k, v in found.items()))
    print(f"Written to {args.out}; {args.out / 'examples.png'} shows some of them")


if __name__ == "__main__":
    main()
