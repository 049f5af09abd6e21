"""A language model's blocks as a vision backbone: one class for every task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lbbt_mm.language.fallback import build_stack
from lbbt_mm.language.fallback_config import AnyConfig
from lbbt_mm.language.fallback_parts import refuse_named
from lbbt_mm.models.backbone.first_weights import draw_or_read, draw_patch_embed
from lbbt_mm.models.backbone.late_architecture import LateArchitecture
from lbbt_mm.models.backbone.lora import add_lora
from lbbt_mm.models.backbone.options import (
    block_numbers,
    check_first_block,
    check_flags,
    check_options,
    check_scale,
    height_and_width,
    refuse_unknown,
    say_equal_strides,
    side,
    whole,
)
from lbbt_mm.models.backbone.patch_tokens import PatchTokens, shaped
from lbbt_mm.models.backbone.prefix import PrefixTokens
from lbbt_mm.models.backbone.run_block import run_block
from lbbt_mm.models.backbone.simple_pyramid import mark_stride
from lbbt_mm.models.backbone.trainable import (
    freeze,
    frozen_prefix,
    layer_depth,
    parse_trainable,
    rest,
    say_trainable,
)
from lbbt_mm.models.backbone.windows import Windows, cut_windows, read_windows
from lbbt_mm.models.pretrained import load_part, split_pretrained
from lbbt_mm.registry import MODELS


@MODELS.register_module()
class LanguageBackbone(LateArchitecture):
    """Image -> patch tokens -> a language model's blocks -> features.

    Language weights are read by ``init_weights()``, which every OpenMMLab runner calls
    before training; loading a checkpoint of the whole model takes their place. A
    forward pass before either is an error, never silent noise.

    Args:
        language_model: Hub id, folder, file or ``'package:NAME/FILE'``; see
            :func:`lbbt_mm.language.open_checkpoint`. A checkpoint of ours brings its
            patch embedding along, if patch size and channels are the same.
        pretrained: Whether the blocks start from the language model's weights, or
            from its family's own initialisation ("scratch", which needs no file for a
            known model).
        initial_distribution: What scratch blocks are drawn from: ``'family'``,
            ``'gpt2'`` whatever the family, or ``'mimetic'`` (arXiv 2305.09828:
            attention in closed form, near trained vision transformers').
        num_layers: Use the first blocks only, or those from ``first_block``; all by
            default.
        img_size: Height and width of the images in pixels, or one number for both.
            Other sizes work at run time.
        patch_size: Side of a patch in pixels; patches are square.
        in_channels: Channels of the images.
        attention: ``'causal'`` or ``'bidirectional'``; as the family was trained by
            default. A causal T5 keeps its encoder's relative bias, behind the mask.
        position: ``'language'`` keeps the language model's own positions (its table,
            rotary angles or T5's relative bias). ``'sincos2d'``, ``'learned'`` and
            ``'none'`` replace them by fixed, new or no positions.
        out_type: ``'last'`` token ``(B, C)``, ``'avg'`` over tokens ``(B, C)``,
            ``'raw'`` tokens ``(B, T, C)`` or ``'featmap'`` ``(B, C, rows, columns)``.
        out_indices: Block or blocks whose outputs are returned; negative numbers
            count from the end. The final norm applies to the last block's only.
            What comes after all of them does not train.
        token_scale: Factor on the initialisation of the patch embedding and of new
            positions, or ``'residual'``: tokens as large as the typical token in the
            residual stream of these very blocks, language or scratch (see
            :func:`lbbt_mm.language.residual.residual_rms`; images are taken to be
            normalised to unit variance). ``'moments'``: of that size, and with the
            covariance of the word embeddings, out of whitened patches.
        trainable_layers: See :func:`lbbt_mm.models.backbone.trainable.parse_trainable`.
        drop_rate: Replaces the family's dropout; ``None`` keeps it (0.1 in GPT-2).
        drop_path_rate: Probability of leaving out the last block for an image;
            earlier blocks' grow linearly from zero.
        with_cp: Recompute blocks in the backward pass to save memory.
        long_positions: What to do with more tokens than the language model's position
            table has rows (1 024 in GPT-2, 512 in BERT): ``'interpolate'`` stretches
            the whole table over them, and says so in the log; ``'refuse'`` is an error.
            Rotary and relative positions have no end.
        frozen_dtype: ``'bfloat16'`` holds the frozen blocks' weights in two bytes each.
            A run under bfloat16 autocast computes the same; validation in float32
            sees them rounded. Not with FSDP, whose units have one dtype.
        prefix_tokens: A learnable token in front of the patches, on which a language
            model's attention can gather: ``'language'``, its own first token (also for
            blocks from scratch, which need its file then), or ``'new'``. It has the
            language's first position, none of those that replace it, and is kept out
            of all outputs and means.
        patch_moments: File of the patches' moments for ``token_scale='moments'``, by
            ``python -m lbbt_mm.measure.patch_moments CONFIG FILE``.
        first_block: Number of the first block to take, with ``num_layers`` blocks from
            there on. Blocks from scratch are as many, from nowhere.
        lora: Low-rank adapters in the blocks, by peft: see
            :func:`lbbt_mm.models.backbone.lora.add_lora`. They train beside what
            ``trainable_layers`` says (``'patch_embed'``: LoRA alone), unless it has
            ``'none'``. A plain bridge may be loaded into it.
        frozen_dropout: Whether frozen blocks keep their dropout and drop path on in
            training, as in the authors' code.
        new_patch_embed: Draw the patch embedding anew though ``init_cfg`` or
            ``language_model`` names a bridge that has one, as the authors' probes do.
        window_size: Side, in patches, of the windows inside of which most blocks
            attend, so that large images stay affordable; 14 in ViTDet. See
            :class:`lbbt_mm.models.backbone.windows.Windows`.
        global_blocks: The blocks that see the whole map nevertheless: their numbers, or
            how many, evenly spread; 4 by default, (2, 5, 8, 11) of 12.
        init_cfg: mmengine's initialisation. With ``type='Pretrained'`` the weights
            come from a checkpoint of a whole model (``prefix='backbone.'``), all of
            them or none, and the language model's files are not needed.

    Raises:
        TypeError: There is no such option; the message names ours for those of other
            backbones.
        ValueError: An option's value is unknown or does not fit the model.
        CheckpointError: The language model cannot be understood. One that is not there
            is an error at its first use only: the architecture may come from the
            checkpoint that ``init_cfg`` names, that the runner will load, or that is
            loaded into the model later.

    Example:
        >>> backbone = dict(type="lbbt_mm.LanguageBackbone", language_model="gpt2")
        >>> model = LanguageBackbone("gpt2", num_layers=6, out_type="featmap")
        >>> model.init_weights()
        >>> model(torch.rand(2, 3, 224, 224))[0].shape
        torch.Size([2, 768, 14, 14])
    """

    def __init__(
        self,
        language_model: str,
        pretrained: bool = True,
        num_layers: int | None = None,
        img_size: int | Sequence[int] = 224,
        patch_size: int | Sequence[int] = 16,
        in_channels: int = 3,
        attention: str | None = None,
        position: str = "language",
        out_type: str = "last",
        out_indices: int | Sequence[int] = -1,
        token_scale: float | str = 1.0,
        trainable_layers: str | Sequence[str | int] = "all",
        drop_rate: float | None = None,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        long_positions: str = "interpolate",
        initial_distribution: str = "family",
        frozen_dtype: str | None = None,
        prefix_tokens: str | None = None,
        patch_moments: str | None = None,
        first_block: int = 0,
        lora: Mapping[str, Any] | None = None,
        frozen_dropout: bool = False,
        new_patch_embed: bool = False,
        window_size: int | None = None,
        global_blocks: int | Sequence[int] | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        refuse_unknown(type(self), unknown)
        check_flags(
            pretrained=pretrained,
            with_cp=with_cp,
            frozen_dropout=frozen_dropout,
            new_patch_embed=new_patch_embed,
        )
        check_scale(token_scale, patch_moments)
        check_first_block(first_block, num_layers)
        self.language_source = language_model
        self.pretrained = pretrained
        self.out_type = out_type
        self.token_scale = token_scale
        self.patch_moments = patch_moments
        self.first_block = first_block
        self.with_cp = with_cp
        self.frozen_dropout = frozen_dropout
        self.new_patch_embed = new_patch_embed
        options = dict(
            num_layers=num_layers,
            img_size=height_and_width(img_size),
            patch_size=side(patch_size),
            in_channels=whole("in_channels", in_channels, "channels"),
            attention=attention,
            position=position,
            out_type=out_type,
            out_indices=out_indices,
            trainable_layers=trainable_layers,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            long_positions=long_positions,
            initial_distribution=initial_distribution,
            frozen_dtype=frozen_dtype,
            prefix_tokens=prefix_tokens,
            lora=lora,
            window_size=window_size,
            global_blocks=global_blocks,
        )
        check_options(options, pretrained)
        self._build_when_known(**options)

    def _build(self, config: AnyConfig, options: Mapping[str, Any]) -> None:
        config = config.with_layers(options["num_layers"])
        position = options["position"]
        self.embed_dims = config.width
        self.num_layers = config.num_layers
        self.out_indices = block_numbers(options["out_indices"], config.num_layers)
        self.window_size = options["window_size"]
        self.global_blocks = read_windows(
            self.window_size, options["global_blocks"], config
        )
        self.drop_path_rates = torch.linspace(
            0, options["drop_path_rate"], config.num_layers, device="cpu"
        ).tolist()
        self.patch_embed = PatchTokens(
            config.input_width,
            options["img_size"],
            options["patch_size"],
            options["in_channels"],
            position,
        )
        self.language = build_stack(
            config,
            attention=options["attention"],
            use_positions=position == "language",
            drop_rate=options["drop_rate"],
            initialise=not self.pretrained,
            long_positions=options["long_positions"],
            distribution=options["initial_distribution"],
        )
        kind = options["prefix_tokens"]
        self.prefix = None if kind is None else PrefixTokens(config, kind)
        tokens = math.prod(self.patch_embed.grid) + (kind is not None)
        self.language.check_length(tokens)
        self.language.use["position"] = position
        if kind is not None:
            self.language.use["prefix_tokens"] = kind
        if self.window_size is not None:
            cut = dict(window_size=self.window_size, global_blocks=self.global_blocks)
            self.language.use |= cut
        if self.out_type in ("last", "avg"):  # one vector, so the same heads fit
            places = [index - config.num_layers for index in self.out_indices]
            self.language.use |= dict(out_type=self.out_type, out_indices=places)
        self.trainable = parse_trainable(options["trainable_layers"], config.num_layers)
        refuse_named(config, self.trainable, options)
        if options["lora"] is not None:
            add_lora(self, options["lora"])
        self._weights_ready = not self.pretrained
        self._frozen = freeze(
            self, self.trainable, max(self.out_indices), options["frozen_dtype"]
        )
        rest(self, self._frozen)
        say_trainable(self)
        if self.out_type == "featmap":
            say_equal_strides(self.out_strides, self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Pixels from one place of an output to the next, for each of ``out_indices``.

        All are ``patch_size``; empty where outputs have no places (``out_type`` is
        ``'last'`` or ``'avg'``).
        """
        if self.out_type not in ("featmap", "raw"):
            return ()
        return (self.patch_embed.patch_size,) * len(self.out_indices)

    def init_weights(self) -> None:
        """Draw the patch embedding, and read the language weights if asked to.

        Raises:
            CheckpointError: The language model's file, or the checkpoint that
                ``init_cfg`` names, is missing or does not fit.
        """
        if self._is_init:
            super().init_weights()  # mmengine warns about the second call
            return
        self.require_architecture()
        pretrained, self.init_cfg = split_pretrained(self.init_cfg)
        if self._coming:
            self._draw_until_weights_come()
            super().init_weights()
            return
        if not pretrained:
            draw_or_read(self)
        self._weights_ready = True
        super().init_weights()
        for cfg in pretrained:
            load_part(self, cfg["checkpoint"], cfg.get("prefix"))
        if self.new_patch_embed:
            self.reset_patch_embed()

    def reset_patch_embed(self, words: Tensor | None = None) -> None:
        """Draw the patch embedding and its positions anew.

        Args:
            words: Word embeddings ``(words, C)`` to measure the residual stream with,
                for ``token_scale='residual'``; drawn like the family's own
                initialisation if not given.
        """
        draw_patch_embed(self, words)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract features.

        Args:
            x: Images ``(B, in_channels, height, width)`` of any height and width.

        Returns:
            One tensor for each of ``out_indices``, shaped by ``out_type``.

        Raises:
            CheckpointError: No weights have been loaded yet.
        """
        self.require_weights()
        # A frozen prefix needs no graph, unless somebody wants gradients of the images.
        embed_frozen, frozen = (False, 0) if x.requires_grad else frozen_prefix(self)
        grad = torch.is_grad_enabled()
        with torch.set_grad_enabled(grad and not embed_frozen):
            tokens, grid = self.patch_embed(x)
            tokens = self.embed(tokens)
            relative = self.language.relative_positions(tokens)
            windows = cut_windows(self, tokens, grid)
        last, outputs = self.num_layers - 1, {}
        # Where only the last token is wanted, the others give keys and values only.
        alone = self.out_type == "last" and self.out_indices == [last]
        for index, block in enumerate(self.language.blocks):
            if index > max(self.out_indices):
                break
            with torch.set_grad_enabled(grad and index >= frozen):
                inside = None if index in self.global_blocks else windows
                only = alone and index == last and inside is None
                tokens = self.run_block(block, index, tokens, relative, only, inside)
            if index in self.out_indices:
                outputs[index] = tokens
        if last in outputs:
            outputs[last] = self.language.finish(outputs[last])
        shapes = (shaped(outputs[i], grid, self.out_type) for i in self.out_indices)
        if self.out_type == "featmap":
            stride = self.patch_embed.patch_size
            return tuple(mark_stride(shape, stride) for shape in shapes)
        return tuple(shapes)

    def embed(self, tokens: Tensor) -> Tensor:
        """Put the prefix in front of patch tokens, and add the language's positions."""
        if self.prefix is not None:
            tokens = self.prefix(tokens)
        return self.language.embed(tokens)

    def train(self, mode: bool = True) -> LanguageBackbone:
        """Set the mode; frozen parts stay frozen, see ``frozen_dropout``."""
        super().train(mode)
        if self._waits is None:
            rest(self, self._frozen)
        return self

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Tell mmpretrain's layer-wise learning-rate decay how deep a parameter lies.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: What stands before this backbone's names.

        Returns:
            Depth (0 is the patch embedding) and the number of depths.
        """
        return layer_depth(param_name, prefix, self.num_layers, self.language)

    def run_block(
        self,
        block: nn.Module,
        index: int,
        tokens: Tensor,
        relative: Any,
        last: bool,
        windows: Windows | None = None,
    ) -> Tensor:
        """Run one block, with drop path and, if asked to, recomputed."""
        causal, rate = self.language.causal, self.drop_path_rates[index]
        return run_block(
            block, tokens, causal, relative, last, windows, self.with_cp, rate
        )
