"""A LLaVA that trains: a vision encoder, a projector and a language model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from lbbt_mm.language.layers import stream_dtype
from lbbt_mm.models.multimodal.causal_lm import open_causal_lm, open_tokenizer
from lbbt_mm.models.multimodal.conversation import IGNORED, Conversations
from lbbt_mm.models.multimodal.llava_batch import (
    Batch,
    answer_loss,
    encode_samples,
    generate,
    make_batch,
)
from lbbt_mm.models.multimodal.llava_parts import (
    HeldParts,
    count_parameters,
    recompute_frozen,
    with_lora,
)
from lbbt_mm.models.multimodal.llava_settings import of_images, sample_weights
from lbbt_mm.models.multimodal.tiles import pack_features, see
from lbbt_mm.models.pretrained import load_start
from lbbt_mm.registry import MODELS


@MODELS.register_module()
class LLaVA(BaseModel):
    """Image -> vision encoder -> projector -> any Hugging Face causal language model.

    After LLaVA-1.5 (arXiv 2310.03744) and, with ``grid_pinpoints``, LLaVA-1.6. A stage
    of training is a config: what trains is said by three options, and a checkpoint
    holds that and what earlier stages trained, never the rest; see
    :class:`.HeldParts`. The language model is read when the model is built.

    Args:
        language_model: Hub id, folder, file or ``'package:NAME/FILE'``.
        vision_encoder: Config of a backbone that gives feature maps
            ``(N, C, rows, columns)``: ``lbbt_mm.LanguageBackbone`` with
            ``out_type='featmap'``, or any of mmpretrain's.
        projector: Config of ``lbbt_mm.MLPProjector`` or ``lbbt_mm.LangBridgeProjector``
            without its widths.
        train_encoder: Whether the vision encoder trains.
        train_projector: Whether the projector trains.
        train_language: ``'none'``, ``'all'``, or arguments of ``peft.LoraConfig``.
        pretrained: Whether the language model has its weights; without, it is its
            architecture alone.
        dtype: Of the language model's weights. A frozen one needs no float32.
        attention: transformers' ``attn_implementation`` of the language model.
        chat_template: See :class:`.Conversations`.
        system: System message of conversations that have none.
        grid_pinpoints: Of LLaVA-1.6: the same as of ``lbbt_mm.ImageTiles``.
        max_length: Most tokens of a conversation, visual ones included. None: what the
            language model's config allows.
        on_long: What a longer one is, or one that cannot be written or whose image
            tokens are not its images: ``'error'``; or ``'skip'``: nothing is learned
            from it and the log's ``skipped`` counts it; when asked, its answer is empty
            and the metrics' ``unanswered`` counts it. The log names each.
        generation: Arguments of ``generate()``; ``max_new_tokens=32`` and greedy
            unless it says otherwise.
        with_cp: Recompute the language model's blocks in the backward pass.
        data_preprocessor: ``lbbt_mm.TilePreprocessor`` by default.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` of a LLaVA to start from.

    Raises:
        CheckpointError: The language model cannot be found or read.
        ValueError: An option is unknown, or parts do not fit each other.

    Example::

        model = dict(
            type="lbbt_mm.LLaVA",
            language_model="Qwen/Qwen2-0.5B-Instruct",
            vision_encoder=dict(type="lbbt_mm.LanguageBackbone",
                                language_model="gpt2", out_type="featmap"),
            projector=dict(type="lbbt_mm.MLPProjector"),
            train_language=dict(r=8, lora_alpha=16),
        )
    """

    _is_init: bool  # mmengine's, untyped

    def __init__(
        self,
        language_model: str,
        vision_encoder: Mapping[str, Any],
        projector: Mapping[str, Any],
        train_encoder: bool = True,
        train_projector: bool = True,
        train_language: str | Mapping[str, Any] = "none",
        pretrained: bool = True,
        dtype: str = "float32",
        attention: str = "sdpa",
        chat_template: str | None = None,
        system: str | None = None,
        grid_pinpoints: Sequence[Sequence[int]] | None = None,
        max_length: int | None = None,
        on_long: str = "error",
        generation: Mapping[str, Any] | None = None,
        with_cp: bool = False,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(
            dict(data_preprocessor or dict(type="lbbt_mm.TilePreprocessor")), init_cfg
        )
        if on_long not in ("error", "skip"):
            raise ValueError(f"on_long: expected 'error' or 'skip', got {on_long!r}.")
        if isinstance(train_language, str) and train_language not in ("none", "all"):
            raise ValueError(
                "train_language: expected 'none', 'all' or a dict of LoRA's options, "
                f"got {train_language!r}."
            )
        self.tokenizer = open_tokenizer(language_model)
        self.conversations = Conversations(self.tokenizer, chat_template, system)
        language: Any = open_causal_lm(language_model, pretrained, dtype, attention)
        config = language.config
        self._keeps_logits = "logits_to_keep" in signature(language.forward).parameters
        self.max_length = max_length or config.max_position_embeddings
        self.on_long = on_long
        self.generation: dict[str, Any] = dict(max_new_tokens=32, do_sample=False)
        self.generation |= dict(generation or {})
        self.vision_encoder: Any = MODELS.build(vision_encoder)
        width = getattr(self.vision_encoder, "embed_dims", projector.get("in_channels"))
        if not isinstance(width, int):
            raise ValueError(
                f"Expected a vision encoder with embed_dims, got "
                f"{type(self.vision_encoder).__name__}; set the projector's "
                "in_channels."
            )
        embedding = language.get_input_embeddings()
        out = embedding.weight.shape[1]
        self.projector: Any = MODELS.build(
            dict(projector, in_channels=width, out_channels=out)
        )
        self.projector.bind(self.tokenizer)
        self.grid_pinpoints = [tuple(p) for p in grid_pinpoints or ()] or None
        if self.grid_pinpoints:
            self.image_newline = nn.Parameter(torch.randn(out) / out**0.5)
            self.image_newline.requires_grad_(train_projector)
        self._trains = dict(
            vision_encoder=train_encoder,
            projector=train_projector,
            language_model=train_language != "none",
        )
        language_weights = sample_weights(language.parameters())
        if not isinstance(train_language, str):
            language = with_lora(language, train_language)
        if with_cp:
            language.gradient_checkpointing_enable(dict(use_reentrant=False))
        self.language_model: Any = language
        self._freeze()
        self.trained_parameters = count_parameters(self)
        self._held = HeldParts(
            self,
            dict(
                language_model=language_model,
                model_type=config.model_type,
                layers=config.num_hidden_layers,
                width=out,
                vocabulary=len(embedding.weight),
                vision_encoder=dict(vision_encoder).get("language_model")
                or str(dict(vision_encoder).get("type")),
                projector=type(self.projector).__name__,
                trained_parameters=self.trained_parameters,
            ),
            dict(vision_encoder=vision_encoder, projector=projector),
            language_weights,
        )
        # Also mmengine's own way of reading a model's state calls this.
        self._register_state_dict_hook(_only_held)

    def init_weights(self) -> None:
        """Initialise encoder and projector; the language model has its weights."""
        if not self._is_init:
            self.vision_encoder.init_weights()
            if hasattr(self.projector, "init_weights"):
                self.projector.init_weights()
            load_start(self)
            self._is_init = True

    def train(self, mode: bool = True) -> LLaVA:
        """Set the mode; parts that do not train stay as in evaluation."""
        super().train(mode)
        self._freeze()
        if not self._trains["language_model"]:
            recompute_frozen(self.language_model, mode)
        return self

    def _freeze(self) -> None:
        for name, trains in self._trains.items():
            if not trains:
                # In this order: LanguageBackbone's eval() says anew what trains.
                getattr(self, name).eval().requires_grad_(False)

    def forward(
        self,
        inputs: Sequence[Tensor],
        data_samples: Sequence[Any],
        mode: str = "tensor",
    ) -> Any:
        """Mmengine's way into a model.

        Args:
            inputs: The tiles of each conversation's images, ``(tiles, 3, side, side)``,
                normalised; none of a conversation without images.
            data_samples: What ``lbbt_mm.PackConversation`` kept of each.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            A dict of losses; the data samples with ``pred_answer``; or the
            :class:`.Batch` that the language model is given.

        Raises:
            ValueError: Another mode; with ``on_long='error'``, images and image tokens
                do not match or a conversation is too long.
        """
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            texts, problems = self._said(inputs, data_samples)
            for number, sample in enumerate(data_samples):
                sample.set_field(texts[number], "pred_answer")
                if number in problems:
                    sample.set_field(problems[number], "unanswered")
            return list(data_samples)
        if mode == "tensor":
            return self.batch(inputs, data_samples)[0]
        raise ValueError(f"mode: expected loss, predict or tensor, got {mode!r}.")

    def loss(
        self, inputs: Sequence[Tensor], data_samples: Sequence[Any]
    ) -> dict[str, Tensor]:
        """Mean cross-entropy of the answers' tokens.

        Returns:
            ``loss``, ``token_accuracy`` (share of the answers' tokens that are the most
            likely ones) and, with ``on_long='skip'``, ``skipped``.
        """
        batch, skipped, unused = self.batch(inputs, data_samples, answers=True)
        if self.training:
            self._held.trained(of_images(inputs, data_samples))
        loss, accuracy = answer_loss(*self._logits(batch))
        log = dict(loss=loss + unused, token_accuracy=accuracy.detach())
        if self.on_long == "skip":
            log["skipped"] = loss.new_tensor(float(len(skipped)))
        return log

    def answer(
        self, inputs: Sequence[Tensor], data_samples: Sequence[Any]
    ) -> list[str]:
        """Answer the last question of each conversation.

        Returns:
            One text each, without special tokens; empty for what is skipped.
        """
        return self._said(inputs, data_samples)[0]

    @torch.no_grad()
    def _said(
        self, inputs: Sequence[Tensor], data_samples: Sequence[Any]
    ) -> tuple[list[str], dict[int, str]]:
        """Answers, and why some, by their numbers, are empty."""
        self._held.check_answers(self, of_images(inputs, data_samples))
        batch, problems, _ = self.batch(inputs, data_samples)
        texts, diverged = generate(
            self.language_model, batch, self.conversations, self.generation
        )
        problems = diverged | problems
        return ["" if n in problems else t for n, t in enumerate(texts)], problems

    def batch(
        self,
        inputs: Sequence[Tensor],
        data_samples: Sequence[Any],
        answers: bool = False,
    ) -> tuple[Batch, dict[int, str], Tensor | float]:
        """Encode images and conversations.

        Args:
            inputs: As of :meth:`forward`.
            data_samples: As of :meth:`forward`.
            answers: Whether the answers are in it, with labels; otherwise it ends where
                the next answer begins.

        Returns:
            The batch; why conversations, by their numbers, were skipped; a zero that
            leads to parameters which no image reached, for distributed training.
        """
        visual, unused = self.visual_tokens(inputs, data_samples)
        room = self.max_length - (0 if answers else self.generation["max_new_tokens"])
        talk = self.conversations
        encoded, skipped = encode_samples(talk, data_samples, visual, room, answers)
        for number, problem in skipped.items():
            if self.on_long == "error":
                raise ValueError(f"{problem} Or set on_long='skip'.")
            print_log(f"LLaVA skips {problem}", "current", logging.WARNING)
            unused = unused + sum(image.sum() for image in visual[number]) * 0.0
            visual[number] = []
        table = self.language_model.get_input_embeddings()
        return make_batch(encoded, visual, talk.image_id, table), skipped, unused

    def visual_tokens(
        self, inputs: Sequence[Tensor], data_samples: Sequence[Any]
    ) -> tuple[list[list[Tensor]], Tensor | float]:
        """Encode and project the images.

        Returns:
            For each conversation a list of ``(tokens, D)``, one an image; and a zero as
            of :meth:`batch`.
        """
        pixels = torch.cat(list(inputs))
        blind = not len(pixels)
        if blind:
            trained = self._trains["vision_encoder"] or self._trains["projector"]
            if not (self.training and trained):
                return [[] for _ in data_samples], 0.0
            # Every process has to give every parameter a gradient.
            pixels = pixels.new_zeros(1, *pixels.shape[1:])
        features = self.features(pixels)
        if blind:
            zero = features.sum() * 0.0
            if self.grid_pinpoints:
                zero = zero + self.image_newline.sum() * 0.0
            return [[] for _ in data_samples], zero
        newline = self.image_newline if self.grid_pinpoints else None
        side = pixels.shape[-1]
        visual: list[list[Tensor]] = []
        start = 0
        for sample in data_samples:
            visual.append([])
            counts, sizes = sample.get("tiles"), sample.get("image_sizes")
            for count, size in zip(counts, sizes, strict=True):
                tiles = features[start : start + count]
                start += count
                visual[-1].append(
                    pack_features(tiles, size, self.grid_pinpoints, side, newline)
                )
        return visual, 0.0

    def features(self, pixels: Tensor) -> Tensor:
        """Tiles ``(N, 3, side, side)`` -> projected tokens ``(N, rows, cols, D)``."""
        table = self.language_model.get_input_embeddings()
        looks_up = getattr(self.projector, "looks_up", False)
        seen = self.seen(pixels).to(stream_dtype(self.projector))
        return self.projector(seen, table if looks_up else table.weight)

    def seen(self, pixels: Tensor) -> Tensor:
        """Tiles ``(N, 3, side, side)`` -> visual tokens ``(N, rows, columns, C)``."""
        return see(self.vision_encoder, pixels)

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits ``(B, n, V)`` and labels ``(B, n)`` of places where any row learns."""
        labels = batch.labels[:, 1:]
        places = (labels != IGNORED).any(dim=0).nonzero()[:, 0]
        if not len(places):
            places = places.new_zeros(1)
        # Places, not a number of them: a slice of the hidden states would not be
        # contiguous, and torch would then copy the whole head once for each row.
        keep = dict(logits_to_keep=places) if self._keeps_logits else {}
        found = self.language_model(
            inputs_embeds=batch.embeds,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
            **keep,
        ).logits
        logits = found if keep else found[:, places]
        return logits, labels[:, places]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        self._held.complete(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _only_held(model: LLaVA, state: dict, prefix: str, metadata: Any) -> None:
    model._held.reduce(model, state, prefix)
