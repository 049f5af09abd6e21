"""Reading a config file and its bases, with names of theirs set to other values.

mmengine computes what a base file makes of its variables while it reads that file, so a
value that comes later, from a child file or the command line, changes the variable and
nothing else. Here the value is put in behind each assignment, and the files are read
again: everything that is made from the variable follows.
"""

from __future__ import annotations

import ast
import copy
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

#: The hook of configs/_base_/runtime/default.py: a chain that names it is of this
#: package, wherever its files were copied to.
MARK = "lbbt_mm.ConfigNamesHook"
_ROOTS = tuple(
    str(Path(__file__).resolve().parents[up] / folder) + os.sep
    for up, folder in ((1, ".mim/configs"), (2, "configs"), (2, "projects"))
)
_PUT = (
    '{name} = __import__("lbbt_mm.config.chain", fromlist=["put"])'
    '.put("{name}", {name})'
)
_READINGS: list[_Reading] = []
_LOCK = threading.RLock()
_MEMORY = threading.local()


@dataclass
class File:
    """One file of a config and its bases.

    Attributes:
        path: Absolute.
        external: Whether it belongs to another package (``_base_ = 'mmdet::...'``).
        bases: The files that it names in ``_base_``.
        assigned: Names that it assigns.
        loaded: Names that it reads itself.
        from_bases: Names that it reads as ``_base_.NAME``.
        own: Value of each assigned name, before it is merged with the bases'.
        resolved: Content of the file and its bases together.
        text: The file.
    """

    path: str
    external: bool = False
    bases: list[File] = field(default_factory=list)
    assigned: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)
    from_bases: set[str] = field(default_factory=set)
    own: dict[str, Any] = field(default_factory=dict)
    resolved: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def is_shipped(self) -> bool:
        """Whether it lies where this package's own configs do."""
        return os.path.realpath(self.path).startswith(_ROOTS)

    def walk(self) -> Iterator[File]:
        """Go through this file and all below it, the outermost first."""
        yield self
        for base in self.bases:
            yield from base.walk()

    def below(self) -> set[str]:
        """List the names that files below assign, without those of other packages."""
        return {
            name
            for file in self.walk()
            if file is not self and not file.external
            for name in file.assigned
        }


def read_chain(
    path: str | Path,
    everywhere: Mapping[str, Any] | None = None,
    below: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Config, File]:
    """Read a config as ``Config.fromfile`` does, with values of names put in.

    Args:
        path: The config.
        everywhere: Name -> value in all its files; a dict is merged into what the name
            has there.
        below: Path of a file -> the same, in the files that it is based on.

    Returns:
        The config, and the file with its bases. Of a config in the new style (``with
        read_base()``) or in JSON or YAML, nothing is known but its path.
    """
    reading = _Reading(everywhere or {}, below or {})
    with _LOCK, reading.patched():
        cfg = Config.fromfile(str(path))
    return cfg, reading.root or File(os.path.abspath(path))


@contextmanager
def reading_once() -> Iterator[None]:
    """Within it, a file is read again only if a value that is put in reaches it."""
    before = getattr(_MEMORY, "files", None)
    _MEMORY.files = before if before is not None else {}
    try:
        yield
    finally:
        _MEMORY.files = before


def put(name: str, old: Any) -> Any:
    """Give the value that is read in place of the one that a file assigns."""
    return override(old, _READINGS[-1].changes[-1][name])


def override(old: Any, new: Any) -> Any:
    """Merge a dict as mmengine does, or take the new value as it is.

    Raises:
        TypeError: A key of something that has no keys.
    """
    new = copy.deepcopy(new)
    if not isinstance(new, dict) or old is None:
        return new
    if not isinstance(old, (dict, list)) and not new.get("_delete_"):
        raise TypeError(f"it is {old!r}, which has no key {next(iter(new), '')!r}")
    return Config._merge_a_into_b({"_": new}, {"_": old}, True)["_"]


