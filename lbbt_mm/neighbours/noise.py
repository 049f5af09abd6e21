"""What other libraries say that tells a user nothing, each with the reason.

A pattern is matched at the beginning of what is said. Where a run writes a log file,
all but prints still goes there; ``tools/train.py --verbose`` shows everything.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO, cast

#: Log records that go into the log file only.
LOGGED = {
    r"\n-+\nSystem environment:": "of use in a bug report: the file has it",
    r"Config:\n": "250 lines; the file and the dumped config have it",
    r"Hooks will be executed in the following order": "90 lines of machinery",
    r"Distributed training is not used, all SyncBatchNorm": "said of every model",
    r"Checkpoints will be saved to ": "said at the beginning, with the log's name",
    r"Exp name: ": "the name of the log file, again and again",
    r"Saving checkpoint at ": "as often as the config asks for",
    r"paramwise_options -- ": "a line for each parameter; the config says it in one",
    r"\S+ is skipped since its requires_grad=False": "a line for each frozen parameter",
    r'Failed to search registry with scope "lbbt_mm"': "mmengine's own, found there",
    r"The prefix is not set in metric class": "its names are as they are meant to be",
    r'"FileClient" will be deprecated': "mmengine says it of its own code",
    r'"HardDiskBackend" is the alias of': "the same",
}
#: Printed, on either stream, in the middle of a run or while a library is imported.
PRINTED = {
    r"Could not import OneDL": "data sets of another product, which nobody asked for",
    r"loading annotations into memory|creating index|index created!": (
        "pycocotools, at every file that it reads"
    ),
    r"Loading and preparing results|Accumulating eval|Running per image eval": (
        "the same, before every table; the table is shown"
    ),
    r"D(ONE|one) \(t=": "the same, after each of these",
    r"Evaluate annotation type ": "the same; the log has said it",
    r"Loads checkpoint by \w+ backend": "of each file; the headline names it",
    r"You are using the default legacy behaviour of": (
        "transformers, of every LLaMA tokeniser; it says itself that nothing changes"
    ),
    r"`torch_dtype` is deprecated": "the name that every transformers since 4.45 takes",
}
#: Warnings of Python's module ``warnings``.
WARNED = {
    "faster_coco_eval is not installed": "of a metric that the config does not use",
    r"Default ``avg_non_ignore`` is False": "mmseg's default, in its own configs too",
    "The draw is False, it means": "nobody asked for pictures; --show-dir does",
    "Fail to import ``MultiScaleDeformableAttention``": (
        "mmcv without compiled ops; a config that needs them is refused in a sentence"
    ),
    "'HTTP_422_UNPROCESSABLE_ENTITY' is deprecated": "gradio, of its own code",
    "To copy construct from a tensor, it is recommended": "mmdet, of its own code",
}


class _ToFileOnly(logging.Filter):
    """Keep what :data:`LOGGED` lists off the screen."""

    _noise = re.compile("|".join(LOGGED))

    def filter(self, record: logging.LogRecord) -> bool:
        return not self._noise.match(record.getMessage())


def hush_logger(logger: logging.Logger) -> None:
    """Keep what :data:`LOGGED` lists out of a logger's console, not of its file.

    Args:
        logger: Of a run.
    """
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_ToFileOnly())


class _Screen:
    """A stream without what :data:`PRINTED` lists."""

    _noise = re.compile("|".join(PRINTED))

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left_out = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Pass on a text, unless it, or the line that it ends, is left out."""
        if not text:
            return 0
        ends, self._left_out = self._left_out and text == "\n", False
        if ends or self._noise.match(text):
            self._left_out = not text.endswith("\n")
            return len(text)
        return self._stream.write(text)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Leave out what :data:`PRINTED` and :data:`WARNED` list, for a while."""
    out, err = (_Screen(stream) for stream in (sys.stdout, sys.stderr))
    with (
        contextlib.redirect_stdout(cast(TextIO, out)),
        contextlib.redirect_stderr(cast(TextIO, err)),
        warnings.catch_warnings(),
    ):
        for pattern in WARNED:
            warnings.filterwarnings("ignore", message=pattern)
        yield
