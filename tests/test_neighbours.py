"""Private names of other libraries: all of them are listed, and are still there."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from lbbt_mm.neighbours import mmengine, openmmlab, torch, transformers

PACKAGE = Path(__file__).resolve().parents[1] / "lbbt_mm"
NEIGHBOURS = (mmengine, openmmlab, torch, transformers)
PRIVATE = {path: user for one in NEIGHBOURS for path, user in one.PRIVATE.items()}
LISTED = {part for path in PRIVATE for part in path.replace(":", ".").split(".")}
# Of Python's and numpy's, whose own modules say that one may.
NOT_PRIVATE = {"_replace", "_asdict", "_fields", "_getframe", "_core"}


def is_there(path: str) -> bool:
    """Whether a library has a name; what a method of a class sets counts."""
    module, _, names = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError:
        return False
    for name in names.split("."):
        if not hasattr(found, name):
            return inspect.isclass(found) and any(
                f"self.{name}" in inspect.getsource(kind)
                for kind in found.__mro__[:-1]
                if kind.__module__.partition(".")[0] == module.partition(".")[0]
            )
        found = getattr(found, name)
    return True


@pytest.mark.parametrize("path", sorted(PRIVATE))
def test_a_private_name_is_still_there(path: str) -> None:
    library = path.partition(".")[0].partition(":")[0]
    version = getattr(importlib.import_module(library), "__version__", "?")
    assert is_there(path), (
        f"{library} {version} has no {path.replace(':', '.')} any more, which "
        f"{PRIVATE[path]} uses: find what took its place, and note it in "
        f"lbbt_mm/neighbours/."
    )


def test_a_name_that_is_gone_is_told() -> None:
    assert not is_there("mmengine.runner:Runner._gone")
    assert not is_there("mmengine.gone:Runner")


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(trees: list[ast.Module]) -> set[str]:
    own = set(NOT_PRIVATE)
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own.add(node.attr)
    return own


def test_every_private_name_that_is_used_is_listed() -> None:
    trees = {p: ast.parse(p.read_text(encoding="utf-8")) for p in PACKAGE.rglob("*.py")}
    own, unlisted = own_names(list(trees.values())), []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Attribute) and node.attr not in own:
                names = [node.attr]
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                names = (node.module or "").split(".")
                if names[0] != "lbbt_mm":
                    names += [alias.name for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [n for alias in node.names for n in alias.name.split(".")]
            unlisted += [
                f"{path.relative_to(PACKAGE)}:{node.lineno} {name}"
                for name in names
                if private(name) and name not in LISTED | NOT_PRIVATE
            ]
    assert not unlisted, "note these in lbbt_mm/neighbours/"
