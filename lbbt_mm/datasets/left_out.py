"""Files in a folder of images that a dataset leaves out without a word."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

_SHOWN = 3  # names of files in one sentence


def left_out(dataset: Any) -> str | None:
    """Say which files of its folder a dataset does not show, and why.

    mmpretrain's and mmseg's datasets list a folder and take what has one of their
    suffixes; hidden files and links to nowhere fall out as well.

    Args:
        dataset: With ``extensions`` or ``img_suffix``, and without a list of images.

    Returns:
        One sentence; None if nothing is left out, or it lists no folder on this
        machine.
    """
    suffixes = _suffixes(dataset)
    if suffixes is None:
        return None
    key, found = suffixes
    prefixes = getattr(dataset, "data_prefix", None) or {}
    folder = prefixes.get("img_path") or getattr(dataset, "data_root", None)
    if not folder or not os.path.isdir(folder):
        return None
    why: Counter[str] = Counter()
    names: list[str] = []
    hidden_folders = []
    for here, folders, files in os.walk(folder, followlinks=True):
        hidden_folders += [name for name in folders if name.startswith(".")]
        for name in files:
            reason = _reason(here, name, found, case=key == "img_suffix")
            if reason:
                why[reason] += 1
                names.append(os.path.relpath(os.path.join(here, name), folder))
    said = []
    if why:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(why.items()))
        shown = ", ".join(sorted(names)[:_SHOWN])
        more = ", ..." if len(names) > _SHOWN else ""
        said.append(
            f"{sum(why.values())} files are left out ({counts}: {shown}{more}); "
            f"{key} of the dataset says what an image is called"
        )
    if hidden_folders and key == "extensions" and getattr(dataset, "with_label", True):
        said.append(
            f"the hidden folder {hidden_folders[0]} counts as a class, and the classes "
            "after it have another number for it: remove it"
        )
    if not said:
        return None
    return f"{type(dataset).__name__}: of {folder}, {'; '.join(said)}."


def _suffixes(dataset: Any) -> tuple[str, tuple[str, ...]] | None:
    if getattr(dataset, "ann_file", None) and not os.path.isdir(dataset.ann_file):
        return None  # a list says which images there are
    for key in ("extensions", "img_suffix"):
        value = getattr(dataset, key, None)
        if value:
            return key, (value,) if isinstance(value, str) else tuple(value)
    return None


def _reason(here: str, name: str, suffixes: tuple[str, ...], case: bool) -> str | None:
    if name.startswith("."):
        return "hidden"
    if not (name if case else name.lower()).endswith(suffixes):
        return f"with the suffix {Path(name).suffix or 'none'}"
    path = os.path.join(here, name)
    if os.path.islink(path) and not os.path.exists(path):
        return "links to nowhere"
    return None


def say_left_out(dataset: Any) -> None:
    """Log once which files of its folder a dataset leaves out.

    Args:
        dataset: With images.
    """
    if getattr(dataset, "_left_out_said", False):
        return
    try:
        dataset._left_out_said = True
        said = left_out(dataset)
    except (AttributeError, OSError):  # slots, or a folder that may not be listed
        return
    if said:
        print_log(said, logger="current", level=logging.WARNING)
