"""Open a language model by one string: its configuration and its lazy tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.families import FAMILIES, META, NANOGPT, OURS
from lbbt_mm.language.family_checkpoint import Checkpoint
from lbbt_mm.language.foreign import nanogpt_arguments, open_meta, open_nanogpt
from lbbt_mm.language.gguf_config import config_from_gguf
from lbbt_mm.language.gguf_store import open_gguf
from lbbt_mm.language.hf_config import config_from_hf
from lbbt_mm.language.locate import PARAMS, config_alone, local_path, locate
from lbbt_mm.language.presets import preset_config
from lbbt_mm.language.recognise import refusal
from lbbt_mm.language.record import own_record
from lbbt_mm.language.sources import (
    check_index,
    config_beside,
    merged_state_dict,
    read_json,
)
from lbbt_mm.language.storage import (
    SafetensorsStore,
    TensorStore,
    TorchStore,
    load_pickle,
    weights_in,
)

__all__ = ["Checkpoint", "language_config", "open_checkpoint"]


def open_checkpoint(language_model: str) -> Checkpoint:
    """Open a language model.

    Args:
        language_model: A hub id (``'gpt2-medium'``), a folder, a ``.safetensors``,
            ``.gguf``, ``.bin``, ``.pth`` or ``.pt`` file, or ``'package:NAME/FILE'``
            for a file that an installed Python package carries.

    Returns:
        The opened checkpoint; no weight has been read yet.

    Raises:
        CheckpointError: It cannot be found or understood. The message says what was
            tried and how to get the file.
    """
    files = locate(language_model)
    first = files.weights[0]
    if first.suffix == ".gguf":
        return _open_gguf(files.weights, language_model)
    store: TensorStore
    if files.config is not None and files.config.name == PARAMS:
        params = read_json(files.config)
        config, store = open_meta(files.weights, params, language_model)
        return Checkpoint(language_model, config, META, store)
    if first.suffix == ".safetensors":
        store = SafetensorsStore(files.weights)
        check_index(language_model, files.names, store.shapes())
    else:
        content = load_pickle(first) if len(files.weights) == 1 else None
        tensors = (
            merged_state_dict(files.weights)
            if content is None
            else weights_in(content, str(first))
        )
        arguments = nanogpt_arguments(content)
        if arguments is not None:
            config, store = open_nanogpt(arguments, tensors, language_model)
            return Checkpoint(language_model, config, NANOGPT, store)
        check_index(language_model, files.names, tensors)
        own = own_checkpoint(tensors, language_model)
        if own is not None:
            return own
        store = TorchStore(tensors)
    hf = read_json(files.config) if files.config else None
    reason = refusal(language_model, store.shapes(), hf)
    if reason is not None:
        raise CheckpointError(reason)
    config = config_beside(language_model, hf, store.shapes())
    table = FAMILIES[config.family].table(config.gated)
    return Checkpoint(language_model, config, table, store)


def own_checkpoint(
    tensors: Mapping[str, Any], language_model: str
) -> Checkpoint | None:
    """Find the stack of ours in a model.

    Args:
        tensors: The model's state dict.
        language_model: Where it comes from, for messages.

    Returns:
        ``None`` if there is none in it.

    Raises:
        CheckpointError: There are several, or it has LoRA beside its weights.
    """
    record = own_record(tensors, language_model)
    if record is None:
        return None
    root, fields = record
    if (fields.get("use") or {}).get("lora"):
        raise CheckpointError(
            f"{language_model} holds LoRA beside its blocks; merge it first: "
            f"python -m lbbt_mm.models.backbone.merge_lora {language_model} MERGED"
        )
    holder = root[: root[:-1].rfind(".") + 1]
    inside = {n[len(root) :]: v for n, v in tensors.items() if n.startswith(root)}
    beside = {
        name[len(holder) :]: value
        for name, value in tensors.items()
        if name.startswith(holder) and not name.startswith(root)
    }
    config = LanguageConfig.from_dict(fields.get("config"))
    return Checkpoint(language_model, config, OURS, TorchStore(inside), fields, beside)


def _open_gguf(paths: list[Path], language_model: str) -> Checkpoint:
    store = open_gguf(paths)
    scales = None
    if "rope_freqs.weight" in store.shapes():
        scales = store.read("rope_freqs.weight").flatten().tolist()
    config = config_from_gguf(store.metadata, store.vocab_size, language_model, scales)
    table = FAMILIES[config.family].gguf
    assert table is not None, "config_from_gguf refuses the others"
    return Checkpoint(language_model, config, table, store)


def language_config(language_model: str) -> LanguageConfig:
    """Find an architecture: from the known models first, so that no file is needed.

    Args:
        language_model: As in :func:`open_checkpoint`.

    Raises:
        CheckpointError: It is not a known model and cannot be opened.
    """
    # The known models first, so that no file is needed; but a folder is a folder.
    named = isinstance(language_model, str) and language_model
    known = preset_config(language_model) if named else None
    if known is not None:
        if language_model.startswith("package:") or local_path(language_model) is None:
            return known
    alone = config_alone(language_model)
    if alone is not None:
        return config_from_hf(read_json(alone), language_model)
    return open_checkpoint(language_model).config
