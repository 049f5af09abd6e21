"""The commands that made a run, and those that make what is missing."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lbbt_mm.runs.measurement import MeasurementRecord
from lbbt_mm.runs.run import Run


def shown_path(path: Path | str) -> str:
    """Write a path as it is typed from here, and without the machine's folders."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def tidy_command(command: str) -> str:
    """Write a recorded command as it is typed in a clone of the repository."""
    command = re.sub(r"/[^\s'\"]*?/((?:tools|configs)/)", r"\1", command)
    return command.replace(str(Path.cwd()) + os.sep, "")


def recorded(records: Iterable[MeasurementRecord]) -> list[str]:
    """Give the commands that measurements say they come from."""
    found = [record.provenance.get("command") for record in records]
    return [tidy_command(str(command)) for command in found if command]


def train_command(run: Run, *options: str, folder: str = "") -> str:
    """Say how to train a run, or one that differs in some options.

    It is of the dumped config where the one that that came from is not here.

    Args:
        run: The run.
        options: ``KEY=VALUE`` each.
        folder: Name of its work folder, beside this run's.
    """
    given = [f"{key}={value}" for key, value in run.options.items()]
    config = run.config
    if run.dumped and not Path(config).is_file():
        config, given = str(run.dumped), []
    words = ["python", "tools/train.py", shown_path(config)]
    words += ["--cfg-options", *given, *options] if given or options else []
    words += ["--work-dir", shown_path(run.folder.parent / folder)] if folder else []
    return shlex.join(words)


def twin_command(run: Run, other: str) -> str:
    """Say how to train a run from the other initialisation: one key apart."""
    config = re.sub(rf"(?<=[_/-]){run.initialisation}(?=[_.-])", other, run.config)
    if config != run.config and Path(config).is_file():
        return train_command(replace(run, config=config))
    option = f"model.backbone.pretrained={other == 'language'}"
    return train_command(run, option, folder=f"{run.folder.name}_{other}")


def with_checkpoint(run: Run, command: Sequence[str]) -> str:
    """Say how to do something with a run's checkpoint, and first how to make that."""
    lines = [shlex.join(command)]
    if not (run.folder / run.last).is_file():
        lines.insert(0, train_command(run, folder=run.folder.name))
    return "\n".join(lines)


def probe_command(run: Run, when: str) -> str:
    """Say how to probe a run, ``'unbridged'`` or ``'bridged'``."""
    command = ["python", "tools/linear_probe.py", shown_path(run.dumped or run.config)]
    command += [shown_path(run.folder / run.last)] if when == "bridged" else []
    command += ["--out", f"{shown_path(run.folder)}/linear_probe_{when}.json"]
    return with_checkpoint(run, command) if when == "bridged" else shlex.join(command)


def analyze_command(run: Run | None, measurement: str, unbridged: bool = True) -> str:
    """Say how to measure a run, and with ``unbridged`` the model it started from."""
    if not run:
        return ""
    config = shown_path(run.dumped or run.config)
    words = ["python", "tools/analyze.py", config, shown_path(run.folder / run.last)]
    words += ["--unbridged"] if unbridged else []
    return with_checkpoint(run, [*words, "--only", measurement])
