"""Draw what one or more models answered about the same images.

Each ANSWERS is NAME=FILE.json, written by VQAMetric(out_file=...):
tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.out_file=FILE.json.
Under each image stand the question, the right answer and what each model said.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _launch

_launch.require_torch()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/answer_sheet.py language=answers.json --out sheet.png",
    )
    parser.add_argument(
        "answers",
        nargs="+",
        type=_launch.named_path,
        metavar="ANSWERS",
        help="NAME=FILE.json",
    )
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument(
        "--count", type=int, default=3, help="of each type, default: %(default)s"
    )
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first, default: %(default)s"
    )
    parser.add_argument(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="where the images lie, if neither here nor beside the answers",
    )
    args = parser.parse_args()
    if args.count < 1 or args.first < 0:
        parser.error("--count must be at least 1, --first at least 0")
    return args


def main() -> None:
    """Read, draw and write."""
    args = parse_args()
    from lbbt_mm.report.answers import (
        answer_sheet,
        choose_questions,
        read_answers,
        refuse_paths_outside,
    )

    try:
        models = {name: read_answers(file) for name, file in args.answers}
        for name, file in args.answers:
            folders = [Path.cwd(), file.parent, *args.images]
            refuse_paths_outside(models[name], folders)
        chosen = choose_questions(next(iter(models.values())), args.count, args.first)
        sheet = answer_sheet(models, chosen)
    except (ValueError, OSError) as error:
        _launch.fail(str(error))
    _launch.write_or_fail("the picture", args.out, sheet.save)
    print(f"Written to {args.out}")


if __name__ == "__main__":
    main()
