"""Single values of transformers' ``config.json``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbbt_mm.language.errors import CheckpointError, NotComputed

# Every activation that the supported families use, by transformers' name.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}


def activation_of(name: str, origin: str) -> str:
    """Translate the name of an activation.

    Raises:
        NotComputed: The stack does not have it.
    """
    if name not in _ACTIVATIONS:
        raise NotComputed(
            f"{origin} uses the activation {name!r}; the stack computes "
            f"{', '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[name]


def head_size(width: int, heads: int, origin: str) -> int:
    """Return the channels of one head, where all of them make the stream's.

    Raises:
        CheckpointError: They do not divide it.
    """
    if type(width) is not int or type(heads) is not int or heads < 1:
        return 1  # LanguageConfig says which of the two
    if width % heads:
        raise CheckpointError(
            f"The configuration of {origin} has width {width}, which its {heads} heads "
            f"do not divide."
        )
    return width // heads


def refuse(hf: Mapping[str, Any], origin: str, key: str, needed: Any) -> None:
    """Refuse a variant that would silently compute something else.

    Raises:
        NotComputed: The key has another value than the one needed.
    """
    if hf.get(key, needed) != needed:
        raise NotComputed(
            f"{origin} sets {key}={hf[key]!r}; the stack computes {needed!r} only."
        )
