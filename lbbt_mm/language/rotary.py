"""Rotary positions (arXiv 2104.09864) and the extensions of their context."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.kernels import is_recorded


class RotaryPositions(nn.Module):
    """Rotary position angles, for any number of tokens.

    The kinds of extension are those of transformers, by its names: ``'linear'``,
    ``'dynamic'`` (NTK), ``'yarn'`` (arXiv 2309.00071), ``'longrope'`` (2402.13753) and
    ``'llama3'``. ``'dynamic'`` and ``'longrope'`` depend on the length of the sequence:
    up to ``original_max_position_embeddings`` tokens they are as the model was trained.

    Args:
        config: Gives the channels, the base and the extension, whose numbers are all
            there.
    """

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.channels = config.rotated
        self.theta = config.rope_theta
        self.scaling = config.rope_scaling or {}

    def forward(self, tokens: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, each ``(tokens, channels)`` in float32."""
        places = torch.arange(tokens, device=device).float()
        length = places[-1] + 1 if is_recorded() else tokens
        frequencies = self._frequencies(length, device)
        angles = torch.outer(places, frequencies).repeat(1, 2)
        # Queries and keys become larger by it, and logits by its square.
        size = self.scaling.get("attention_factor", 1.0)
        if size == 1.0:
            return angles.cos(), angles.sin()
        return angles.cos() * size, angles.sin() * size

    def _frequencies(self, tokens: int | Tensor, device: torch.device) -> Tensor:
        scaling, channels = self.scaling, self.channels
        theta: Any = self.theta
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        trained = scaling.get("original_max_position_embeddings", math.inf)
        if kind == "dynamic":
            growth: Any = scaling["factor"] * (tokens / trained - 1) + 1
            growth = growth.clamp(min=1) if is_recorded() else max(growth, 1)
            theta = theta * growth ** (channels / (channels - 2))
        exponents = torch.arange(0, channels, 2, device=device).float()
        frequencies = theta ** (-exponents / channels)
        if kind in ("default", "dynamic"):
            return frequencies
        if kind == "longrope":
            short, long = (
                torch.tensor(scaling[f"{which}_factor"], device=device)
                for which in ("short", "long")
            )
            if not isinstance(tokens, int):
                return frequencies / torch.where(tokens > trained, long, short)
            return frequencies / (long if tokens > trained else short)
        slow = frequencies / scaling["factor"]
        if kind == "linear":
            return slow
        # Slow waves are stretched, fast ones kept, those between blended.
        if kind == "yarn":
            keep = 1 - self._ramp(trained, device)
        else:  # LLaMA 3
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            turns = trained * frequencies / (2 * math.pi)
            keep = ((turns - low) / (high - low)).clamp(0, 1)
        return keep * frequencies + (1 - keep) * slow

    def _ramp(self, trained: float, device: torch.device) -> Tensor:
        """Rise from 0 to 1 between the waves of many and of few turns in training."""
        channels, scaling = self.channels, self.scaling
        begin, end = (
            channels * math.log(trained / (turns * 2 * math.pi)) / math.log(self.theta)
            for turns in (scaling["beta_fast"], scaling["beta_slow"])
        )
        begin, end = begin / 2, end / 2
        if scaling["truncate"]:
            begin, end = math.floor(begin), math.ceil(end)
        begin, end = max(begin, 0), min(end, channels - 1)
        places = torch.arange(channels // 2, device=device).float()
        return ((places - begin) / (end - begin or 0.001)).clamp(0, 1)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn queries or keys ``(B, heads, T, D)`` by their positions' angles.

    Angles of fewer channels turn a head's first ones.
    """
    rest = x[..., cosines.shape[-1] :]
    x = x[..., : cosines.shape[-1]]
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    x = x * cosines.to(x.dtype) + turned * sines.to(x.dtype)
    return torch.cat((x, rest), dim=-1) if rest.shape[-1] else x
