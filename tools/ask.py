"""Ask a trained LLaVA about an image.

Answers go to standard output, one a line, all else to standard error. With a LangBridge
projector, --words writes a picture of the image with the top words on its patches.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import _launch

_launch.hide_gpus_if_asked()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="of the trained LLaVA")
    parser.add_argument("image", type=Path, help="any image file")
    parser.add_argument("question", nargs="+", help="each is asked by itself")
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


def main() -> None:
    """Open, ask and draw."""
    args = parse_args()
    from PIL import Image

    try:
        with Image.open(args.image) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError) as error:
        _launch.fail(f"{args.image}: expected an image, got none ({error}).")
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
        if not args.words:
            return
        tile, grid, words, weights = asked.words(image, args.most)
    except (CheckpointError, ValueError, ImportError, OSError) as error:
        _launch.fail(str(error))
    picture = word_patches(tile, grid, words, weights, args.most)
    _launch.write_or_fail("the picture", args.words, picture.save)


if __name__ == "__main__":
    main()
