"""Spares what only a log shows, and what takes most of the time of a small run."""

from __future__ import annotations

import mmengine._strategy.base
import mmengine.runner.runner
from yapf.yapflib import yapf_api


def install() -> None:
    """Leave configs in logs and checkpoints unformatted, and compilers unasked."""
    yapf_api.FormatCode = lambda text, **_: (text, True)
    mmengine.runner.runner.collect_env = dict
    mmengine._strategy.base.collect_env = dict
