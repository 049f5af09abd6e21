"""What is read: a language backbone's tokens behind a block, or the raw pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.models.backbone.options import block_numbers

_MAX_SIDE = 32  # pixels of the images that a linear layer reads


def raw_pixels(images: Tensor) -> Tensor:
    """Flatten images: the baseline that every probe must beat.

    Args:
        images: ``(N, C, H, W)``. Larger ones are averaged down to 32 x 32 first.

    Returns:
        ``(N, C * h * w)``.
    """
    height, width = (min(side, _MAX_SIDE) for side in images.shape[-2:])
    return adaptive_avg_pool2d(images.float(), (height, width)).flatten(1)


READOUTS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "last": lambda images, output: output[-1][:, -1],
    "avg": lambda images, output: output[-1].mean(dim=1),
    "pixels": lambda images, output: raw_pixels(images),
}
"""Name -> one vector per image, of the images as the model gets them, and of the tokens
(N, L, C) of a backbone's last stage."""
WORDS = {
    "last": "last token",
    "avg": "mean of tokens",
    "pixels": "raw pixels, no model",
}


def choose_outputs(backbone: Any, readouts: Sequence[str], block: int | None) -> None:
    """Let a language backbone return the tokens of one block.

    Args:
        backbone: Changed in place.
        readouts: What the tokens are for; its own ``out_type`` stays without any.
        block: Which; its own without one.

    Raises:
        ValueError: There is no such block, or this is no language backbone.
    """
    readouts = [name for name in readouts if name != "pixels"]
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
