"""Attention in windows of the map in most blocks, as in ViTDet (arXiv 2203.16527)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from lbbt_mm.language import LanguageModel
from lbbt_mm.language.fallback_config import AnyConfig, FallbackConfig
from lbbt_mm.models.backbone.options import block_numbers, whole

if TYPE_CHECKING:
    from lbbt_mm.models.backbone.language_backbone import LanguageBackbone

_GLOBAL_BLOCKS = 4  # ViTDet's


def read_windows(window_size: Any, global_blocks: Any, config: AnyConfig) -> list[int]:
    """Read the options ``window_size`` and ``global_blocks``.

    Args:
        window_size: Side of a window in patches, or ``None`` for no windows.
        global_blocks: Numbers of the blocks that see the whole map, or how many: the
            last of each of as many equal parts of the blocks. ``None``: four.
        config: The architecture, cut to the blocks that there are.

    Returns:
        The global blocks counted from 0, rising; all of them without windows.

    Raises:
        ValueError: One of them is none of these, or has no effect; or the model runs
            over transformers' own layers.
    """
    if window_size is None:
        if global_blocks is not None:
            raise ValueError(
                f"global_blocks={global_blocks!r} has no effect without window_size: "
                f"all blocks see the whole map."
            )
        return list(range(config.num_layers))
    if isinstance(config, FallbackConfig):
        raise ValueError(
            f"window_size: this {config.family} model runs over transformers' own "
            f"layers, which make positions and masks of the whole sequence by "
            f"themselves; windows are for the families of our stack."
        )
    side, num_layers = whole("window_size", window_size, "patches"), config.num_layers
    chosen = _GLOBAL_BLOCKS if global_blocks is None else global_blocks
    if isinstance(chosen, Sequence) and not isinstance(chosen, str):
        found = block_numbers(chosen, num_layers, "global_blocks") if chosen else ()
        blocks = sorted(set(found))
    else:
        count = whole("global_blocks", chosen, "blocks, or a list of their numbers")
        count = min(count, num_layers)
        blocks = [(part + 1) * num_layers // count - 1 for part in range(count)]
    if len(blocks) == num_layers:
        raise ValueError(
            f"window_size={side} has no effect: all {num_layers} blocks are global "
            f"(global_blocks={global_blocks!r}, four if not given)."
        )
    print_log(
        f"LanguageBackbone: windows of {side} x {side} patches; "
        f"{', '.join(map(str, blocks)) or 'none'} of {num_layers} blocks see the whole "
        f"map.",
        logger="current",
    )
    return blocks


def cut_windows(
    backbone: LanguageBackbone, tokens: Tensor, grid: tuple[int, int]
) -> Windows | None:
    """Cut the map of a batch as a backbone's ``window_size`` says; ``None``: not."""
    if backbone.window_size is None:
        return None
    assert isinstance(backbone.language, LanguageModel)
    return Windows(backbone.window_size, grid, backbone.language, tokens)


class Windows:
    """A map of tokens, cut into windows; what stands in front is in each of them.

    A block in windows computes what it would compute over the whole map if each patch
    saw those of its window only: positions keep their places in the whole sequence, a
    causal patch sees what precedes it in its window. Tokens in front of the patches
    are seen by every window, and see each; they become the mean of what they would
    become in each.

    A map that the window does not divide is padded at the right and the bottom by
    tokens that nothing sees. A window that is larger than the map is the map.

    Args:
        side: Of a window, in patches.
        grid: Rows and columns of the map.
        language: Whose positions are taken.
        tokens: The sequence, ``(B, T, C)``; what is no patch stands in front.

    Raises:
        ValueError: The language model's own window along the sequence is shorter.
    """

    def __init__(
        self,
        side: int,
        grid: tuple[int, int],
        language: LanguageModel,
        tokens: Tensor,
    ) -> None:
        self._grid, self._front = grid, tokens.shape[1] - math.prod(grid)
        self._side = min(side, grid[0]), min(side, grid[1])
        self._counts = tuple(
            math.ceil(n / side) for n, side in zip(grid, self._side, strict=True)
        )
        self._count = math.prod(self._counts)
        length, reach = tokens.shape[1], language.config.sliding_window
        if reach is not None and length > reach:
            raise ValueError(
                f"window_size: {length} tokens are more than the {reach} that this "
                f"{language.config.family} model attends to, which is a window along "
                f"the sequence; take larger patches or smaller images."
            )
        places = torch.arange(1, length + 1, device=tokens.device)
        places_NT = self.cut(places.view(1, -1, 1))[:, :, 0] - 1
        self._hidden = places_NT < 0 if self._padded() else None
        if not self._front:
            # Only differences of places count: all windows are as the first.
            places_NT = places_NT[:1]
        places_NT = places_NT.clamp(min=0)
        self._relative = language.relative_positions(tokens, places_NT)

    def _padded(self) -> tuple[int, int] | tuple[()]:
        """Rows and columns to add at the bottom and the right; empty for none."""
        rows, columns = (
            -n % side for n, side in zip(self._grid, self._side, strict=True)
        )
        return (rows, columns) if rows or columns else ()

    def cut(self, tokens: Tensor) -> Tensor:
        """Cut ``(B, T, C)`` into windows ``(B * N, T', C)``, image by image."""
        (down, across), (high, wide) = self._counts, self._side
        patches = tokens[:, self._front :].unflatten(1, self._grid)
        if padded := self._padded():
            patches = F.pad(patches, (0, 0, 0, padded[1], 0, padded[0]))
        # No -1: a trace at another size shall fail, not cut elsewhere.
        sizes = (tokens.shape[0], down, high, across, wide, tokens.shape[2])
        windows = patches.reshape(sizes).transpose(2, 3).flatten(1, 2)
        windows = windows.reshape(-1, high * wide, tokens.shape[2])
        if not self._front:
            return windows
        front = tokens[:, : self._front].repeat_interleave(self._count, 0)
        return torch.cat((front, windows), 1)

    def join(self, windows: Tensor) -> Tensor:
        """Put together what :meth:`cut` cut."""
        (down, across), (high, wide) = self._counts, self._side
        front = windows[:, : self._front].unflatten(0, (-1, self._count)).mean(1)
        patches = windows[:, self._front :].reshape(-1, down, across, high, wide,
                                                    windows.shape[-1])  # fmt: skip
        patches = patches.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        patches = patches[:, : self._grid[0], : self._grid[1]].flatten(1, 2)
        return torch.cat((front, patches), 1) if self._front else patches.contiguous()

    def inputs(self, tokens: Tensor, causal: bool) -> tuple[Any, ...]:
        """Return what a block is called with, for tokens ``(B, T, C)``."""
        relative, hidden = self._relative, self._hidden
        images = tokens.shape[0]
        if self._front and isinstance(relative, tuple):
            cosines, sines = (one.repeat(images, 1, 1, 1) for one in relative)
            relative = cosines, sines
        elif self._front and isinstance(relative, Tensor):
            relative = relative.repeat(images, 1, 1, 1)
        if hidden is not None:
            hidden = hidden.repeat(images, 1)
        return self.cut(tokens), causal, relative, False, hidden
