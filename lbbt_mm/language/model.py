"""The runnable stack of a language model's first N blocks."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from lbbt_mm.language.adapters import bare
from lbbt_mm.language.checkpoint import Checkpoint
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.initial import mimetic_
from lbbt_mm.language.kernels import Dropout, is_recorded
from lbbt_mm.language.layers import (
    NormAndProjection,
    Relative,
    TransformerBlock,
    build_norm,
    relative_bias,
    stream_dtype,
    stretched,
)
from lbbt_mm.language.record import RecordedModel
from lbbt_mm.language.rotary import RotaryPositions
from lbbt_mm.language.storage import tensor_bytes


class LanguageModel(RecordedModel):
    """Positions, blocks and final norm of a language model; no word embedding, no head.

    Its state dict carries a record of the architecture and of where the weights came
    from, so a checkpoint of any model that contains it can be opened by
    :func:`lbbt_mm.language.checkpoint.open_checkpoint` without another file.

    Args:
        config: The architecture, already cut to the blocks wanted.
        attention: ``'causal'`` or ``'bidirectional'``; the family's own by default.
        use_positions: Whether the language model's own positions (table, rotary or
            relative) take part.
        drop_rate: Replaces the family's dropout rates everywhere; ``None`` keeps them.
        initialise: Draw the family's own initialisation. Without it the memory is
            left as it is, for weights that are loaded next, and computes NaN.
        long_positions: What to do with more tokens than a position table has rows:
            ``'interpolate'`` it, or ``'refuse'``.
        distribution: What ``reset_parameters`` draws from.

    Attributes:
        positions: What is learned of the positions, shaped as the configuration's
            ``position_shape``, or ``None``.
        use: How the blocks are run, which the weights do not show; stands in the
            record. Whoever runs them otherwise edits it.
    """

    _read_config = staticmethod(LanguageConfig.from_dict)

    def __init__(
        self,
        config: LanguageConfig,
        attention: str | None = None,
        use_positions: bool = True,
        drop_rate: float | None = None,
        initialise: bool = True,
        distribution: str = "family",
        long_positions: str = "interpolate",
    ) -> None:
        super().__init__()
        if drop_rate is not None:
            config = dataclasses.replace(
                config,
                embed_drop=drop_rate,
                attn_drop=drop_rate,
                residual_drop=drop_rate,
                ffn_drop=drop_rate if config.ffn_drop else 0.0,
                final_drop=drop_rate if config.final_drop else 0.0,
            )
        self.config = config
        self.causal = (attention or config.attention) == "causal"
        self.origin: dict[str, Any] = {"source": None}
        self.long_positions = long_positions
        self._said_stretched = False
        self.use: dict[str, Any] = {
            "attention": "causal" if self.causal else "bidirectional",
            "position": "language" if use_positions else "none",
        }
        # nn.Linear's own initialisation would cost seconds and be overwritten.
        device = torch.empty(0).device
        with torch.device("meta"):
            self.positions: nn.Parameter | None = None
            if use_positions and config.position_shape is not None:
                self.positions = nn.Parameter(torch.empty(config.position_shape))
            narrow = config.embed_width is not None
            self.embed_norm = build_norm(config) if config.embed_norm else nn.Identity()
            if narrow:
                self.embed_norm = NormAndProjection(config)
            self.blocks = nn.ModuleList(
                TransformerBlock(config) for _ in range(config.num_layers)
            )
            self.final_norm = build_norm(config) if config.final_norm else nn.Identity()
        # As to_empty, which imports torch's symbolic shapes for a good half second.
        for module in list(self.modules()):
            for name, of_shape in list(module.named_parameters(recurse=False)):
                empty = torch.empty(of_shape.shape, dtype=of_shape.dtype, device=device)
                setattr(module, name, nn.Parameter(empty))
        self.drop = Dropout(0.0 if narrow else config.embed_drop)
        self.final_drop = Dropout(config.final_drop)
        rotary = use_positions and config.position == "rotary"
        self.rotary = RotaryPositions(config) if rotary else None
        self.distribution = distribution
        if initialise:
            self.reset_parameters()
            return
        # Memory that nothing was written to computes NaN, not plausible noise.
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.constant_(module.weight, math.nan)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the blocks as from scratch, by the ``distribution`` of the constructor.

        ``'family'``: linear weights and the position table are normal with
        ``init_std``, biases zero, norms one. GPT-2 divides the two projections into the
        stream by ``sqrt(2 * num_layers)``, counting the blocks that are there. T5
        divides ``init_std`` by the root of a weight's inputs, for queries also by that
        of ``head_dim`` in place of scaling the logits, and its norms start at
        ``init_std``: 0.05 in Chronos, 1 in T5. ``'gpt2'``: as GPT-2 whatever the
        family. ``'mimetic'``: the family's own, with attention by
        :func:`lbbt_mm.language.initial.mimetic_`.
        """
        with bare(self):
            self._draw()
        self.origin = {"source": None}
        if self.distribution != "family":
            self.origin["distribution"] = self.distribution

    def _draw(self) -> None:
        config = self.config
        if self.distribution == "gpt2":
            config = dataclasses.replace(
                config, init_std=0.02, scaled_residual_init=True, fan_in_init=False
            )
        spread = config.init_std
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if config.fan_in_init:
                    spread = config.init_std / math.sqrt(module.in_features)
                nn.init.normal_(module.weight, std=spread)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                start = config.init_std if config.fan_in_init else 1.0
                nn.init.constant_(module.weight, start)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if config.scaled_residual_init:
            std = config.init_std / math.sqrt(2 * config.num_layers)
            for block in self.blocks:
                assert isinstance(block, TransformerBlock)
                nn.init.normal_(block.out.weight, std=std)
                nn.init.normal_(block.down.weight, std=std)
        if config.fan_in_init:
            spread = config.init_std / math.sqrt(config.width)
            for block in self.blocks:
                assert isinstance(block, TransformerBlock)
                block.qkv.weight[: block.q_rows] /= math.sqrt(config.head_dim)
        if self.positions is not None:
            nn.init.normal_(self.positions, std=spread)
        if self.distribution == "mimetic":
            for block in self.blocks:
                assert isinstance(block, TransformerBlock)
                mimetic_(block)

    @torch.no_grad()
    def load(self, checkpoint: Checkpoint, first_block: int = 0) -> None:
        """Copy blocks, positions and norms of a language model, in place.

        Only the tensors that are needed are read.

        Args:
            checkpoint: An opened language model.
            first_block: The block that the first one is filled from.

        Raises:
            CheckpointError: Its architecture differs, or it has too few blocks.
        """
        differences = self.config.differences(checkpoint.config)
        needed = first_block + self.config.num_layers
        if checkpoint.config.num_layers < needed:
            start = f"first_block {first_block} + " if first_block else ""
            differences.append(
                f"{start}num_layers: {needed} > {checkpoint.config.num_layers}"
            )
        if differences:
            raise CheckpointError(
                f"{checkpoint.source} does not fit the model that was built "
                f"(built != stored): {'; '.join(differences)}."
            )
        digest = hashlib.sha256()

        def copy(target: Tensor, source: Tensor) -> None:
            # In place: an optimiser or a distributed wrapper may hold it already.
            target.copy_(source)
            digest.update(tensor_bytes(target))

        with bare(self):
            for index, block in enumerate(self.blocks):
                for name, tensor in checkpoint.block(first_block + index).items():
                    copy(block.get_parameter(name), tensor)
        if self.positions is not None:
            table = checkpoint.positions()
            if table.shape != self.positions.shape:
                raise CheckpointError(
                    f"{checkpoint.source} has a position table of {list(table.shape)}; "
                    f"the model that was built has {list(self.positions.shape)}."
                )
            copy(self.positions, table)
        for name in ("embed_norm", "final_norm"):
            for kind, parameter in getattr(self, name).named_parameters():
                copy(parameter, checkpoint.norm(name)[kind])
        self.origin = {
            "source": checkpoint.source,
            "sha256": digest.hexdigest(),
            "blocks": self.config.num_layers,
        }
        if first_block:
            self.origin["first_block"] = first_block
        if checkpoint.record:
            self.origin["parent"] = checkpoint.record.get("origin")

    def embed(self, tokens: Tensor, rows: Tensor | None = None) -> Tensor:
        """Add positions to tokens ``(B, T, C)``; norm and dropout as in the family.

        Tokens have the configuration's ``input_width``. The result has the dtype of
        the stack. ``rows`` ``(B, T, input_width)`` are added in place of those of the
        table.
        """
        tokens = tokens.to(stream_dtype(self.embed_norm, self.blocks))
        if self.positions is not None and self.config.position == "table":
            if rows is None:
                rows = self.position_rows(tokens.shape[1])
            tokens = tokens + rows.to(tokens.dtype)
        return self.drop(self.embed_norm(tokens))

    def check_length(self, tokens: int) -> bool:
        """Tell whether a position table has rows for all tokens of a sequence.

        The log says, once, that it has not and is stretched.

        Args:
            tokens: Length of the sequence.

        Raises:
            ValueError: It has not, and ``long_positions`` is ``'refuse'``.
        """
        if self.positions is None or self.config.position != "table":
            return True
        rows = len(self.positions)
        if tokens <= rows:
            return True
        found = (
            f"{tokens} tokens are more than the {rows} positions that this "
            f"{self.config.family} model has"
        )
        if self.long_positions == "refuse":
            raise ValueError(
                f"{found}; take larger patches or smaller images, other positions "
                f"(position='sincos2d' or 'learned'), or long_positions='interpolate'."
            )
        if not self._said_stretched:
            self._said_stretched = True
            print_log(
                f"{found}: the whole table is interpolated, so that tokens get other "
                f"positions than the model learned for them (long_positions='refuse' "
                f"makes this an error; position='sincos2d' or 'learned' fits any "
                f"number).",
                logger="current",
                level=logging.WARNING,
            )
        return False

    def position_rows(self, tokens: int) -> Tensor:
        """Return ``(tokens, input_width)``; interpolated if the table is too short."""
        assert self.positions is not None and self.config.position == "table"
        if is_recorded() and self.long_positions == "interpolate":
            return stretched(self.positions, tokens)
        if self.check_length(tokens):
            return self.positions[:tokens]
        return stretched(self.positions, tokens)

    def relative_positions(
        self, tokens: Tensor, places: Tensor | None = None
    ) -> Relative:
        """Return what acts inside every block's attention.

        Args:
            tokens: ``(B, T, C)``.
            places: Where in the sequence the tokens of N parts of it stand, for
                attention inside of each, ``(N, T')``.

        Returns:
            Cosines and sines ``(T, D)`` of rotary positions, T5's bias of the logits
            ``(H, T, T)``, or ``None`` where the family has neither or they are off. Of
            parts, ``(N, 1, T', D)`` and ``(N, H, T', T')``.
        """
        if self.positions is not None and self.config.position == "relative":
            max_distance = self.config.relative_max_distance
            assert max_distance is not None
            length = tokens.shape[1]
            return relative_bias(self.positions, length, max_distance, places)
        if self.rotary is None:
            return None
        angles = self.rotary(tokens.shape[1], tokens.device)
        if places is None:
            return angles
        return angles[0][places][:, None], angles[1][places][:, None]

    def finish(self, tokens: Tensor) -> Tensor:
        """Apply what follows the last block: norm and dropout as in the family."""
        return self.final_drop(self.final_norm(tokens))

    def forward(self, inputs_embeds: Tensor) -> Tensor:
        """Run the whole stack.

        Args:
            inputs_embeds: ``(B, T, input_width)``, in the place of word embeddings.

        Returns:
            Last hidden states ``(B, T, C)``, final norm included: transformers'
            ``last_hidden_state``.
        """
        x = self.embed(inputs_embeds)
        relative = self.relative_positions(x)
        for block in self.blocks:
            x = block(x, self.causal, relative)
        return self.finish(x)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Refuse other positions, which mmengine would log and leave as drawn."""
        stored = state_dict.get(f"{prefix}positions")
        if (
            stored is not None
            and self.positions is not None
            and stored.shape != self.positions.shape
        ):
            raise CheckpointError(
                f"The checkpoint's language model has {len(stored)} positions of "
                f"{stored.shape[-1]} numbers, the config's {len(self.positions)} of "
                f"{self.positions.shape[-1]}; set language_model to the one that the "
                f"checkpoint was trained with."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)
