"""Variables of a config that was read by other means, and had no effect there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from lbbt_mm.config.chain import read_chain, reading_once
from lbbt_mm.config.load import LOADED, is_variable, read_handed_down
from lbbt_mm.config.names import changed_keys, effective, flat, no_effect


@reading_once()
def find_stale(path: str | Path, cfg: Config) -> str | None:
    """Find a variable that was set while everything made from it kept its old value.

    Args:
        path: Where the config was read from.
        cfg: The config as it is used.

    Returns:
        What to do about it; None if all is well, which is taken for granted of a config
        that :func:`lbbt_mm.config.load_config` read.
    """
    if str(path) in LOADED:
        return None
    plain = read_chain(path)[0]
    old, now = effective(plain), dict(flat(effective(cfg)))
    _, _, below = read_handed_down(path)
    for file, values in below.items():
        for name in values:
            kept = {n: v for n, v in values.items() if n != name}
            rest = effective(read_chain(path, None, {**below, file: kept})[0])
            new = effective(read_chain(path, None, below)[0])
            keys = _untouched(changed_keys(rest, new), old, new, now)
            if keys:
                return _sentence(file, name, keys, new)
    for name in list(plain):
        if not is_variable(name, plain) or name not in cfg or cfg[name] == plain[name]:
            continue
        new = effective(read_chain(path, {name: cfg[name]})[0])
        made = changed_keys(old, new)
        keys = _untouched(made, old, new, now)
        if keys:
            return _sentence("the run", name, keys, new)
        # As in the config that a run left in its folder: nothing is made from names.
        set_too = changed_keys(old, effective(cfg))
        if not made and cfg[name] not in [now.get(key) for key in set_too]:
            return no_effect(name, plain, "the run")
    return None


def _untouched(
    keys: list[str],
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    now: Mapping[str, Any],
) -> list[str]:
    """Give the keys back if every one of them has the old value and not the new."""
    before, after = dict(flat(old)), dict(flat(new))
    stale = [k for k in keys if now.get(k) == before.get(k) != after.get(k)]
    return keys if stale == keys else []


def _sentence(where: str, name: str, keys: list[str], new: Mapping[str, Any]) -> str:
    after = dict(flat(new))
    pairs = ", ".join(f"{key}={after.get(key)!r}" for key in keys[:3])
    return (
        f"{where} sets {name}, but this config was read by mmengine alone, which had "
        f"made everything from {name} before: set {pairs}, or use tools/train.py or "
        "lbbt_mm.config.load_config, where it takes effect."
    )
