"""No code from checkpoints: what mmengine loads, it loads as data.

``import lbbt_mm`` brings this along, and so does any ``type='lbbt_mm.X'`` in a config.
mmengine's own loader warns of a file that holds more than tensors and plain types, and
then runs whatever is in it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

TRUST = "LBBT_MM_TRUST_CHECKPOINTS"
"""Environment variable; ``1`` gives mmengine's own behaviour back: files run code."""

_MODULE = "mmengine.runner.checkpoint"


def guard_checkpoints() -> None:
    """Make mmengine read ``load_from``, resume and ``init_cfg`` without running code.

    Covered is all that mmengine's ``CheckpointLoader`` loads: files, addresses, model
    names and storage services. Loaders that somebody registered there stay as they are,
    and so does ``torch.load``. mmengine's runner is not imported for this; if it has
    not been yet, it is guarded when it is.

    What is refused raises a :class:`~lbbt_mm.language.errors.CheckpointError`. Classes
    that ``torch.serialization.add_safe_globals`` lists are let through, and with
    ``LBBT_MM_TRUST_CHECKPOINTS=1`` in the environment everything is.

    Example:
        >>> import lbbt_mm  # all that is needed
    """
    if _MODULE in sys.modules:
        _guard(sys.modules[_MODULE])
    elif not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())


class _Watcher(importlib.abc.MetaPathFinder):
    """Guards the module right after its first import, and then is gone."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def then_guard(module: types.ModuleType) -> None:
                execute(module)
                _guard(module)

            spec.loader.exec_module = then_guard  # type: ignore[method-assign]
        return spec


class _Torch(types.ModuleType):
    """torch, with another ``load``; for the namespace of one module."""

    def __getattr__(self, name: str) -> Any:
        import torch

        return getattr(torch, name)


def _guard(checkpoint: Any) -> None:
    """Exchange what mmengine's module opens pickles with."""
    if getattr(checkpoint, "_guarded_by_lbbt_mm", False):
        return
    checkpoint._guarded_by_lbbt_mm = True
    checkpoint.torch = _Torch("torch")
    checkpoint.torch.load = _load
    checkpoint._safe_torch_load = _load  # the maintained fork's way to it
    loader = checkpoint.CheckpointLoader
    if loader._schemes.get("") is checkpoint.load_from_local:  # nobody else's
        loader.register_scheme("", load_from_local, force=True)
    checkpoint.load_url = _load_url  # what every scheme with an address ends in


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Stand in for mmengine's loader of files, which logs its name.

    Args:
        filename: The file; ``~`` is the user's home.
        map_location: As in :func:`torch.load`.

    Raises:
        MissingCheckpoint: There is no such file.
        CheckpointError: It cannot be read, or holds more than data.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        from lbbt_mm.language.errors import MissingCheckpoint

        raise MissingCheckpoint(
            f"There is no file {path.absolute()}; expected a checkpoint, check its "
            f"path."
        )
    return _load(path, map_location)


def _load(file: Any, map_location: Any = None, **_: Any) -> Any:
    """Stand in for ``torch.load``; ``weights_only`` is no choice here."""
    import torch

    from lbbt_mm.language.storage import load_pickle

    if os.environ.get(TRUST) == "1":
        return torch.load(file, map_location, weights_only=False)
    if isinstance(file, (str, os.PathLike)):
        # Not mapped: a run may write to the file that it was started from.
        return load_pickle(Path(file), map_location, mmap=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fetched.pth"
        path.write_bytes(file.read())
        return load_pickle(path, map_location, mmap=False)


def _load_url(
    url: str,
    model_dir: Any = None,
    map_location: Any = None,
    progress: bool = True,
    **_: Any,
) -> Any:
    import torch

    from lbbt_mm.language.errors import CheckpointError

    folder = Path(model_dir or os.path.join(torch.hub.get_dir(), "checkpoints"))
    path = folder / Path(urlparse(url).path).name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=progress)
        except OSError as error:
            raise CheckpointError(
                f"The weights {url} are not on this machine and could not be "
                f"downloaded ({error}): download that file elsewhere and put it at "
                f"{path}, or name another with --cfg-options "
                "model.backbone.init_cfg.checkpoint=FILE."
            ) from error
    return _load(path, map_location)
