"""Layers of transformers, trained here, back in their language model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.export.hugging_face import (
    SHARD,
    other_use,
    refuse_own_folder,
    write_beside,
)
from lbbt_mm.files import write_whole
from lbbt_mm.language.errors import FOREIGN, CheckpointError
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.language.fallback_checkpoint import FallbackCheckpoint, open_fallback
from lbbt_mm.language.whole import started_from


def fallback_source(
    bridge: FallbackCheckpoint, language_model: str | None = None
) -> FallbackCheckpoint:
    """Open the language model that the layers of a bridge came from.

    Args:
        bridge: Of ours, over transformers' own layers.
        language_model: Another place of it, or another one of the same architecture;
            by default the one that the checkpoint names.

    Raises:
        CheckpointError: It cannot be opened, is of another architecture, or is not the
            one that the checkpoint says (without ``language_model``).
    """
    origin, _ = started_from(bridge.record)
    asked = language_model or origin.get("source")
    if not asked:
        raise CheckpointError(
            f"{bridge.source} started from scratch, so there is no language model to "
            f"put its layers back into; name one of the same sizes by --language-model."
        )
    source = open_fallback(asked)
    if source.record:
        raise CheckpointError(
            f"{asked} is a checkpoint of blocks, without words; expected a whole "
            f"language model."
        )
    differences = bridge.config.differences(source.config)
    if differences:
        raise CheckpointError(
            f"{asked} is another model than the one in {bridge.source} (checkpoint != "
            f"language model): {'; '.join(differences)}."
        )
    if language_model is None:
        start = FallbackModel(source.config.with_layers(origin.get("blocks")))
        start.load(source)
        if start.origin["sha256"] != origin.get("sha256"):
            raise CheckpointError(
                f"{asked} holds other weights than those that {bridge.source} started "
                f"from; give the model that it was by --language-model, or this very "
                f"one if that is what you want."
            )
    return source


def put_back(stack: FallbackModel, source: FallbackCheckpoint) -> tuple[Any, set[str]]:
    """Build a whole language model with layers of ours in their places.

    Args:
        stack: Of ours, with its weights.
        source: Where all else comes from.

    Returns:
        transformers' model, and the names of weights that the source does not hold.

    Raises:
        CheckpointError: The layers do not stand in it one by one.
    """
    model, missing = source.whole()
    row = _row_of(model, stack, source)
    blocks: Any = stack.blocks
    given = [block.layer.state_dict() for block in blocks]
    for layer, state in zip(row, given, strict=False):
        layer.load_state_dict(state)
    # Layers that share weights hold what was written last.
    for number, (layer, state) in enumerate(zip(row, given, strict=False)):
        if not _equal(layer.state_dict(), state):
            raise CheckpointError(
                f"Layer {number} of this {source.config.family} model shares weights "
                f"with a later one, so a bridge's layers have no places of their own "
                f"in it."
            )
    return model, missing


def write_fallback(
    bridge: FallbackCheckpoint,
    source: FallbackCheckpoint,
    folder: Path,
    dtype: torch.dtype | None = None,
) -> list[str]:
    """Write the language model with the bridge's layers, as transformers does.

    Args:
        bridge: Of ours.
        source: Where all else comes from.
        folder: To write into.
        dtype: Of all weights; float32, in which the layers run, by default.

    Returns:
        Sentences on what does not go along.

    Raises:
        CheckpointError: See :func:`put_back`; or the language model lies in that
            folder.
        OSError: It cannot be written.
    """
    refuse_own_folder(source.source, folder)
    stack = FallbackModel(bridge.config)
    with torch.no_grad():
        bridge.fill(stack, lambda tensor: None)
    model, missing = put_back(stack, source)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(dtype or torch.float32)
    state = {n: t for n, t in model.state_dict().items() if n not in missing}
    with tempfile.TemporaryDirectory(dir=folder) as part:
        model.save_pretrained(part, state_dict=state, max_shard_size=SHARD)
        for old in folder.glob("model*.safetensors*"):
            old.unlink()
        # The config last: without it no half folder is taken for a model.
        files = sorted(
            Path(part).iterdir(), key=lambda file: file.name == "config.json"
        )
        for file in files:
            file.chmod(0o644)  # safetensors makes files that only their owner may read
            write_whole(folder / file.name, file.replace)
    notes = write_beside(source.source, folder)
    return other_use(bridge, "causal" if stack.causal else "bidirectional") + notes


def _row_of(model: Any, stack: FallbackModel, source: FallbackCheckpoint) -> Any:
    """Find the row of layers, in the text model if the whole has other ones beside."""
    import transformers

    config = source.config.transformers
    kinds: Any = transformers.MODEL_MAPPING[type(config)]
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    found = [part for part in model.modules() if type(part) in kinds]
    try:
        (inner,) = found
        if config.is_encoder_decoder:
            inner = inner.get_encoder()
        return inner.get_submodule(stack.trunk.path)
    except FOREIGN as error:
        raise CheckpointError(
            f"{source.source} is a {type(model).__name__}, in which no row of layers "
            f"was found where the backbone has them ({stack.trunk.path} of "
            f"{' or '.join(kind.__name__ for kind in kinds)})."
        ) from error


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())
