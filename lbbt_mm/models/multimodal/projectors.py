"""From visual tokens to the place of word embeddings: an MLP, and LangBridge."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from lbbt_mm.models.multimodal.shared_vocabulary import (
    DEFAULT_SIZE,
    SharedVocabulary,
    VocabularyError,
    token_texts,
)
from lbbt_mm.registry import MODELS


@MODELS.register_module()
class MLPProjector(BaseModule):
    """LLaVA's projector: linear layers with GELU between them (arXiv 2310.03744).

    The weights start as torch draws those of every ``nn.Linear``, as in LLaVA's code.

    Args:
        in_channels: Width of the visual tokens.
        out_channels: Width of the language model's embeddings.
        depth: Linear layers: 1 is LLaVA's, 2 LLaVA-1.5's and 1.6's.
        init_cfg: mmengine's initialisation.

    Example::

        # LLaVA gives both widths.
        model = dict(projector=dict(type="lbbt_mm.MLPProjector", depth=2))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth: int = 2,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if depth < 1:
            raise ValueError(
                f"MLPProjector expects a depth from 1, got {depth}; 2 is LLaVA-1.5's."
            )
        layers: list[nn.Module] = [nn.Linear(in_channels, out_channels)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(out_channels, out_channels)]
        self.layers = nn.Sequential(*layers)

    def bind(self, tokenizer: Any) -> None:
        """This projector knows no words."""

    def forward(self, tokens: Tensor, embeddings: Tensor | None = None) -> Tensor:
        """Project visual tokens.

        Args:
            tokens: ``(..., in_channels)``.
            embeddings: Not used.

        Returns:
            ``(..., out_channels)``.
        """
        return self.layers(tokens)


