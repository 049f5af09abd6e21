"""Schedulers that follow when a run is made shorter or longer."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config

from lbbt_mm.config.names import ConfigError

_UNITS = {"max_epochs": True, "max_iters": False}
_FOREVER = 10**8  # mmengine's INF is 10**9


def follow_length(
    cfg: Config,
    written: Mapping[str, Any],
    others: Iterable[Mapping[str, Any]] = (),
) -> Iterator[str]:
    """Fit the schedulers to a changed ``train_cfg.max_epochs`` or ``max_iters``.

    What ended at the old length ends at the new one. A warm-up and milestones stay
    where they are while they fit, and shrink in proportion where they do not; a part
    that is left with no epoch or iteration at all is taken out.

    Args:
        cfg: The config with the new length; edited in place. What it sets of a
            scheduler itself, other than ``written``, is left alone.
        written: The config before anything was set over it.
        others: ``train_cfg`` of the files that it is based on, the nearest first.

    Yields:
        At most one line for the log.

    Raises:
        ConfigError: The length is not a positive whole number, or is counted in other
            units than the config's.
    """
    train, before = cfg.get("train_cfg") or {}, written.get("train_cfg") or {}
    key = _check_length(train, before)
    if key is None:
        return
    new, by_epoch = train[key], _UNITS[key]
    every, theirs = (_schedulers(c.get("param_scheduler")) for c in (cfg, written))
    both = [
        (part, theirs[i] if len(theirs) == len(every) else part)
        for i, part in enumerate(every)
        if isinstance(part, dict)
    ]
    pairs = [pair for pair in both if pair[0].get("by_epoch", True) == by_epoch]
    in_iters = [pair for pair in both if by_epoch > pair[0].get("by_epoch", True)]
    old: Any = before.get(key)
    late = [(part, was) for part, was in pairs if part.get("begin", 0) >= new]
    for part, was in late:
        if part["begin"] != was.get("begin", 0):
            raise ConfigError(
                f"{_name(part)} begins at {part['begin']}, but train_cfg.{key} is "
                f"{new}: it has to begin before the end."
            )
    if any(p.get("begin", 0) < 0 or p.get("T_max", 1) < 1 for p, _ in pairs):
        for part, was in pairs:  # a variable made it: `max_epochs - 15`, of 3
            part.update(copy.deepcopy(dict(was)))
    elif late and (old == new or not isinstance(old, int)):
        # The file itself says so: what would not even start.
        old = next((o[key] for o in others if o.get(key, new) != new), None)
        old = old or int(max(_inner(pairs, float("inf")))) + 1
    elif not isinstance(old, int):
        old = new
    shrink = any(mark >= new for mark in _inner(pairs, old))

    def move(mark: Any) -> Any:
        if mark >= _FOREVER or not 0 < mark:
            return mark
        if mark >= old:
            return -(-mark * new // old)
        if not shrink:
            return mark
        return 0 if new == 1 else max(1, min(new - 1, int(mark * new / old)))

    changes, gone = [], []
    for part, was in pairs:
        name, now = _name(part), dict(part)
        span = was.get("end", old) - was.get("begin", 0)
        for side in ("begin", "end"):
            if side in part and part[side] == was.get(side):
                part[side] = move(part[side])
        if part.get("begin", 0) >= part.get("end", new):
            gone.append(part)
            changes.append(f"{name} left out")
            continue
        if old == new:
            continue
        length = part.get("end", new) - part.get("begin", 0)
        lengths = {old: new, was.get("end", old): part.get("end", new), span: length}
        for side in ("T_max", "total_steps"):
            if side in part and part[side] == was.get(side):
                part[side] = lengths.get(part[side], part[side])
        if "milestones" in part and part["milestones"] == was.get("milestones"):
            kept = sorted({move(mark) for mark in part["milestones"]})
            part["milestones"] = [mark for mark in kept if mark]
        periods = part.get("periods") or [0]
        if sum(periods) in (span, old) and part["periods"] == was.get("periods"):
            first = [max(1, int(p * length / sum(periods))) for p in periods[:-1]]
            part["periods"] = [*first, max(1, length - sum(first))]
        changes += [
            f"{name}.{side} {now[side]} -> {part[side]}"
            for side in now
            if now[side] != part[side]
        ]
    if new < old and any(part.get("begin", 0) > 0 for part, _ in in_iters):
        # The number of iterations is not known yet; it shrinks as the epochs do.
        for part, was in in_iters:
            for side in ("begin", "end", "T_max"):
                mark = part.get(side, 0)
                if 0 < mark < _FOREVER and mark == was.get(side):
                    part[side] = max(1, int(mark * new / old))
                    changes.append(f"{_name(part)}.{side} {mark} -> {part[side]}")
    if gone:
        cfg.param_scheduler = _without(cfg.param_scheduler, gone)
    if changes:
        length = f"{new} instead of {old}" if old != new else f"{new}"
        yield (
            f"train_cfg.{key} is {length}; the schedulers follow: {', '.join(changes)}."
        )


def _check_length(train: Mapping[str, Any], written: Mapping[str, Any]) -> str | None:
    keys = [key for key in _UNITS if train.get(key) is not None]
    before = [key for key in _UNITS if written.get(key) is not None]
    if len(keys) == 2 and len(before) == 1:
        added = next(key for key in keys if key not in before)
        raise ConfigError(
            f"train_cfg.{added} does not fit a config that counts in "
            f"{before[0].removeprefix('max_')}: set train_cfg.{before[0]} instead."
        )
    if len(keys) != 1:
        return None
    value = train[keys[0]]
    if value != written.get(keys[0]) and (type(value) is not int or value < 1):
        raise ConfigError(
            f"train_cfg.{keys[0]} expects a positive whole number, got {value!r}."
        )
    return keys[0]


def _name(part: Mapping[str, Any]) -> str:
    return getattr(part["type"], "__name__", part["type"])


def _schedulers(node: Any) -> list[Any]:
    """List the schedulers of one optimiser or of several."""
    if isinstance(node, dict) and "type" not in node:
        return [part for one in node.values() for part in _schedulers(one)]
    return list(node) if isinstance(node, (list, tuple)) else [node]


def _without(node: Any, gone: list[Any]) -> Any:
    if isinstance(node, dict) and "type" not in node:
        return {name: _without(one, gone) for name, one in node.items()}
    if not isinstance(node, (list, tuple)):
        return None if any(node is part for part in gone) else node
    return [part for part in node if not any(part is one for one in gone)]


def _inner(pairs: Iterable[tuple[Any, Any]], old: float) -> list[Any]:
    """List where a scheduler begins, ends or steps within the old length.

    What was set over the config is not among it.
    """
    marks: list[Any] = []
    for part, was in pairs:
        for side in ("begin", "end", "milestones"):
            if side in part and part[side] == was.get(side):
                mark = part[side]
                marks += mark if isinstance(mark, (list, tuple)) else [mark]
    return [mark for mark in marks if 0 < mark < min(old, _FOREVER)] or [0]
