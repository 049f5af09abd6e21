"""A token in front of an image's patches, which attention may gather on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lbbt_mm.language import Checkpoint
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.fallback_checkpoint import FallbackCheckpoint
from lbbt_mm.language.fallback_config import FallbackConfig
from lbbt_mm.language.first_token import first_token


class PrefixTokens(nn.Module):
    """One learnable token in front of those of an image.

    A language model's attention gathers on its first position; without such a token
    the first patch is spent on it.

    Args:
        config: The language model's architecture.
        kind: ``'language'`` for its own first token, which is zero until it is read;
            ``'new'`` for one drawn like a word of its family.
    """

    def __init__(self, config: LanguageConfig | FallbackConfig, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._std = config.init_std
        self.tokens = nn.Parameter(torch.zeros(1, config.input_width))
        if kind == "new":
            nn.init.normal_(self.tokens, std=self._std)

    @torch.no_grad()
    def start_from(self, source: Checkpoint | FallbackCheckpoint | None) -> None:
        """Fill it: from a bridge that had one, from the words, or newly drawn.

        Args:
            source: The opened language model; none is needed for ``'new'``.

        Raises:
            CheckpointError: It has no first token.
        """
        stored = source.beside.get("prefix.tokens") if source is not None else None
        if stored is not None:
            self.tokens.copy_(stored)
        elif self.kind == "new":
            nn.init.normal_(self.tokens, std=self._std)
        else:
            assert isinstance(source, Checkpoint)
            self.tokens.copy_(first_token(source))

    def forward(self, tokens: Tensor) -> Tensor:
        """Stand in front of tokens: ``(B, T, C)`` -> ``(B, 1 + T, C)``."""
        front = self.tokens.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        return torch.cat((front, tokens), dim=1)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: object
    ) -> None:
        """Refuse a token of another width, which mmengine would log and leave."""
        stored = state_dict.get(f"{prefix}tokens")
        if stored is not None and stored.shape != self.tokens.shape:
            raise CheckpointError(
                f"The checkpoint's prefix token is {list(stored.shape)}, the model's "
                f"{list(self.tokens.shape)}: they are of different language models."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)
