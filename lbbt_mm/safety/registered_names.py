"""What may be built from a config that is not the user's own.

A config that came with a checkpoint or lies in a run folder is read as data, but
building it is running code all the same: mmengine's ``Registry.get`` imports any dotted
name, so ``dict(type='os.system', command=...)`` is a component like any other. Here
such a config builds what the libraries registered, and nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

LIBRARIES = ("mmengine", "mmcv", "mmpretrain", "mmdet", "mmseg", "lbbt_mm")

# What mmdet chooses from mmcv.ops by `type` without a registry.
_UNREGISTERED = {
    *("nms", "soft_nms", "nms_match", "nms_quadri", "nms_rotated", "batched_nms"),
    *("RoIAlign", "RoIPool", "DeformRoIPoolPack", "ModulatedDeformRoIPoolPack"),
}
# Registries that a model, its preprocessor and a dataset are made of. Runners, hooks,
# metrics and the like write, remove and run files by what their config says.
_PARTS = {
    *("model", "weight initializer", "batch augment", "tokenizer", "optimizer"),
    *("dataset", "data sampler", "transform", "task util", "function"),
}
# Registered, but they unpickle or execute what their config names.
_RUN_FILES = {
    *("ImageToImageRetriever", "VQKD", "TIMMBackbone", "VPD"),
    *("OpenImagesDataset", "OpenImagesChallengeDataset"),
    *("RefCOCO", "RefCocoDataset"),
}
# Python, pickles and YAML: mmengine loads by this ending, and runs what is in it.
_RUN_ENDINGS = (".py", ".pkl", ".pickle", ".yaml", ".yml")
_EVALUATED = ("dtype", "warp_mode")  # Python to mmpretrain and mmdet
_DEPTH = 100


class ForeignConfigError(ValueError):
    """A config from a file asks for something that no library registered."""


def check_config(tree: Any, where: str, scope: str = "mmengine") -> None:
    """Refuse a config that would build or run more than the libraries registered.

    Args:
        tree: A config or a part of one, at any depth.
        where: The file that it came with, for the message.
        scope: Its ``default_scope``.

    Raises:
        ForeignConfigError: It names something else; the message says what and where in
            the tree.

    Example:
        >>> check_config(dict(model=dict(type="os.system", command="ls")), "a.pth")
        Traceback (most recent call last):
        ForeignConfigError: The config in a.pth asks for os.system at model.type ...
    """
    _Check(where, scope).walk(tree, "", 0)


class _Check:
    def __init__(self, where: str, scope: str) -> None:
        self.where = where
        self.scopes: set[str] = {"mmengine", "lbbt_mm"}
        self.scope(scope, "default_scope")
        self.known: set[str] = set()

    def refuse(self, what: str, place: str) -> None:
        raise ForeignConfigError(
            f"The config in {self.where} asks for {what} at {place or 'its top'}. A "
            "config that came with a file may build what mmengine, mmcv, mmpretrain, "
            "mmdet, mmseg and lbbt_mm registered, and nothing else. If you trust it, "
            "save it as a file of your own and give that as the config."
        )

    def scope(self, scope: Any, place: str) -> None:
        if scope not in LIBRARIES:
            self.refuse(f"the scope {_shown(scope)}", place)
        self.scopes.add(scope)

    def walk(self, node: Any, place: str, depth: int) -> None:
        if depth > _DEPTH:
            self.refuse(f"more than {_DEPTH} levels", f"{place[:60]}...")
        if isinstance(node, Mapping):
            if "_scope_" in node and node["_scope_"] is not None:
                self.scope(node["_scope_"], f"{place}._scope_".lstrip("."))
            for key, value in node.items():
                inner = f"{place}.{key}".lstrip(".")
                if key == "type":
                    self.kind(value, inner)
                elif key == "trust_remote_code" and value:
                    self.refuse("the code in a model's repository", inner)
                elif key == "decode_backend" and value == "pickle":
                    self.refuse("unpickling images", inner)
                elif key == "backend" and value == "memcached":
                    self.refuse("a client from any folder", inner)
                elif key in _EVALUATED and isinstance(value, str):
                    if not re.fullmatch(r"[\w.]*", value):
                        self.refuse(f"the expression {_shown(value)}", inner)
                self.walk(value, inner, depth + 1)
        elif isinstance(node, (list, tuple, set)):
            for index, value in enumerate(node):
                self.walk(value, f"{place}[{index}]", depth + 1)
        elif isinstance(node, str):
            if node.strip().endswith(_RUN_ENDINGS):
                self.refuse(f"{_shown(node)}, a file that would be run", place)
        elif node is not None and not isinstance(node, (bool, int, float, bytes)):
            self.refuse(f"{_shown(node)}, which is no plain value", place)

    def kind(self, name: Any, place: str) -> None:
        if not isinstance(name, str):
            self.refuse(f"{_shown(name)} as a type", place)
        if name in self.known or name in _UNREGISTERED:
            return
        if name.rpartition(".")[2] in _RUN_FILES:
            self.refuse(f"{name}, which runs what is in files", place)
        if not _is_registered(name, self.scopes):
            self.refuse(_shown(name), place)
        self.known.add(name)


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _is_registered(name: str, scopes: set[str]) -> bool:
    scope, dot, key = name.partition(".")
    if not dot:
        return any(name in names for names in _modules(*sorted(scopes)))
    if scope in LIBRARIES and "." not in key:
        return any(key in names for names in _modules(scope))
    return _registered_object(name) is not None


def _registered_object(name: str) -> Any:
    """Find a class by its whole path, as configs in Python's syntax dump it.

    Args:
        name: Such as ``'mmdet.models.detectors.detr.DETR'``.

    Returns:
        The class; None if it is no registered one.
    """
    scope, _, _ = name.partition(".")
    last = name.rpartition(".")[2]
    if scope not in (*LIBRARIES, "torch"):
        return None
    registered = [
        names[last]
        for names in _modules("mmengine" if scope in ("torch", "mmcv") else scope)
        if last in names
    ]
    if not registered:
        return None
    from mmengine.utils import get_object_from_string

    # Importing a module of a library: what building any part of it does.
    found = get_object_from_string(name)
    return found if any(found is one for one in registered) else None


def _modules(*scopes: str) -> Iterator[Mapping[str, Any]]:
    """Give name -> class of each registry, those that are there already first."""
    from mmengine.registry import Registry

    for load in (False, True):
        for scope in scopes:
            # A library that is not installed has registered nothing.
            with contextlib.suppress(ImportError):
                if load and scope == "mmengine":  # whose registries mmcv fills
                    importlib.import_module("mmcv.cnn")
                    importlib.import_module("mmcv.transforms")
                module = importlib.import_module(f"{scope}.registry")
                for found in vars(module).values():
                    if not isinstance(found, Registry) or found.name not in _PARTS:
                        continue
                    if load and found._imported:
                        continue
                    if load:
                        found.import_from_location()
                    yield found.module_dict


@contextlib.contextmanager
def registered_names_only() -> Iterator[None]:
    """Keep mmengine from importing any name and from unpickling, while building.

    :func:`check_config` reads the config; this covers what a class makes of it, such as
    another config or a list of images that it reads itself.
    """
    from mmengine.fileio.io import file_handlers
    from mmengine.registry import registry

    before = registry.get_object_from_string, dict(file_handlers)
    registry.get_object_from_string = _registered_object
    for ending in set(file_handlers) - {"json"}:  # mmengine reads no other as data
        del file_handlers[ending]
    try:
        yield
    finally:
        registry.get_object_from_string = before[0]
        file_handlers.update(before[1])
