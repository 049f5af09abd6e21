"""Copy what a page is made from, small enough to be kept beside it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from lbbt_mm.files import write_whole
from lbbt_mm.runs.files import read_text
from lbbt_mm.runs.find import Gathered
from lbbt_mm.runs.measurement import FOLDER

_TEXTS = ("config.py", "last_checkpoint")
_RESULTS = ("settings.json", "result.json", "test.json", "cost.json")
# Folders of the machine, before what lies in a clone of the repository.
_MACHINE = re.compile(
    r"(?:/[\w.+~-]+)*/(?=(?:work_dirs|tools|configs|data|docs)/)"
    r"|(?:/[\w.+~-]+)+/bin/(?=python)"
)


def collect(found: Gathered, folder: Path) -> list[Path]:
    """Copy runs and their measurements, without weights, logs and this machine's paths.

    ``tools/report.py FOLDER`` makes the same page of the copies. Of a sweep only its
    runs are copied, not its table. Only files that lie in the runs' own folders, and
    those that were fit for the page, are copied.

    Args:
        found: What was gathered.
        folder: Where to; a folder for each parent of runs, such as a sweep's name.

    Returns:
        The files.

    Raises:
        OSError: One could not be read or written.
    """
    written = []
    for home in sorted(_homes(found)):
        place = Path(os.path.abspath(home))
        target = folder / place.parent.name / place.name
        names = [home / name for name in (*_TEXTS, *_RESULTS)]
        names += sorted(home.glob("linear_probe*.json"))
        names += sorted((home / FOLDER).rglob("*.json"))
        for path in names:
            if not path.exists() or path in found.left_out:
                continue
            try:
                text = read_text(path, home)
                if path.suffix == ".json":
                    text = json.dumps(_short(json.loads(text))) + "\n"
            except (ValueError, RecursionError):
                continue  # nor is it on the page, which names it
            text = without_machine(text)
            text = text.replace(str(home.parent.resolve()), place.parent.name)
            out = target / path.relative_to(home)
            write_whole(out, text)
            written.append(out)
    return written


def without_machine(text: str) -> str:
    """Write paths as they are in a clone of the repository."""
    return _MACHINE.sub("", text)


def _homes(found: Gathered) -> set[Path]:
    """Find the runs' folders, and those of the probes of their models before training.

    Both have plain names, and lie below the folders that were looked through.
    """
    homes = {run.folder for run in found.runs}
    homes |= {run.folder.parent / run.before for run in found.runs if run.before}
    roots = [folder.resolve() for folder in found.folders]
    return {
        home
        for home in homes
        if home.is_dir() and any(home.resolve().is_relative_to(root) for root in roots)
    }


def _short(value: Any) -> Any:
    """Drop the digits that nobody reads; a float keeps six."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list) else value
