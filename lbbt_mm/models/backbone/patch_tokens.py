"""Images -> patch tokens, and tokens -> feature maps."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.kernels import is_recorded
from lbbt_mm.language.layers import stream_dtype


class PatchTokens(nn.Module):
    """The new patch embedding in front of a language model.

    Sides that the patch does not divide are padded with zeros at the right and the
    bottom. The kernel starts Xavier-uniform on its flattened form, as in the authors'
    code, times ``scale``.

    Args:
        width: Channels of a token.
        img_size: Height and width for which a position table is made, in pixels.
        patch_size: Side of a square patch, in pixels.
        in_channels: Channels of the images.
        position: ``'sincos2d'`` (fixed), ``'learned'``, or anything else for none.
    """

    positions: Any  # a parameter, a buffer or None

    def __init__(
        self,
        width: int,
        img_size: tuple[int, int],
        patch_size: int,
        in_channels: int,
        position: str,
    ) -> None:
        super().__init__()
        if position == "sincos2d" and width % 4:
            raise ValueError(
                f"position='sincos2d' needs a width that is a multiple of 4; the "
                f"language model has {width}."
            )
        self.patch_size = patch_size
        high, wide = img_size
        self.grid = math.ceil(high / patch_size), math.ceil(wide / patch_size)
        self.position = position
        self.projection = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        table = torch.empty(*self.grid, width)
        if position == "learned":
            self.positions = nn.Parameter(table)
        elif position == "sincos2d":
            # Persistent: its size follows the tokens' scale, which is part of a run.
            self.register_buffer("positions", table)
        else:
            self.positions = None
        self.reset_parameters()

    def unit_rms(self) -> float:
        """Return the expected root-mean-square of a token at scale 1.

        Exact over the draw of the kernel for pixels of unit root-mean-square, however
        correlated they are.
        """
        width, fan_in = self.projection.weight.flatten(1).shape
        return math.sqrt(2 * fan_in / (fan_in + width))

    @torch.no_grad()
    def reset_parameters(self, scale: float = 1.0) -> None:
        """Draw a new patch embedding and new positions.

        Args:
            scale: Factor on both, so that their ratio stays the same.
        """
        nn.init.xavier_uniform_(self.projection.weight.flatten(1))
        self.projection.weight.mul_(scale)
        nn.init.zeros_(self.projection.bias)  # type: ignore[arg-type]  # it has one
        if self.position == "learned":
            nn.init.trunc_normal_(self.positions, std=0.02)
            self.positions.mul_(scale)
        elif self.position == "sincos2d":
            rows, columns, width = self.positions.shape
            self.positions.copy_(sincos2d(rows, columns, width) * scale)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Cut images into tokens.

        Args:
            images: ``(B, in_channels, height, width)``.

        Returns:
            Tokens ``(B, rows * columns, C)`` in raster order, and ``(rows, columns)``.
        """
        tokens, grid = self.project(images)
        if self.positions is not None:
            tokens = tokens + self.places(grid)
        return tokens, grid

    def project(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Cut images into tokens, as :meth:`forward` without positions."""
        height, width = images.shape[-2:]
        bottom, right = -height % self.patch_size, -width % self.patch_size
        if is_recorded() or bottom or right:
            images = F.pad(images, (0, right, 0, bottom))
        dtype = stream_dtype(self)
        maps = self.projection(images.to(dtype))
        grid = (maps.shape[-2], maps.shape[-1])
        # Contiguous: every block's stream takes its layout from here, and torch
        # multiplies a transposed one by a frozen weight in as many copies of the weight
        # as there are images, seven times slower in bfloat16.
        return maps.flatten(2).transpose(1, 2).to(dtype).contiguous(), grid

    def places(self, grid: tuple[int, int]) -> Tensor:
        """Return the positions ``(rows * columns, C)`` of a grid; there must be any."""
        positions = self.positions
        if is_recorded() or grid != self.grid:
            positions = resize_positions(positions, grid)
        return positions.flatten(0, 1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Fit positions of another image size; refuse another patch embedding.

        mmengine would log both as a mismatch and go on with fresh numbers.
        """
        kernel = state_dict.get(f"{prefix}projection.weight")
        if kernel is not None and kernel.shape != self.projection.weight.shape:
            raise CheckpointError(
                f"The checkpoint's patch embedding is {_kernel(kernel)}, the model's "
                f"{_kernel(self.projection.weight)}; set "
                "patch_size and in_channels to the checkpoint's."
            )
        name = f"{prefix}positions"
        table = state_dict.get(name)
        if (
            table is not None
            and self.positions is not None
            and table.ndim == 3
            and table.shape[:2] != self.grid
            and table.shape[2] == self.positions.shape[2]
        ):
            state_dict[name] = resize_positions(table, self.grid)
            print_log(
                f"Positions of {table.shape[0]}x{table.shape[1]} patches in the "
                f"checkpoint are resized to the model's {self.grid[0]}x{self.grid[1]}.",
                logger="current",
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def _kernel(weight: Tensor) -> str:
    width, channels, rows, columns = weight.shape
    return f"{channels}x{rows}x{columns} -> {width} channels"


def resize_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Interpolate positions ``(rows, columns, C)`` to another grid, bicubically."""
    # Half floats have no kernel for it on a CPU, and would lose digits.
    wide = table.to(torch.promote_types(table.dtype, torch.float32))
    resized = F.interpolate(
        wide.permute(2, 0, 1)[None], size=grid, mode="bicubic", align_corners=False
    )
    return resized[0].permute(1, 2, 0).to(table.dtype)


def sincos2d(rows: int, columns: int, width: int) -> Tensor:
    """Fixed two-dimensional positions (MAE, arXiv 2111.06377).

    Args:
        rows: Patches from top to bottom.
        columns: Patches from left to right.
        width: Channels, a multiple of four.

    Returns:
        ``(rows, columns, width)``: a quarter each of sine and cosine of the column,
        sine and cosine of the row.
    """
    frequencies = 10000.0 ** (-torch.arange(width // 4) / (width // 4))
    by_row = torch.outer(torch.arange(rows).float(), frequencies)
    by_column = torch.outer(torch.arange(columns).float(), frequencies)
    by_row = by_row[:, None].expand(rows, columns, -1)
    by_column = by_column[None].expand(rows, columns, -1)
    return torch.cat(
        (by_column.sin(), by_column.cos(), by_row.sin(), by_row.cos()), dim=-1
    )


def shaped(tokens: Tensor, grid: tuple[int, int], out_type: str) -> Tensor:
    """Shape tokens ``(B, T, C)`` as ``LanguageBackbone``'s ``out_type`` says.

    What stands in front of the patches is left out.
    """
    tokens = tokens[:, -math.prod(grid) :]
    if out_type == "last":
        return tokens[:, -1]
    if out_type == "avg":
        return tokens.mean(dim=1)
    if out_type == "featmap":
        return tokens_to_map(tokens, grid)
    return tokens


def tokens_to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Reorder tokens ``(B, rows * columns, C)`` into ``(B, C, rows, columns)``."""
    return tokens.transpose(1, 2).unflatten(2, grid).contiguous()
