"""A bridge's blocks back in their language model, as a folder of transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.files import write_whole
from lbbt_mm.language.checkpoint import Checkpoint, open_checkpoint, own_checkpoint
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.fallback_checkpoint import FallbackCheckpoint, own_fallback
from lbbt_mm.language.locate import local_path
from lbbt_mm.language.record import own_record
from lbbt_mm.language.storage import load_state_dict
from lbbt_mm.language.whole import Readers, is_the_start, started_from, whole_model
from lbbt_mm.models.backbone.lora import merged

SHARD = 5_000_000_000  # bytes, as transformers' own
_BESIDE = (  # what of a folder belongs to its tokeniser, and how to generate
    *("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json"),
    *("added_tokens.json", "spiece.model", "sentencepiece*", "chat_template*"),
    *("generation_config.json", "modules.json", "1_Pooling", "LICENSE*"),
    *("sentence_bert_config.json", "config_sentence_transformers.json"),
)


def open_bridge(checkpoint: str) -> Checkpoint | FallbackCheckpoint:
    """Open the blocks of a checkpoint of ours, its LoRA merged.

    Args:
        checkpoint: A ``.pth`` file of a run.

    Raises:
        CheckpointError: It cannot be read, or holds no language backbone.
    """
    state = load_state_dict(Path(checkpoint).expanduser())
    found = own_record(state, checkpoint)
    if found is not None and _is_foreign(found[1]):
        return own_fallback(checkpoint, state, *found)
    return bridge_in(state, checkpoint)


def bridge_in(state: dict[str, Any], origin: str) -> Checkpoint:
    """Find the blocks of ours in a model's state, LoRA merged.

    Args:
        state: Of the whole model.
        origin: Its file, for messages.

    Raises:
        CheckpointError: There is no language backbone in it.
    """
    record = own_record(state, origin)
    if record is not None and _is_foreign(record[1]):
        raise CheckpointError(
            f"{origin} holds blocks that run over transformers' own layers; expected "
            f"blocks of one of our families."
        )
    if record is not None and (record[1].get("use") or {}).get("lora"):
        state = merged(state, origin)
    bridge = own_checkpoint(state, origin)
    if bridge is None:
        raise CheckpointError(
            f"{origin} holds no LanguageBackbone: expected a checkpoint of a run with "
            f"one; its tensors are {', '.join(sorted(state)[:3]) or 'none'}, ..."
        )
    return bridge


def _is_foreign(record: Mapping[str, Any]) -> bool:
    """Whether a stack runs over transformers' own layers."""
    return "transformers" in (record.get("config") or {})


def source_of(bridge: Checkpoint, language_model: str | None = None) -> Checkpoint:
    """Open the language model that a bridge's blocks came from.

    Args:
        bridge: Of ours.
        language_model: Another place of it, or another one of the same architecture;
            by default the one that the checkpoint names.

    Raises:
        CheckpointError: It cannot be opened, has other blocks, or is not the one that
            the checkpoint says (without ``language_model``).
    """
    origin, first = started_from(bridge.record)
    asked = language_model or origin.get("source")
    if not asked:
        raise CheckpointError(
            f"{bridge.source} started from scratch, so there is no language model to "
            f"put its blocks back into; name one of the same sizes by --language-model."
        )
    source = open_checkpoint(asked)
    differences = bridge.config.differences(source.config)
    if source.config.num_layers < first + bridge.config.num_layers:
        differences.append(
            f"blocks: {first} to {first + bridge.config.num_layers - 1}, of "
            f"{source.config.num_layers}"
        )
    if differences:
        raise CheckpointError(
            f"{asked} is another model than the one in {bridge.source} (checkpoint != "
            f"language model): {'; '.join(differences)}."
        )
    if language_model is None and not is_the_start(source, origin):
        raise CheckpointError(
            f"{asked} holds other weights than those that {bridge.source} started "
            f"from; give the model that it was by --language-model, or this very one "
            f"if that is what you want."
        )
    return source


def blocks_of(bridge: Checkpoint) -> dict[int, Any]:
    """Read a bridge's blocks: their numbers in the language model, and their parts."""
    _, first = started_from(bridge.record)
    return {first + i: bridge.block(i) for i in range(bridge.config.num_layers)}


