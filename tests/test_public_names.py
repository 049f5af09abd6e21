"""``import lbbt_mm; lbbt_mm.X`` gives every class that a config may name."""

from __future__ import annotations

import importlib

import pytest

import lbbt_mm
from lbbt_mm import registry
from lbbt_mm.models.lazy import LAZY


def registered() -> dict[str, object]:
    """What we registered, the rooms imported as mmengine does; tests add their own."""
    found: dict[str, object] = {}
    for child in vars(registry).values():
        if getattr(child, "scope", None) == "lbbt_mm":
            child.import_from_location()
            found |= child.module_dict
    return {n: k for n, k in found.items() if k.__module__.startswith("lbbt_mm.")}


def test_every_registered_class_is_at_the_top() -> None:
    functions = {
        "is_language_block",
        "is_transformer_block",
        "wrap_language_blocks",
        "wrap_transformer_blocks",
    }  # names for FSDP's configs, of no use in Python
    assert set(registered()) - functions - set(lbbt_mm.__all__) == set()


def test_every_registered_class_shows_how_it_is_written() -> None:
    silent = [
        name
        for name, kind in registered().items()
        # What needs a library is registered as a function that loads it.
        if f"lbbt_mm.{kind.__name__}"
        not in getattr(kind, "load", lambda k=kind: k)().__doc__
    ]
    assert not silent, "give their docstrings an example"


@pytest.mark.parametrize("name", sorted(set(lbbt_mm.__all__) - set(LAZY)))
def test_a_name_is_what_its_room_defines(name: str) -> None:
    found = getattr(lbbt_mm, name)
    if name != "__version__":
        assert found is getattr(importlib.import_module(found.__module__), name)
    assert name in dir(lbbt_mm)


def test_a_class_of_a_neighbour_is_imported_when_it_is_asked_for() -> None:
    from lbbt_mm.models.objectives.bridge_classifier import BridgeClassifier

    assert lbbt_mm.BridgeClassifier is BridgeClassifier


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lbbt_mm' has no attribute 'Nothing'"):
        lbbt_mm.Nothing  # noqa: B018