@MODELS.register_module()
class LangBridgeProjector(BaseModule):
    """Write a visual token as a combination of the language model's own words.

    After LangBridge (arXiv 2503.19404): a linear layer, GELU and a second linear layer
    give one weight for each of K entries of a shared vocabulary; the output is the sum
    of the language model's input embeddings of those entries under these weights. It
    owns no embedding and nothing of the language model's width, so that its weights
    serve any language model that has the entries. :meth:`bind` finds their rows.

    The paper leaves open, and this decides: softmax, with ``'linear'`` beside it for a
    combination without normalisation; a hidden layer as wide as the visual tokens; and
    how entries are chosen (:meth:`SharedVocabulary.from_tokenizers`).

    The weights start as torch draws those of every ``nn.Linear``, so under softmax
    every visual token starts near the mean of the K embeddings. The sum under
    ``'linear'`` starts large, and larger with K: a temperature of K brings it to the
    scale of a mean.

    Args:
        in_channels: Width of the visual tokens.
        out_channels: Width of the language model's embeddings; only checked.
        vocabulary: File that :meth:`SharedVocabulary.save` wrote. Without it, the
            vocabulary is chosen from the tokenizer that the projector is bound to, or
            taken from the checkpoint that is loaded.
        vocabulary_size: K where there is no file.
        weights: ``'softmax'`` or ``'linear'``.
        temperature: The logits are divided by it.
        init_cfg: mmengine's initialisation.

    Attributes:
        vocabulary: The entries, once known.
        ids: Their rows in the language model's table, ``(K,)``; empty until bound.
        looks_up: Tells LLaVA to hand over the module that looks words up, not its
            table: what is around it (LoRA, a scale) is part of a word's embedding.

    Example::

        projector = dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=19200)
        model = dict(projector=projector)
    """

    looks_up = True

    ids: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        vocabulary: str | os.PathLike[str] | None = None,
        vocabulary_size: int = DEFAULT_SIZE,
        weights: str = "softmax",
        temperature: float = 1.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if weights not in ("softmax", "linear") or not temperature > 0:
            raise ValueError(
                "LangBridgeProjector expects weights='softmax' or 'linear' and a "
                f"temperature above 0, got {weights!r} and {temperature}."
            )
        self.out_channels = out_channels
        self.softmax = weights == "softmax"
        self.temperature = temperature
        self.vocabulary: SharedVocabulary | None = None
        self.fixed = vocabulary is not None  # by the config: no checkpoint changes it
        if vocabulary is not None:
            self.vocabulary = SharedVocabulary.load(vocabulary)
            vocabulary_size = len(self.vocabulary)
        self.layers = nn.Sequential(
            nn.Linear(in_channels, in_channels),
            nn.GELU(),
            nn.Linear(in_channels, vocabulary_size),
        )
        self.vocabulary_size = vocabulary_size
        # Not saved: the rows belong to the language model, the entries to us.
        self.register_buffer("ids", torch.empty(0, dtype=torch.long), persistent=False)
        self.last_row = -1  # known without asking the device
        self._table: dict[str, int] | None = None

    def bind(self, tokenizer: Any) -> None:
        """Find the entries in a language model; without entries, choose them first.

        Args:
            tokenizer: Of transformers, of the language model whose embeddings
                :meth:`forward` will be given.

        Raises:
            VocabularyError: Entries are not in the tokenizer, or it has too few texts.
        """
        if self.vocabulary is None:
            chosen = SharedVocabulary.from_tokenizers([tokenizer], self.vocabulary_size)
            if len(chosen) < self.vocabulary_size:
                raise VocabularyError(
                    f"LangBridgeProjector expects {self.vocabulary_size} entries, the "
                    f"tokenizer has {len(chosen)} that can be used; set "
                    f"vocabulary_size={len(chosen)} or less."
                )
            self.vocabulary = chosen
        table = token_texts(tokenizer)
        self._set_rows(self.vocabulary, table)
        self._table = table

    def _set_rows(self, vocabulary: SharedVocabulary, table: dict[str, int]) -> None:
        rows = vocabulary.rows(table)
        found = torch.tensor(rows, device=self.ids.device)
        if len(self.ids):  # in place: a distributed wrapper may know the buffer
            self.ids.copy_(found)
        else:
            self.ids = found
        self.last_row = max(rows)

    def word_weights(self, tokens: Tensor) -> Tensor:
        """Weigh the entries.

        Args:
            tokens: ``(..., in_channels)``.

        Returns:
            ``(..., K)``; under softmax they are positive and their sum is 1.
        """
        logits = self.layers(tokens) / self.temperature
        return logits.softmax(-1) if self.softmax else logits

    def forward(self, tokens: Tensor, embeddings: Any) -> Tensor:
        """Combine the language model's embeddings.

        Args:
            tokens: ``(..., in_channels)``.
            embeddings: The language model's input embeddings, ``(V, out_channels)``,
                or the module that looks words up in it, which adapters and scales of
                its own belong to. Only the K rows of the entries are read; where the
                table trains, their gradient reaches it.

        Returns:
            ``(..., out_channels)``, in the embeddings' dtype (autocast aside).

        Raises:
            VocabularyError: The projector is not bound, or to another language model.
        """
        if self.last_row < 0:
            raise VocabularyError(
                "LangBridgeProjector is not bound to a language model; call "
                "bind(tokenizer) first."
            )
        looked_up = isinstance(embeddings, nn.Module)
        table: Any = embeddings.weight if looked_up else embeddings
        if table.shape[1] != self.out_channels or len(table) <= self.last_row:
            raise VocabularyError(
                f"LangBridgeProjector expects embeddings of at least "
                f"{self.last_row + 1} rows and {self.out_channels} columns, got "
                f"{tuple(table.shape)}; bind it to this language model's "
                "tokenizer and give out_channels its width."
            )
        table_KD = embeddings(self.ids) if looked_up else table[self.ids]
        return self.word_weights(tokens).to(table_KD.dtype) @ table_KD

    @torch.no_grad()
    def top_words(self, tokens: Tensor, k: int = 3) -> tuple[Tensor, list[Any]]:
        """Read visual tokens as words.

        Args:
            tokens: ``(..., in_channels)``.
            k: Words a token.

        Returns:
            The largest weights in descending order, ``(..., k)``, and their words as
            lists nested alike. Words keep their leading space.

        Raises:
            VocabularyError: No vocabulary is known yet.
        """
        if self.vocabulary is None:
            raise VocabularyError(
                "LangBridgeProjector knows no vocabulary yet; call bind(tokenizer) "
                "first, or load a checkpoint."
            )
        texts = self.vocabulary.texts
        weights, places = self.word_weights(tokens).topk(k, dim=-1)

        def words(places: list[Any] | int) -> Any:
            if isinstance(places, int):
                return texts[places]
            return [words(place) for place in places]

        return weights, words(places.tolist())

    def get_extra_state(self) -> Tensor:
        """Return the entries, which make a checkpoint enough by itself."""
        return encode_entries(self.vocabulary)

    def set_extra_state(self, state: Tensor) -> None:
        """Check the entries that loaded weights belong to, or take them over.

        A vocabulary that the config names stays; one that was chosen from the
        tokenizer gives way to the checkpoint's.

        Raises:
            VocabularyError: The weights belong to other entries than the config's, or
                to entries that the language model at hand does not have.
        """
        stored = _decode(state)
        if stored is None:
            if self.vocabulary is None:
                return
            raise VocabularyError(
                "The checkpoint holds the weights of a LangBridgeProjector that was "
                f"never bound, this one has {self.vocabulary}; its weights belong to "
                "no words: train it again."
            )
        if len(stored) != self.vocabulary_size:
            raise VocabularyError(
                f"The checkpoint's projector has {stored}, this one has "
                f"{self.vocabulary_size} entries; set "
                f"vocabulary_size={len(stored)}, without vocabulary."
            )
        if stored == self.vocabulary:
            return
        if self.fixed:
            assert self.vocabulary is not None
            pairs = enumerate(zip(stored.texts, self.vocabulary.texts, strict=True))
            place, (there, here) = next((i, p) for i, p in pairs if p[0] != p[1])
            raise VocabularyError(
                f"The checkpoint's projector has {stored}, this one has "
                f"{self.vocabulary}; entry {place} is {there!r} there and {here!r} "
                "here. Leave vocabulary out of the config to use the checkpoint's."
            )
        if self._table is not None:
            self._set_rows(stored, self._table)
        self.vocabulary = stored


def vocabulary_of(state_dict: dict[str, Any]) -> SharedVocabulary | None:
    """The entries of the :class:`LangBridgeProjector` in a state dict, if any."""
    for name, value in state_dict.items():
        if name.rpartition(".")[2] == "_extra_state" and torch.is_tensor(value):
            try:
                found = _decode(value)
            except VocabularyError:
                continue  # the record of another module
            if found is not None:
                return found
    return None


def encode_entries(vocabulary: SharedVocabulary | None) -> Tensor:
    """Write a projector's entries as a tensor, which every checkpoint can carry."""
    fields = {} if vocabulary is None else vocabulary.to_dict()
    text = json.dumps({"lbbt_mm_vocabulary": fields})
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).clone()


def _decode(state: Tensor) -> SharedVocabulary | None:
    where = "The projector's record in the checkpoint"
    try:
        fields = json.loads(state.cpu().numpy().tobytes())["lbbt_mm_vocabulary"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise VocabularyError(
            f"{where} is not readable; is this the checkpoint of a LangBridgeProjector?"
        ) from None
    return SharedVocabulary.from_dict(fields, where) if fields else None
