"""What the dataset wrappers do with their arguments: check, draw by, pass inward."""

from __future__ import annotations

import copy
import numbers
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np


def private_stream(
    purpose: int, num_images: int, num_classes: int, seed: int
) -> np.random.RandomState:
    """A private generator, a pure function of its arguments.

    NumPy froze ``RandomState`` for good (NEP 19) and may still improve
    ``default_rng``, which would silently relabel every image of a resumed run.

    Args:
        purpose: What the numbers are used for; two purposes never share a stream, so
            that, say, the choice of images says nothing about their labels.
        num_images: Number of images.
        num_classes: Number of classes.
        seed: 0 or more, of any size.
    """
    words = [purpose, num_images & 0xFFFFFFFF, num_images >> 32, num_classes]
    for shift in range(0, max(seed.bit_length(), 1), 32):
        words.append(seed >> shift & 0xFFFFFFFF)
    return np.random.RandomState(np.array(words, dtype=np.uint32))


def checked_integer(owner: str, name: str, value: Any, at_least: int, cure: str) -> int:
    """Read an integer argument ``name`` of the class ``owner``.

    Args:
        owner: The class.
        name: The argument.
        value: What was given.
        at_least: The smallest that will do.
        cure: The end of the sentence that says otherwise.

    Raises:
        TypeError: Not an integer; True and False are not taken for one.
        ValueError: Below ``at_least``.
    """
    message = (
        f"{owner}: expected an integer {name} of {at_least} or more, got {value!r}; "
        f"{cure}."
    )
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(message)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if number < at_least:
        raise ValueError(message)
    return number


def checked_share(message: str, value: Any, zero: bool) -> float:
    """Read a share from 0, or from above it, to 1; ``message`` says otherwise.

    Raises:
        TypeError: Not a number; True and False are not taken for one.
        ValueError: Out of range.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(message)
    share = float(value)
    if not 0 <= share <= 1 or (share == 0 and not zero):  # NaN is out of any range
        raise ValueError(message)
    return share


def with_pipeline(dataset: Mapping, pipeline: list) -> Any:
    """Exchange the pipeline of a dataset config, in any wrappers.

    Args:
        dataset: Not changed.
        pipeline: What the dataset at the bottom shall run.
    """
    changed: Any = copy.deepcopy(dataset)
    if "dataset" in changed:
        changed.pop("pipeline", None)  # of a wrapper
        changed["dataset"] = with_pipeline(changed["dataset"], pipeline)
    elif "datasets" in changed:
        changed["datasets"] = [
            with_pipeline(part, pipeline) for part in changed["datasets"]
        ]
    else:
        changed["pipeline"] = copy.deepcopy(pipeline)
    return changed
