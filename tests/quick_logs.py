"""Spares what only a log shows, and what takes most of the time of a small run."""

from __future__ import annotations

import time
from typing import Any

import mmengine._strategy.base
import mmengine.runner.runner
from yapf.yapflib import yapf_api


class _Clock:
    """Tells each run another second: mmengine names folders and visualizers by it."""

    def __init__(self, ahead: int) -> None:
        self.ahead, self.last = ahead, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        self.last = max(time.time() + self.ahead, self.last + 1)
        return self.last


def install(ahead: int = 0) -> None:
    """Leave configs in logs and checkpoints unformatted, and compilers unasked.

    Args:
        ahead: Seconds ahead of time, so that a run comes after those that were forked.
    """
    yapf_api.FormatCode = lambda text, **_: (text, True)
    clock = _Clock(ahead)
    for module in (mmengine.runner.runner, mmengine._strategy.base):
        module.collect_env = dict
        module.time = clock
