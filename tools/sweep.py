"""Moved to projects/paper/sweep.py, which this runs; will go with the next release."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import _launch

if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    moved = root / "projects" / "paper" / "sweep.py"
    if not moved.is_file():
        _launch.fail("sweeps are in projects/paper of the repository: clone it.")
    print(
        "tools/sweep.py is deprecated: use projects/paper/sweep.py, and plans of "
        "projects/paper/configs/sweeps/.",
        file=sys.stderr,
    )
    for place, word in enumerate(sys.argv):
        if word.startswith("configs/sweeps/") and not os.path.exists(word):
            sys.argv[place] = os.path.relpath(moved.parent / word)
    sys.path.insert(0, str(moved.parent))
    runpy.run_path(str(moved), run_name="__main__")
