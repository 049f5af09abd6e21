"""Checks of LanguageBackbone's options."""

from __future__ import annotations

from collections.abc import Sequence


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}."
        )


def check_rate(name: str, value: float) -> None:
    """Refuse a probability outside of 0 (included) to 1."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be at least 0 and below 1; got {value!r}.")


def check_scale(value: float | str) -> None:
    """Refuse what is neither a positive number nor ``'residual'``."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value != "residual" and not (is_number and 0 < value < float("inf")):
        raise ValueError(
            f"token_scale must be a positive number or 'residual'; got {value!r}."
        )


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Take one number for both sides."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def resolve_indices(indices: int | Sequence[int], num_layers: int) -> list[int]:
    """Count blocks from the start; refuse those that are not there."""
    listed = [indices] if isinstance(indices, int) else list(indices)
    if not listed or any(not -num_layers <= index < num_layers for index in listed):
        raise ValueError(
            f"out_indices must name blocks from {-num_layers} to {num_layers - 1}; "
            f"got {indices!r}."
        )
    return [index % num_layers for index in listed]
