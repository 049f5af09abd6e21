"""The commands that made a run, and those that make what is missing."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
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
    command = command.replace(" --initial ", " --unbridged ")  # its name in 0.1.0
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

    Returns:
        The command; like all here, empty where the files that it needs are not.
    """
    given = [f"{key}={value}" for key, value in run.options.items()]
    config: Path | str | None = run.config
    if not Path(run.config).is_file():
        config, given = run.dumped, []
    if not config:
        return ""
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


def probe_command(run: Run, when: str) -> str:
    """Say how to probe a run, ``'unbridged'`` or ``'bridged'``."""
    out = ["--out", f"{shown_path(run.folder)}/linear_probe_{when}.json"]
    return model_command(run, "linear_probe", *out, trained=when == "bridged")


def analyze_command(run: Run | None, measurement: str, unbridged: bool = True) -> str:
    """Say how to measure a run, and with ``unbridged`` the model it started from."""
    options = ["--unbridged"] if unbridged else []
    return model_command(run, "analyze", *options, "--only", measurement) if run else ""


def model_command(run: Run, tool: str, *options: str, trained: bool = True) -> str:
    """Say how to do something with a run's model, and first how to make that.

    Args:
        run: The run.
        tool: Name in ``tools/``.
        options: Of the tool.
        trained: Whether it is the run's checkpoint, or the model as it is built.
    """
    config = run.dumped or (run.config if Path(run.config).is_file() else None)
    words = ["python", f"tools/{tool}.py", shown_path(config or ".")]
    lines = []
    if trained:
        words.append(shown_path(run.folder / run.last))
        if not (run.folder / run.last).is_file():
            lines.append(train_command(run, folder=run.folder.name))
    known = config and (run.last or not trained) and all(lines)
    return "\n".join([*lines, shlex.join([*words, *options])]) if known else ""
