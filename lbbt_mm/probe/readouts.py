"""What is read of a language backbone's tokens, and behind which block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.models.backbone.options import block_numbers

READOUTS: dict[str, Callable[[Any], Tensor]] = {
    "last": lambda output: output[-1][:, -1],
    "avg": lambda output: output[-1].mean(dim=1),
}
"""Name -> one vector per image of the tokens (N, L, C) of a backbone's last stage."""
WORDS = {"last": "last token", "avg": "mean of tokens"}


def choose_outputs(backbone: Any, readouts: Sequence[str], block: int | None) -> None:
    """Let a language backbone return the tokens of one block.

    Args:
        backbone: Changed in place.
        readouts: What the tokens are for; its own ``out_type`` stays without any.
        block: Which; its own without one.

    Raises:
        ValueError: There is no such block, or this is no language backbone.
    """
    if not readouts and block is None:
        return
    if not isinstance(backbone, LanguageBackbone):
        raise ValueError(
            "A chosen read-out or block expects an lbbt_mm.LanguageBackbone, got "
            f"{type(backbone).__name__}: leave --readout and --block out."
        )
    if readouts:
        backbone.out_type = "raw"
    places = backbone.out_indices if block is None else block
    backbone.out_indices = block_numbers(places, backbone.num_layers)[-1:]
