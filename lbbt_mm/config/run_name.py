"""Name of a run's work folder: the config's, in the words of the knobs set over it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbbt_mm.config.load import read_handed_down


def run_name(path: str | Path, options: Mapping[str, Any]) -> str:
    """Name a run after its config and what a command makes of it.

    Two models, or two kinds of labels, have two work folders, also where one config and
    a variable of it make both. A field of the config's name that says such a variable
    changes with it; where there is no such field, the variable is added. How long and
    how fast a run learns is not in its name, so that a longer one can go on from it.

    Args:
        path: The config.
        options: What the command sets over it, by dotted key.

    Returns:
        The file's name without its ending, if no such variable is set to another value.

    Example:
        >>> run_name("configs/bridge/gpt2-medium_language_random100_400e_cifar10.py",
        ...          {"random_ratio": 0.15, "trainable_layers": "first:5"})
        'gpt2-medium_language-first5_random15_400e_cifar10'
    """
    name = Path(path).stem
    if not options.keys() & _WORDS.keys():
        return name
    cfg = read_handed_down(path)[0]
    for knob, word in _WORDS.items():
        if knob not in options or knob not in cfg or options[knob] == cfg[knob]:
            continue
        old, new = _clean(word(cfg[knob])), _clean(word(options[knob]))
        there = rf"(?<![^_-]){re.escape(old)}(?![^_-])"
        if knob in _BEHIND and not re.search(there, name):
            there = _BEHIND[knob]
            new = f"\\g<0>-{new}"
        if re.search(there, name):
            name = re.sub(there, new, name, count=1)
        else:
            name += f"_{new.rpartition('>-')[2]}"
    return name


def _clean(word: str) -> str:
    """Leave what a folder's name may hold."""
    return re.sub(r"[^\w.+-]+", "-", word).strip("-")


def _ratio(value: Any) -> str:
    """A share of random labels in per cent."""
    if not isinstance(value, (int, float)):
        return f"random-{value}"
    return f"random{100 * value:g}" if value else "true"


def _labels(value: Any) -> str:
    """A share of the labels in per cent, or a number of them."""
    return f"labels{100 * value:g}" if isinstance(value, float) else f"{value}labels"


_WORDS = {
    "language_model": lambda value: Path(str(value)).name.lower(),
    "pretrained": lambda value: "language" if value else "scratch",
    "trainable_layers": lambda value: re.sub(r"[ :]", "", str(value)),
    "bridge_checkpoint": lambda value: "bridged",
    "random_ratio": _ratio,
    "labels": _labels,
    "langbridge": lambda value: "langbridge" if value else "llava",
}
_BEHIND = {  # what stands in front of them
    "trainable_layers": r"(?<=_)(?:language|scratch)(?:-bridged)?(?=[-_]|$)",
    "bridge_checkpoint": r"(?<=_)(?:language|scratch)(?=[-_]|$)",
}
