"""How a stack of ours describes itself inside a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lbbt_mm.language.errors import CheckpointError

RECORD_KEY = "_extra_state"
"""Last part of the state-dict key under which a stack of ours describes itself."""


def encode_record(fields: Mapping[str, Any]) -> Tensor:
    """Write a record as a uint8 tensor, which every checkpoint format can carry."""
    text = json.dumps({"lbbt_mm": 1, **fields}, sort_keys=True)
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).clone()


def decode_record(tensor: Tensor) -> dict[str, Any] | None:
    """Read what :func:`encode_record` wrote; ``None`` if it is something else."""
    try:
        fields = json.loads(bytes(tensor.cpu().to(torch.uint8).tolist()))
    except (ValueError, RuntimeError, AttributeError, TypeError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and "lbbt_mm" in fields else None


def own_record(
    tensors: Mapping[str, Any], origin: str
) -> tuple[str, dict[str, Any]] | None:
    """Find the stack of ours inside a model: its prefix and its record.

    Args:
        tensors: The model's state dict.
        origin: What the user gave, for messages.

    Returns:
        Of several, the one in the model's backbone: momentum encoders and teachers
        carry copies of it.

    Raises:
        CheckpointError: There are several, and none or more than one in the backbone.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.rpartition(".")[2] == RECORD_KEY and torch.is_tensor(value):
            fields = decode_record(value)
            if fields is not None:
                found[name[: -len(RECORD_KEY)]] = fields
    # Other modules describe themselves too, without an architecture.
    found = {root: f for root, f in found.items() if "config" in f} or found
    roots = list(found)
    if len(roots) > 1:
        roots = [root for root in roots if root.startswith("backbone.")]
        if len(roots) != 1:
            raise CheckpointError(
                f"{origin} holds {len(found)} language models, as "
                f"{', '.join(f'{root}*' for root in sorted(found)[:4])}; save the one "
                f"that is wanted alone."
            )
    return (roots[0], found[roots[0]]) if roots else None


class RecordedModel(nn.Module):
    """A stack whose state dict says what it is, so that a checkpoint is enough.

    Attributes:
        config: The architecture.
        origin: Where the weights came from.
        use: How the blocks are run, which the weights do not show.
    """

    config: Any
    origin: dict[str, Any]
    use: dict[str, Any]
    _read_config: Callable[[Any], Any]

    def get_extra_state(self) -> Tensor:
        """Return the record that makes a checkpoint enough by itself."""
        return encode_record(
            dict(config=self.config.to_dict(), origin=self.origin, use=self.use)
        )

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the origin of weights that are being loaded.

        Args:
            state: What :meth:`get_extra_state` returned.

        Raises:
            CheckpointError: The weights belong to another architecture of the same
                shapes, for example with another number of heads.
        """
        record = decode_record(state)
        if record is None:
            return
        differences = self.config.differences(self._read_config(record.get("config")))
        if differences:
            raise CheckpointError(
                f"The checkpoint holds another language model than the config builds "
                f"(built != stored): {'; '.join(differences)}."
            )
        self.origin = dict(record.get("origin") or {})
