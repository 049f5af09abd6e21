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
    if getattr(dataset, "ann_file", None) and not os.path.isdir(dataset.ann_file):
        return None  # a list says which images there are
    keys = [k for k in ("extensions", "img_suffix") if getattr(dataset, k, None)]
    prefixes = getattr(dataset, "data_prefix", None) or {}
    folder = prefixes.get("img_path") or getattr(dataset, "data_root", None)
    if not keys or not folder or not os.path.isdir(folder):
        return None
    suffixes = getattr(dataset, keys[0])
    suffixes = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    why: Counter[str] = Counter()
    names: list[str] = []
    hidden_folders = []
    for here, folders, files in os.walk(folder, followlinks=True):
        hidden_folders += [name for name in folders if name.startswith(".")]
        for name in files:
            path = os.path.join(here, name)
            # mmpretrain looks at suffixes in lower case, mmseg as they are written.
            seen = name if keys[0] == "img_suffix" else name.lower()
            if name.startswith("."):
                why["hidden"] += 1
            elif not seen.endswith(suffixes):
                why[f"with the suffix {Path(name).suffix or 'none'}"] += 1
            elif os.path.islink(path) and not os.path.exists(path):
                why["links to nowhere"] += 1
            else:
                continue
            names.append(os.path.relpath(path, folder))
    said = []
    if why:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(why.items()))
        shown = ", ".join(sorted(names)[:_SHOWN])
        more = ", ..." if len(names) > _SHOWN else ""
        said.append(
            f"{len(names)} files are left out ({counts}: {shown}{more}); "
            f"{keys[0]} of the dataset says what an image is called"
        )
    labelled = keys[0] == "extensions" and getattr(dataset, "with_label", True)
    if hidden_folders and labelled:
        said.append(
            f"the hidden folder {hidden_folders[0]} counts as a class, and the classes "
            "after it have another number for it: remove it"
        )
    if not said:
        return None
    return f"{type(dataset).__name__}: of {folder}, {'; '.join(said)}."


def say_left_out(dataset: Any) -> None:
    """Log once which files of its folder a dataset leaves out."""
    if getattr(dataset, "_left_out_said", False):
        return
    try:
        dataset._left_out_said = True
        said = left_out(dataset)
    except (AttributeError, OSError):  # slots, or a folder that may not be listed
        return
    if said:
        print_log(said, logger="current", level=logging.WARNING)
