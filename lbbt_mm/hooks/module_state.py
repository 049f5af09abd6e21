"""What modules remember between batches and no state dict holds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

_PLAIN = (bool, int, float, str, type(None))
_OWN = set(vars(nn.Module()))  # torch's, such as `training`


def plain_attributes(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Read what modules keep in plain types: a size, a counter, a history.

    Args:
        model: mmdet's ``BatchSyncRandomResize`` keeps the size of the next batches in
            such an attribute, ``DynamicRoIHead`` what it has seen.

    Returns:
        Name of the module -> name of the attribute -> a copy of its value.
    """
    return {
        name: {
            key: copy.deepcopy(value)
            for key, value in vars(module).items()
            if key not in _OWN and _is_plain(value)
        }
        for name, module in model.named_modules()
    }


def changed_attributes(
    model: nn.Module, before: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Find what training has changed of them; settings stay the config's.

    Args:
        model: Of the run.
        before: From :func:`plain_attributes`, of when it began.
    """
    found = {
        name: {
            key: value
            for key, value in now.items()
            if key not in before.get(name, {}) or before[name][key] != value
        }
        for name, now in plain_attributes(model).items()
    }
    return {name: changes for name, changes in found.items() if changes}


def set_attributes(model: nn.Module, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Give modules back what they remembered.

    Args:
        model: Of the resumed run.
        state: From :func:`changed_attributes`; modules that are gone are left out.
    """
    modules = dict(model.named_modules())
    for name, changes in state.items():
        for key, value in changes.items():
            if name in modules:
                setattr(modules[name], key, copy.deepcopy(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return type(value) in _PLAIN