def write_folder(
    bridge: Checkpoint,
    source: Checkpoint,
    folder: Path,
    dtype: torch.dtype | None = None,
) -> list[str]:
    """Write the language model with the bridge's blocks.

    Args:
        bridge: Of ours.
        source: Where all else comes from.
        folder: To write into.
        dtype: Of all weights; by default the widest of the bridge's blocks, so that
            none of their bits is lost.

    Returns:
        Sentences on what does not go along.

    Raises:
        OSError: It cannot be written.
        CheckpointError: The language model cannot be read, or lies in that folder.
    """
    refuse_own_folder(source.source, folder)
    blocks = blocks_of(bridge)
    if dtype is None:
        kinds = (tensor.dtype for parts in blocks.values() for tensor in parts.values())
        dtype = reduce(torch.promote_types, kinds)
    config, readers = whole_model(source, blocks)
    for key in ("torch_dtype", "dtype"):
        config.pop(key, None)
    config["torch_dtype"] = str(dtype).removeprefix("torch.")
    _write_weights(readers, folder, dtype)
    notes = write_beside(source.source, folder)
    # Last: without it no half folder is taken for a model.
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")
    return other_use(bridge, source.config.attention) + notes


def refuse_own_folder(language_model: str, folder: Path) -> None:
    """Refuse to write over the language model itself."""
    own = local_path(language_model)
    if own is not None and folder.resolve() in (own.resolve(), own.resolve().parent):
        raise CheckpointError(
            f"{folder} holds the language model itself; write to another folder."
        )


def save_tensors(file: Path, tensors: dict[str, Tensor]) -> None:
    """Write a ``.safetensors`` file that everybody may read.

    Args:
        file: To write.
        tensors: By name; no two share their memory.
    """
    from safetensors.torch import save_file

    def save(part: Path) -> None:
        save_file(tensors, part, metadata={"format": "pt"})
        part.chmod(0o644)  # it makes files that only their owner may read

    write_whole(file, save)


def _write_weights(readers: Readers, folder: Path, dtype: torch.dtype) -> None:
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    weight_map: dict[str, str] = {}
    size = number = 0
    for number, held in enumerate(_shards(readers, dtype), 1):
        name = f"model-{number:05d}.safetensors"
        save_tensors(folder / name, held)
        weight_map |= dict.fromkeys(held, name)
        size += sum(tensor.nbytes for tensor in held.values())
    if number == 1:
        (folder / name).rename(folder / "model.safetensors")
        return
    index = dict(metadata=dict(total_size=size), weight_map=weight_map)
    write_whole(folder / "model.safetensors.index.json", json.dumps(index, indent=2))


def _shards(readers: Readers, dtype: torch.dtype) -> Iterator[dict[str, Tensor]]:
    """Read tensors in groups of a file each; one is in memory at a time."""
    held: dict[str, Tensor] = {}
    for name, read in readers.items():
        tensor = read().detach()
        kind = dtype if tensor.is_floating_point() else tensor.dtype
        # A copy: tied tables of old files share their memory, which the format refuses.
        tensor = tensor.to(kind, copy=True).contiguous()
        if held and sum(t.nbytes for t in held.values()) + tensor.nbytes > SHARD:
            yield held
            held = {}
        held[name] = tensor
    yield held


def write_beside(language_model: str, folder: Path) -> list[str]:
    """Copy the tokeniser and what else says how to use the model.

    Args:
        language_model: Where they lie.
        folder: To write into.

    Returns:
        A sentence if there is no tokeniser.
    """
    path = local_path(language_model)
    home = path if path is None or path.is_dir() else path.parent
    if home is not None and path is not None and path.suffix != ".gguf":
        for pattern in _BESIDE:
            for file in home.glob(pattern):
                if file.is_dir():
                    shutil.copytree(file, folder / file.name, dirs_exist_ok=True)
                else:
                    shutil.copy(file, folder / file.name)
        found = any(folder.glob("tokenizer*")) or any(folder.glob("vocab*"))
        return [] if found else [f"no tokeniser lies beside {language_model}"]
    from lbbt_mm.models.multimodal.causal_lm import open_tokenizer

    try:
        open_tokenizer(language_model).save_pretrained(folder)
    except (CheckpointError, ImportError) as error:
        return [f"no tokeniser was written: {error}"]
    return []


def other_use(bridge: Checkpoint | FallbackCheckpoint, attention: str) -> list[str]:
    """Say how blocks ran in a backbone and do not in their language model.

    Args:
        bridge: Of ours.
        attention: ``'causal'`` or ``'bidirectional'``, the language model's own.
    """
    use, notes = bridge.record.get("use") or {}, []
    look = use.get("attention", attention)
    if look != attention:
        notes.append(
            f"the blocks were trained with {look} attention, the language model runs "
            f"them with {attention} attention"
        )
    if "window_size" in use:
        notes.append("the blocks were trained with attention in windows")
    if use.get("position", "language") != "language":
        notes.append(
            f"the blocks were trained with position={use['position']!r}, the language "
            f"model runs them with its own positions"
        )
    return notes
