"""Copy what a page is made from, small enough to be kept beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lbbt_mm.files import write_whole
from lbbt_mm.report.gather import Gathered
from lbbt_mm.report.records import FOLDER

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
    runs are copied, not its table.

    Args:
        found: What was gathered.
        folder: Where to; a folder for each parent of runs, such as a sweep's name.

    Returns:
        The files.

    Raises:
        OSError: One could not be read or written.
    """
    written = []
    homes = {run.folder for run in found.runs if run.folder.is_dir()}
    for home in sorted({*homes, *_probed_before(homes)}):
        target = folder / home.parent.name / home.name
        names = [home / name for name in (*_TEXTS, *_RESULTS)]
        names += sorted(home.glob("linear_probe*.json"))
        names += sorted((home / FOLDER).rglob("*.json"))
        for path in names:
            if not path.is_file():
                continue
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                text = json.dumps(_short(json.loads(text))) + "\n"
            text = without_machine(text)
            text = text.replace(str(home.parent.resolve()), home.parent.name)
            out = target / path.relative_to(home)
            write_whole(out, text)
            written.append(out)
    return written


def without_machine(text: str) -> str:
    """Write paths as they are in a clone of the repository."""
    return _MACHINE.sub("", text)


def _probed_before(homes: Sequence[Path] | set[Path]) -> set[Path]:
    """Find the folders that hold the probes of the same models before training."""
    found = set()
    for home in homes:
        path = home / "result.json"
        record = json.loads(path.read_text("utf-8-sig")) if path.is_file() else {}
        before = home.parent / str(record.get("before"))
        if before.is_dir():
            found.add(before)
    return found


def _short(value: Any) -> Any:
    """Drop the digits that nobody reads; a float keeps six."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list) else value
