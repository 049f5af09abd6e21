"""Ask a trained LLaVA about an image.

Answers go to standard output, one a line, all else to standard error. Opening the model
takes most of the time, so give several questions at once, or none: then they are read
from standard input, one a line, until an empty one, and a line that names an image file
changes the image. With a LangBridge projector, --words writes a picture of the image
with the top words on its patches.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import _launch

_launch.hide_gpus_if_asked()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/ask.py work_dirs/llava-smollm2_language_stage2_plain-questions/"
        "iter_500.pth \\\n      data/plain_scenes/images/validation/val_000000.png "
        '"How many garments are there?"',
    )
    parser.add_argument("checkpoint", type=Path, help="of the trained LLaVA")
    parser.add_argument("image", type=Path, help="any image file")
    parser.add_argument(
        "question", nargs="*", help="each is asked by itself; none: a conversation"
    )
    parser.add_argument(
        "--config", type=Path, help="default: the one that the checkpoint carries"
    )
    parser.add_argument(
        "--words", type=Path, metavar="FILE.png", help="picture of the words to write"
    )
    parser.add_argument(
        "--most", type=int, default=3, help="words a patch, default: %(default)s"
    )
    _launch.add_device_option(parser)
    args = parser.parse_args()
    if args.most < 1:
        parser.error("--most must be at least 1")
    return args


def read_image(path: Path) -> Any:
    """Read an image file.

    Raises:
        ValueError: It is none.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file).convert("RGB")  # as cameras hold it
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: expected an image, got none ({error}).") from error


def converse(asked: Any, image: Any) -> None:
    """Answer the lines of standard input, each by itself."""
    prompt = "question, or an image file (empty line ends)> "
    while True:
        print(prompt * sys.stdin.isatty(), end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        try:
            if os.path.isfile(line):  # any line: Path.is_file fails on a long one
                image = read_image(Path(line))
            else:
                print(asked.answer(image, line), flush=True)
        except ValueError as error:  # the next may be better
            print(error, file=sys.stderr, flush=True)


def main() -> None:
    """Open, ask and draw."""
    args = parse_args()
    _launch.check_checkpoint(str(args.checkpoint), local=True)
    try:
        image = read_image(args.image)
    except ValueError as error:
        _launch.fail(str(error))
    from mmengine.logging import MMLogger

    from lbbt_mm.language.errors import CheckpointError
    from lbbt_mm.models.multimodal.answering import open_answering
    from lbbt_mm.report.word_patches import word_patches

    MMLogger.get_instance("mmengine", log_level="WARNING")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        asked = open_answering(args.checkpoint, args.config)
        for question in args.question:
            print(asked.answer(image, question), flush=True)
        if not args.question:
            converse(asked, image)
        if not args.words:
            return
        tile, grid, words, weights = asked.words(image, args.most)
    except (CheckpointError, ValueError, ImportError, OSError) as error:
        _launch.fail(str(error))
    picture = word_patches(tile, grid, words, weights, args.most)
    _launch.write_or_fail("the picture", args.words, picture.save)


if __name__ == "__main__":
    main()
