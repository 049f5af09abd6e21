"""Command lines: parsers that end in one sentence, and kinds of arguments."""

from __future__ import annotations

import argparse
import difflib
import re
from pathlib import Path
from typing import NoReturn


class _Parser(argparse.ArgumentParser):
    """One that ends in one sentence, without the usage of thirty options."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        options = re.findall(r"--[a-z][\w-]*", self.format_usage())
        near = []
        if unknown:
            near = difflib.get_close_matches(unknown[1], options, 1, 0.75)
        hint = f": did you mean {near[0]}?" if near else " (--help lists all options)."
        self.exit(2, f"{self.prog}: error: {message}{hint}\n")


def argument_parser(
    description: str | None, example: str = ""
) -> argparse.ArgumentParser:
    """Make a parser that shows a docstring as it is written.

    Args:
        description: The docstring.
        example: A command that works as it stands, from the repository's root.
    """
    return _Parser(
        description=description,
        epilog=example and f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def named_path(text: str) -> tuple[str, Path]:
    """Read an argument that is ``NAME=PATH``."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"expected NAME=PATH, got {text!r}")
    return name, Path(path)


def positive(text: str) -> int:
    """Read an argument that counts something."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number above 0, got {text!r}"
        )
    return int(text)


class KeyValue(argparse.Action):
    """mmengine's DictAction, imported when there are values.

    It ends in an unpacking traceback on a word without '='.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        for word in values:
            if "=" not in word:
                parser.error(
                    f"{option_string} expects KEY=VALUE, got {word!r}, for example "
                    "optim_wrapper.optimizer.lr=1e-3"
                )
        from mmengine.config import DictAction

        action = DictAction(self.option_strings, self.dest, nargs="+")
        action(parser, namespace, values, option_string)
