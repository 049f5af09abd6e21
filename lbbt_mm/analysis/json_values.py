"""Results as what a JSON file can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def to_plain(value: Any) -> Any:
    """Turn the result of any measurement into dicts, lists and numbers.

    Named tuples and dataclasses become dicts of their fields, arrays and tensors
    nested lists, keys strings; nan and infinity stay what they are.

    Args:
        value: The result.

    Raises:
        TypeError: A part of it is none of these.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): to_plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(one) for one in value]
    raise TypeError(
        f"Expected a result of numbers, got {type(value).__name__}: name what of it "
        f"to keep."
    )
