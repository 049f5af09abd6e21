"""What decides the features of a frozen model, as one key; what cannot be, is not kept.

Nothing that may change while the key stays the same can be read from a cache. So the
key holds the content of each data info with its label, the identity of each image file,
the source of the code that makes images and features, and versions.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import os
import pickle
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import lbbt_mm
from lbbt_mm.language import CheckpointError
from lbbt_mm.language.fallback_checkpoint import any_config
from lbbt_mm.language.storage import tensor_bytes
from lbbt_mm.registry import DATASETS, MODELS, TRANSFORMS, find_type

# Whose code is not hashed file by file: how they decode, resize and compute.
_LIBRARIES = ("torch", "numpy", "cv2", "PIL", "mmengine", "mmcv", "mmpretrain")
_DISTRIBUTIONS = ("torchvision", "transformers", "timm")


class UnknownContentError(ValueError):
    """Something that decides the features cannot be told from its successor."""


def feature_key(**parts: Any) -> str:
    """Hash everything that decides what the features are.

    Args:
        **parts: Configs, hashes, versions; anything that JSON can write. Arrays and
            tensors count by their content; classes and functions by their names; any
            other object by its pickled content.

    Raises:
        UnknownContentError: An object has no content that can be hashed.
    """
    return hashlib.sha256(_canonical(parts)).hexdigest()[:32]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=_content).encode()


def _content(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        array = np.ascontiguousarray(value)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        return [str(array.dtype), list(array.shape), digest]
    if isinstance(value, Tensor):
        digest = hashlib.sha256(tensor_bytes(value)).hexdigest()
        return [str(value.dtype), list(value.shape), digest]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if inspect.isclass(value) or inspect.isroutine(value):
        name = f"{value.__module__}.{value.__qualname__}"
        if "<" not in name:  # else another lambda may stand on the same line
            return name
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception as error:  # pickle raises whatever an object likes
        raise UnknownContentError(
            f"expected settings whose content can be hashed, got {value!r} ({error})"
        ) from error


def file_sha256(path: str | os.PathLike) -> str:
    """Hash a file's content.

    Args:
        path: The file.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def weights_sha256(model: nn.Module) -> str:
    """Hash the weights of a model that no checkpoint file stands for.

    Args:
        model: Its parameters and buffers are hashed, with their names and shapes.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, Tensor):  # a module's extra state
            digest.update(f"{name} {tensor!r}".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def file_identity(path: str | os.PathLike) -> list[int] | None:
    """Tell a file from any that may take its name later.

    Args:
        path: The file; a link counts as what it points to.

    Returns:
        Size, time of the last change of content and of the last change of any kind in
        nanoseconds, and inode. The last time cannot be set back, so that a file copied
        over another with its old date and the same size is seen. None if there is no
        such file on this machine.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not os.path.isfile(path):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def images_sha256(dataset: Any) -> str:
    """Hash what a dataset says of its images, and what their files are.

    Args:
        dataset: With ``get_data_info``, in any wrappers.

    Returns:
        64 hexadecimal digits, of every data info in order, labels included, and of
        every file that it names (:func:`file_identity`).

    Raises:
        UnknownContentError: An image is neither a file on this machine nor in memory.
    """
    digest = hashlib.sha256()
    if not hasattr(dataset, "get_data_info"):
        raise UnknownContentError(
            f"expected a dataset with get_data_info, got {type(dataset).__name__}"
        )
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        several = info.get("img_paths")  # of a conversation, which may have none
        names = [v for v in info.values() if isinstance(v, (str, os.PathLike))]
        names += several or []
        files = [file_identity(name) for name in names]
        in_memory = isinstance(info.get("img"), (np.ndarray, Tensor))
        if not in_memory and not any(files) and several != []:
            raise UnknownContentError(
                f"expected each image in a file on this machine, got image {index} "
                f"with {info.get('img_path', sorted(info))}"
            )
        digest.update(_canonical([info, files]))
    return digest.hexdigest()


def sources_sha256(configs: Iterable[Any], *functions: Any) -> str:
    """Hash the code that configs name, and the versions of what it stands on.

    Args:
        configs: Of models, datasets, pipelines; what they name is looked up in the
            registries, in the current default scope.
        *functions: Functions whose code counts too.

    Returns:
        64 hexadecimal digits: of the file of each class and of what it inherits from,
        of the user's own modules that these use, of this package, of the files that the
        configs name, of the language models' architectures, and of versions.
    """
    kinds: set[Any] = {getattr(f, "func", f) for f in functions}  # of a partial
    facts: dict[str, Any] = {}
    for node in _nodes(list(configs)):
        if isinstance(node, str):
            if identity := file_identity(node):
                facts[f"file {node}"] = identity
            continue
        for registry in (MODELS, DATASETS, TRANSFORMS):
            if kind := find_type(node, registry):
                kinds.update(kind.__mro__ if inspect.isclass(kind) else [kind])
        language_model = node.get("language_model")
        if isinstance(language_model, str):
            try:
                facts[f"language {language_model}"] = repr(any_config(language_model))
            except CheckpointError:
                pass  # gone: the checkpoint, which is hashed whole, says it
    files = set(Path(lbbt_mm.__file__).parent.rglob("*.py"))
    for kind in kinds:
        try:
            files.add(Path(inspect.getfile(kind)))
        except (TypeError, OSError):  # built in
            continue
    files |= _own_files(getattr(kind, "__module__", None) for kind in kinds)
    facts["code"] = sorted(file_sha256(path) for path in files if path.is_file())
    versions = [str(getattr(sys.modules.get(n), "__version__", "")) for n in _LIBRARIES]
    for name in _DISTRIBUTIONS:
        try:
            versions.append(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            versions.append("")
    return hashlib.sha256(_canonical([facts, versions])).hexdigest()


def _own_files(names: Iterable[Any]) -> set[Path]:
    """Find the files of modules, and of all that they import, but installed ones."""
    installed = tuple(
        os.path.join(os.path.realpath(path), "")
        for key, path in sysconfig.get_paths().items()
        if key.endswith("lib")
    )
    todo, seen, files = list(names), set(), set()
    while todo:
        name = todo.pop()
        if not isinstance(name, str) or name in seen:
            continue
        seen.add(name)
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if not file or os.path.realpath(file).startswith(installed):
            continue
        files.add(Path(file))
        for value in list(vars(module).values()):
            own = "__name__" if inspect.ismodule(value) else "__module__"
            todo.append(getattr(value, own, None))
    return files


def _nodes(value: Any) -> Iterator[Any]:
    """Walk a config and yield its dicts and its texts."""
    if isinstance(value, Mapping):
        yield value
        for part in value.values():
            yield from _nodes(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _nodes(part)
    elif isinstance(value, str):
        yield value