class _Reading:
    """One pass over the files; the arguments are those of :func:`read_chain`."""

    def __init__(
        self, everywhere: Mapping[str, Any], below: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.everywhere = dict(everywhere)
        self.below = below
        self.root: File | None = None
        self.changes: list[dict[str, Any]] = [self.everywhere]
        self._open: list[File] = []
        self._external: set[str] = set()

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Make mmengine's reader say which file it is at, and take values from here."""
        first = ("_file2dict", "_get_base_files", "_get_cfg_path")
        names = (*first, "_substitute_base_vars", "_get_base_modules")
        theirs = {name: getattr(Config, name) for name in names}

        def file2dict(filename: str, *args: Any, **kwargs: Any) -> Any:
            file = self._enter(filename)
            given = dict(self.changes[-1])
            try:
                found = self._recall(file, given)
                if found is None:
                    found = theirs["_file2dict"](filename, *args, **kwargs)
                    file.resolved = found[0]
                    if not filename.endswith(".py"):
                        file.assigned = set(file.own) - {"_base_"}
                    self._keep(file, given, found)
                return found
            finally:
                self._open.pop()
                self.changes.pop()

        def get_base_files(temporary: str) -> list:
            if temporary.endswith(".py"):
                self._edit(temporary)
            return theirs["_get_base_files"](temporary)

        def get_cfg_path(cfg_path: str, filename: str) -> Any:
            found = theirs["_get_cfg_path"](cfg_path, filename)
            if "::" in cfg_path:
                self._external.add(os.path.abspath(found[0]))
            return found

        def substitute_base_vars(cfg: Any, *args: Any) -> Any:
            # Calls itself for the parts; the whole file comes back last.
            found = theirs["_substitute_base_vars"](cfg, *args)
            if isinstance(found, dict):
                self._open[-1].own = dict(found)
            return found

        def get_base_modules(nodes: list) -> list:
            for node in list(nodes):  # of a file in the new style
                code = "\n".join(self._lines(_stored(node)))
                at = nodes.index(node) + 1
                nodes[at:at] = ast.parse(code).body
            return theirs["_get_base_modules"](nodes)

        ours: tuple[Callable, ...] = (file2dict, get_base_files, get_cfg_path)
        ours += (substitute_base_vars, get_base_modules)
        here = threading.get_ident()

        def in_this_thread(name: str, function: Callable) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                mine = threading.get_ident() == here
                return (function if mine else theirs[name])(*args, **kwargs)

            return call

        _READINGS.append(self)
        try:
            function: Any
            for name, function in zip(theirs, ours, strict=True):
                setattr(Config, name, staticmethod(in_this_thread(name, function)))
            yield
        finally:
            for name, function in theirs.items():
                setattr(Config, name, staticmethod(function))
            _READINGS.pop()

    def _enter(self, filename: str) -> File:
        path = os.path.abspath(os.path.expanduser(filename))
        file, changes = File(path), self.everywhere
        if self._open:
            parent = self._open[-1]
            parent.bases.append(file)
            file.external = parent.external or path in self._external
            # What is said further out counts more.
            changes = dict(self.below.get(parent.path, {}))
            for name, value in self.changes[-1].items():
                changes[name] = override(changes.get(name), value)
            if file.external:
                changes = self.everywhere
        else:
            self.root = file
        self._open.append(file)
        self.changes.append(dict(changes))
        return file

    def _recall(self, file: File, given: dict[str, Any]) -> Any:
        """Give what mmengine's reader said of a file, if nothing in it changes."""
        kept = getattr(_MEMORY, "files", None) or {}
        for then, reached, found in kept.get((file.path, file.external), ()):
            now = self._reach(then, given)
            if now == reached and repr(now) == repr(reached):  # 1 is not True
                vars(file).update(vars(then))
                return copy.deepcopy(found)
        return None

    def _keep(self, file: File, given: dict[str, Any], found: Any) -> None:
        kept = getattr(_MEMORY, "files", None)
        if kept is not None:
            reading = (file, self._reach(file, given), copy.deepcopy(found))
            kept.setdefault((file.path, file.external), []).append(reading)

    def _reach(self, file: File, given: dict[str, Any]) -> tuple[dict, dict]:
        """List what is put into a file and its bases."""
        files = list(file.walk())
        names = set().union(*(each.assigned for each in files))
        return (
            {name: given[name] for name in sorted(given) if name in names},
            {f.path: self.below[f.path] for f in files if f.path in self.below},
        )

    def _edit(self, temporary: str) -> None:
        """Put the values into the copy of a file that mmengine is about to run."""
        file = self._open[-1]
        text = Path(temporary).read_text(encoding="utf-8")
        try:
            body = ast.parse(text).body
        except SyntaxError as error:
            error.filename = file.path  # not the copy's
            raise
        file.text = Path(file.path).read_text(encoding="utf-8")
        file.from_bases = set(re.findall(r"_base_(?:\.|\[[\"'])(\w+)", file.text))
        for node in body:
            file.assigned |= _stored(node) - {"_base_"}
        file.loaded = {
            node.id
            for part in body
            for node in ast.walk(part)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        # `lr = 2 * _base_.lr` doubles once, however often it is read.
        for name, value in self.below.get(file.path, {}).items():
            if name in file.from_bases and name not in self.changes[-1]:
                self.changes[-1][name] = value
        lines = text.encode().splitlines(keepends=True)
        for node in reversed(body):
            code = self._lines(_stored(node))
            if not code:
                continue
            row, column = (node.end_lineno or 1) - 1, node.end_col_offset or 0
            line = lines[row]
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                text_in = "; " + "; ".join(code)
            else:  # a loop or a condition ends with its line
                column = len(line.rstrip(b"\r\n"))
                text_in = "\n" + "\n".join(code)
            lines[row] = line[:column] + text_in.encode() + line[column:]
        Path(temporary).write_bytes(b"".join(lines))

    def _lines(self, names: set[str]) -> list[str]:
        return [
            _PUT.format(name=name) for name in sorted(names & self.changes[-1].keys())
        ]


def _stored(node: ast.stmt) -> set[str]:
    """List the variables of the file that a statement assigns."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
        return set()
    scopes = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp)
    names: set[str] = set()
    todo: list[ast.AST] = [node]
    while todo:
        part: Any = todo.pop()
        if isinstance(part, (*scopes, ast.GeneratorExp)):
            continue  # variables of its own
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.add(part.id)
        todo += ast.iter_child_nodes(part)
    return names
