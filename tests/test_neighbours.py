"""Private names of other libraries and what is patched in them: listed, and there."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lbbt_mm
from lbbt_mm.neighbours import PATCHES, mmengine, openmmlab, torch, transformers

ROOT = Path(__file__).resolve().parents[1]
NEIGHBOURS = (mmengine, openmmlab, torch, transformers)
PRIVATE = {path: user for one in NEIGHBOURS for path, user in one.PRIVATE.items()}
LISTED = {part for path in PRIVATE for part in path.replace(":", ".").split(".")}
LISTED |= {place.rpartition(".")[2] for place in PATCHES}
# Of Python's and numpy's, whose own modules say that one may; and our own marks on
# objects of others.
NOT_PRIVATE = {"_replace", "_asdict", "_fields", "_getframe", "_core", "_exit"}
NOT_PRIVATE |= {"_guarded_by_lbbt_mm", "_left_out_said"}
# Of our wrappers, read by their neighbours in the same room.
FRIENDS = {"_enlisted", "_leaves"}
# Options that their owners let everybody set.
ORDINARY = {"leaf.pipeline", "view.pipeline", "loader.worker_init_fn"}
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for folder in ("lbbt_mm", "tools", "projects")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.parts
}


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


def said_of_gone(names: dict[str, str]) -> list[str]:
    """A sentence for each private name that its library has no more."""
    found = []
    for path, user in names.items():
        if not is_there(path):
            library = re.split(r"[.:]", path)[0]
            version = getattr(importlib.import_module(library), "__version__", "?")
            found.append(
                f"{library} {version} has no {path.replace(':', '.')} any more, which "
                f"{user} uses: find what took its place, and note it in "
                f"lbbt_mm/neighbours/."
            )
    return found


def test_private_names_are_still_there() -> None:
    gone = said_of_gone(PRIVATE)
    assert not gone, "\n".join(gone)


def test_a_name_that_is_gone_is_told() -> None:
    names = {"mmengine.runner:Runner._gone": "a.py", "mmengine.gone:Runner": "b.py"}
    first, second = said_of_gone(names)
    assert "has no mmengine.runner.Runner._gone any more, which a.py uses" in first
    assert "has no mmengine.gone.Runner any more" in second


def test_what_is_listed_is_used() -> None:
    for path, user in PRIVATE.items():
        name = re.split(r"[.:]", path)[-1]
        text = (ROOT / "lbbt_mm" / user).read_text(encoding="utf-8")
        assert name in text.replace(path, ""), f"{user} does not use {path}"


def own_names(tree: ast.Module) -> set[str]:
    """Names that a file gives to what is its own."""
    own = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                own.add(node.attr)
    return own


def foreign_names(tree: ast.Module, inherited: set[str]) -> Iterator[tuple[int, str]]:
    """Lines and private names that are somebody else's: attributes and imports.

    An object may have names that its own file gives; ``self`` also inherited ones.
    """
    own = own_names(tree) | LISTED | NOT_PRIVATE
    for node in ast.walk(tree):
        names, known = list[str](), own
        if isinstance(node, ast.Attribute):
            names = [node.attr]
            is_self = ast.unparse(node.value) in ("self", "cls", "super()")
            known = own | (inherited if is_self else FRIENDS)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names = (node.module or "").split(".")
            if names[0] == "lbbt_mm" or names[0].startswith("_"):  # tools/_launch.py
                continue
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            # `import _launch` is a module beside a tool.
            names = [n for a in node.names for n in a.name.split(".")[1:]]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("getattr", "hasattr", "setattr") and len(node.args) > 1:
                given = node.args[1]
                names = [str(given.value)] if isinstance(given, ast.Constant) else []
        yield from (
            (node.lineno, name)
            for name in names
            if name.startswith("_") and not name.endswith("__") and name not in known
        )


def test_every_private_name_that_is_used_is_listed() -> None:
    inherited = {name for tree in TREES.values() for name in own_names(tree)}
    unlisted = [
        f"{path}:{line} {name}"
        for path, tree in TREES.items()
        for line, name in foreign_names(tree, inherited)
    ]
    assert not unlisted, "note these in lbbt_mm/neighbours/"


@pytest.mark.parametrize(
    "code",
    [
        "runner._mine",  # which another file gives to an object of its own
        "from torch._gone import A",
        "import torch._gone",
        "getattr(runner, '_gone', None)",
    ],
)
def test_a_private_name_of_others_is_seen(code: str) -> None:
    assert list(foreign_names(ast.parse(code), {"_mine"}))
    assert not list(foreign_names(ast.parse("self._mine"), {"_mine"}))


def own_classes() -> Iterator[type]:
    for info in pkgutil.walk_packages(lbbt_mm.__path__, "lbbt_mm."):
        if not info.name.endswith("__main__"):
            module = importlib.import_module(info.name)
            for kind in vars(module).values():
                if inspect.isclass(kind) and kind.__module__ == info.name:
                    yield kind


def test_no_name_of_ours_takes_the_place_of_a_private_one_of_a_base() -> None:
    ours = re.compile(r"(?:\b(?:self|cls)\.|\bdef |^    )(_[a-z]\w*)\b", re.MULTILINE)
    unlisted = set()
    for kind in own_classes():
        names = set(ours.findall(inspect.getsource(kind))) - LISTED - NOT_PRIVATE
        for base in kind.__mro__[1:-1]:
            library = base.__module__.partition(".")[0]
            if library == "lbbt_mm" or library in sys.stdlib_module_names:
                continue
            try:
                source = inspect.getsource(base)
            except (OSError, TypeError):  # written in C
                continue
            unlisted |= {
                f"{kind.__module__}.{kind.__name__}.{name} of {base.__name__}"
                for name in names
                if name in vars(base) or re.search(rf"\bself\.{name}\b", source)
            }
    assert not unlisted, "rename these, or note them in lbbt_mm/neighbours/"


def patches(path: str, tree: ast.Module) -> Iterator[str]:
    """Find functions and classes that are given to an object of somebody else."""
    foreign, functions, classes = set(), set(), {"cls"}
    for node in ast.walk(tree):
        if isinstance(node, (ast.ImportFrom, ast.Import)):
            module = getattr(node, "module", None) or node.names[0].name
            if not module.startswith("lbbt_mm"):
                foreign |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        elif isinstance(node, ast.FunctionDef):
            functions.add(node.name)
            inner = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            if any(isinstance(n, ast.Return) and getattr(n.value, "id", "") in inner
                   for n in node.body):  # fmt: skip
                classes.add(node.name)  # what it makes can be called
        elif isinstance(node, ast.ClassDef):
            classes.add(node.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
            if ast.unparse(node.args[0]) in foreign:
                yield f"{path}: {ast.unparse(node.args[0])}"
        for target in node.targets if isinstance(node, ast.Assign) else ():
            place, given = ast.unparse(target), node.value
            root = place.partition(".")[0]
            if not isinstance(target, ast.Attribute) or root in ("self", *functions):
                continue
            made = isinstance(given, ast.Call) and ast.unparse(given.func) in classes
            function = isinstance(given, ast.Name) and given.id in functions
            if made or function or root in foreign or place.endswith(".__class__"):
                yield f"{path}: {place}"


def test_every_patch_is_listed_with_its_reason() -> None:
    found = {place for path, tree in TREES.items() for place in patches(path, tree)}
    own = ORDINARY | {"view._only"}  # of our wrappers
    assert {p for p in found if p.partition(": ")[2] not in own} == set(PATCHES)


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load = 1",
        "from torch import nn\nnn.Linear.forward = 1",
        "from torch import nn\nsetattr(nn, name, 1)",
        "def mine(): ...\nrunner.train = mine",
        "class Mine: ...\nrunner.train = Mine()",
        "def a():\n  def b(): ...\n  return b\nrunner.train = a()",
    ],
)
def test_a_patch_is_seen(code: str) -> None:
    assert list(patches("a.py", ast.parse(code)))
