"""A pyramid of feature maps out of one: ViTDet's neck."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from lbbt_mm.language.kernels import is_compiling
from lbbt_mm.models.backbone.options import whole
from lbbt_mm.registry import MODELS
from lbbt_mm.version import require

_STRIDE = "_lbbt_stride"


def mark_stride(maps: Tensor, stride: int) -> Tensor:
    """Write on a feature map how many pixels lie between its places.

    Nothing else tells a neck what the backbone's patch size is.
    """
    if not is_compiling():
        setattr(maps, _STRIDE, stride)
    return maps


class ChannelNorm(nn.LayerNorm):
    """A LayerNorm over the channels of each place of ``(B, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """ViTDet's simple feature pyramid (arXiv 2203.16527): levels from one map.

    A finer level comes from the map by transposed convolutions of stride 2, each with
    half of the channels of the one before; a coarser one by max-pooling. Then a 1x1 and
    a 3x3 convolution, each with a norm. Levels above twice the map's stride are every
    second place of the level below, as in an FPN of mmdet and in ViTDet.

    Args:
        in_channels: Channels of the map: the language model's width.
        out_channels: Channels of every level.
        in_stride: Pixels from one place of the map to the next: the backbone's
            ``patch_size``.
        strides: Of the levels, in pixels, each twice the one before.
        norm_cfg: ``dict(type='LN')`` is a LayerNorm over the channels of each place;
            any other norm of mmcv (``BN``, ``SyncBN``, ``GN``); ``None`` for none.
        init_cfg: mmengine's initialisation.

    Raises:
        ValueError: ``strides`` cannot be made from ``in_stride``; in a forward pass:
            what comes is not one map of these channels and this stride.

    Example:
        >>> model = dict(
        ...     backbone=dict(type="lbbt_mm.LanguageBackbone", language_model="gpt2",
        ...                   attention="bidirectional", out_type="featmap"),
        ...     neck=dict(type="lbbt_mm.SimpleFeaturePyramid", in_channels=768))
        >>> neck = SimpleFeaturePyramid(768)
        >>> [tuple(level.shape[1:]) for level in neck((torch.rand(1, 768, 8, 8),))]
        [(256, 32, 32), (256, 16, 16), (256, 8, 8), (256, 4, 4)]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        in_stride: int = 16,
        strides: Sequence[int] = (4, 8, 16, 32),
        norm_cfg: Mapping[str, Any] | None = dict(type="LN", eps=1e-6),  # noqa: B006
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = whole("in_channels", in_channels, "channels")
        self.in_stride = whole("in_stride", in_stride, "pixels")
        whole("out_channels", out_channels, "channels")
        if not isinstance(strides, (list, tuple)):
            raise ValueError(
                f"strides must be a list of whole numbers of pixels, got {strides!r}."
            )
        self.strides = tuple(whole("each of strides", s, "pixels") for s in strides)
        if not (
            norm_cfg is None or isinstance(norm_cfg, Mapping) and "type" in norm_cfg
        ):
            raise ValueError(
                f"norm_cfg must be a dict with type, such as dict(type='LN'), or None; "
                f"got {norm_cfg!r}."
            )
        _check_strides(self.strides, in_stride, in_channels)
        self.levels = nn.ModuleList()
        for stride in self.strides:
            if stride > 2 * in_stride and len(self.levels):
                break
            scaled, channels = _rescale(in_channels, in_stride, stride, norm_cfg)
            bias = norm_cfg is None
            scaled += [
                nn.Conv2d(channels, out_channels, 1, bias=bias),
                _norm(norm_cfg, out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias),
                _norm(norm_cfg, out_channels),
            ]
            self.levels.append(nn.Sequential(*scaled))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make the levels.

        Args:
            inputs: One map ``(B, in_channels, H, W)``, in a tuple as backbones return
                it.

        Returns:
            One map ``(B, out_channels, H', W')`` for each of ``strides``. Sides are
            ``H * in_stride / stride``, rounded up.
        """
        maps = self._one_map(inputs)
        levels = [level(maps) for level in self.levels]
        while len(levels) < len(self.strides):
            levels.append(levels[-1][:, :, ::2, ::2])
        # mmcv's RoIAlign reads memory in this order, whatever a tensor's strides say.
        return tuple(level.contiguous() for level in levels)

    def _one_map(self, inputs: Sequence[Tensor]) -> Tensor:
        found = "; ".join(str(tuple(one.shape)) for one in inputs)
        if len(inputs) != 1 or inputs[0].ndim != 4:
            raise ValueError(
                f"SimpleFeaturePyramid takes one map (B, {self.in_channels}, rows, "
                f"columns), got {found}; set the backbone's out_type='featmap' and "
                f"out_indices=-1."
            )
        if inputs[0].shape[1] != self.in_channels:
            raise ValueError(
                f"SimpleFeaturePyramid was built for in_channels={self.in_channels}, "
                f"got a map of {inputs[0].shape[1]} channels: set in_channels to the "
                f"backbone's width."
            )
        stride = getattr(inputs[0], _STRIDE, self.in_stride)
        if stride != self.in_stride:
            raise ValueError(
                f"SimpleFeaturePyramid was built for in_stride={self.in_stride}, got a "
                f"map of stride {stride}: set in_stride to the backbone's patch_size, "
                f"or its levels would not have the strides {self.strides}."
            )
        return inputs[0]


def _check_strides(strides: tuple[int, ...], in_stride: int, channels: int) -> None:
    rising = all(b == 2 * a for a, b in zip(strides, strides[1:], strict=False))
    power = math.log2(strides[0] / in_stride) if strides and strides[0] > 0 else 0.5
    if not rising or power != round(power) or power > 1:
        raise ValueError(
            f"SimpleFeaturePyramid: strides must each be twice the one before, and the "
            f"first at most twice in_stride={in_stride} and a power of two times it; "
            f"got {strides}."
        )
    if channels % 2 ** max(0, -int(power)):
        raise ValueError(
            f"SimpleFeaturePyramid: stride {strides[0]} halves in_channels={channels} "
            f"{-int(power)} times, which it does not divide."
        )


def _rescale(
    channels: int, in_stride: int, stride: int, norm_cfg: Mapping[str, Any] | None
) -> tuple[list[nn.Module], int]:
    """Layers from the map to a level's size, and the channels that come out."""
    if stride > in_stride:
        return [nn.MaxPool2d(2, ceil_mode=True)], channels
    layers: list[nn.Module] = []
    while stride < in_stride:
        if layers:
            layers += [_norm(norm_cfg, channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels, stride = channels // 2, stride * 2
    return layers, channels


def _norm(norm_cfg: Mapping[str, Any] | None, channels: int) -> nn.Module:
    if norm_cfg is None:
        return nn.Identity()
    settings = dict(norm_cfg)
    if settings["type"] == "LN":
        trains = settings.pop("requires_grad", True)
        del settings["type"]
        return ChannelNorm(channels, **settings).requires_grad_(trains)
    require("mmcv", "lbbt_mm.SimpleFeaturePyramid(norm_cfg=...) but of type 'LN'")
    from mmcv.cnn import build_norm_layer

    return build_norm_layer(settings, channels)[1]
