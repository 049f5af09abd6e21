"""Weights of a model that runs over transformers' own layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lbbt_mm.language.checkpoint import Checkpoint, language_config, open_checkpoint
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError, NotComputed
from lbbt_mm.language.fallback_config import (
    FallbackConfig,
    encoder_of,
    read_architecture,
)
from lbbt_mm.language.fallback_parts import drop_words
from lbbt_mm.language.fallback_trunk import take_apart
from lbbt_mm.language.gguf_store import GGUFStore
from lbbt_mm.language.locate import config_alone, locate
from lbbt_mm.language.recognise import refusal, split_message
from lbbt_mm.language.record import RECORD_KEY, own_record
from lbbt_mm.language.sources import check_index, merged_state_dict, read_json
from lbbt_mm.language.storage import SafetensorsStore

if TYPE_CHECKING:
    from lbbt_mm.language.fallback import FallbackModel


class FallbackCheckpoint:
    """A language model on disk that transformers reads.

    Args:
        source: The string that the user gave.
        config: Its architecture.
        tensors: Name -> tensor, of the whole file or of our own stack.
        record: What a checkpoint of ours says about its origin.
        beside: Name -> tensor of what stands beside the stack in a checkpoint of ours.
        gguf: The file, if it is one.
        architectures: Classes of transformers that the file's ``config.json`` names.
    """

    def __init__(
        self,
        source: str,
        config: FallbackConfig,
        tensors: Mapping[str, Tensor],
        record: Mapping[str, Any] | None = None,
        beside: Mapping[str, Tensor] | None = None,
        gguf: Path | None = None,
        architectures: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.config = config
        self.record = dict(record or {})
        self.beside = dict(beside or {})
        self._tensors = dict(tensors)
        self._gguf = gguf
        self._architectures = tuple(architectures)
        self._words: Tensor | None = None

    def embedding_rows(self, start: int, stop: int) -> Tensor:
        """Read some rows of the word embedding, ``(stop - start, width)``."""
        if self.record:
            raise CheckpointError(f"{self.source} carries no word embedding.")
        if self._words is None:
            from lbbt_mm.language.fallback import FallbackModel

            first = FallbackModel(self.config.with_layers(1)).names_of_first_layer()
            self._words = self._words_of(*self._whole(first))
        return self._words[start:stop]

    def _words_of(self, whole: Any, missing: set[str]) -> Tensor:
        words = whole.get_input_embeddings().weight
        if any(p is words for n, p in whole.named_parameters() if n in missing):
            raise CheckpointError(
                f"{self.source} lacks the word embedding of its {self.config.family} "
                f"model; copy all weights of the model."
            )
        return words.detach()

    def fill(self, model: FallbackModel, seen: Callable[[Tensor], None]) -> None:
        """Copy the weights into a stack, in place.

        Args:
            model: Of the same architecture; it may have fewer layers.
            seen: Called with each tensor that was filled.

        Raises:
            CheckpointError: Weights are missing, misshapen or not finite.
        """
        if self.record:
            self._fill_own(model, seen)
            return
        whole, lacking = self._whole(model.names_of_first_layer())
        missing = {id(p): n for n, p in whole.named_parameters() if n in lacking}
        self._words = self._words_of(whole, lacking)
        parts = encoder_of(whole)
        drop_words(parts, self.config.width)
        layers = self.config.transformers.num_hidden_layers
        trunk = take_apart(parts, layers, model.config.num_layers, self.config.width)
        inside = (p for layer in trunk.layers for p in layer.parameters())
        used = [*model.used_of(trunk), *inside]
        absent = sorted(missing[id(p)] for p in used if id(p) in missing)
        if absent:
            raise CheckpointError(
                f"{self.source} lacks weights that a {self.config.family} model "
                f"needs: {', '.join(absent[:6])}. Copy the config.json and all weights "
                f"of one model."
            )
        for parameter in used:
            self._check_finite(parameter)
        model.take(trunk, seen)

    def _check_finite(self, tensor: Tensor) -> None:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"{self.source} holds numbers that are not finite (NaN or infinite), "
                f"so its training diverged or the file is damaged; use an earlier "
                f"checkpoint, or fetch it again."
            )

    def _fill_own(self, model: FallbackModel, seen: Callable[[Tensor], None]) -> None:
        for name, target in model.state_dict(keep_vars=True).items():
            if name == RECORD_KEY:
                continue
            stored = self._tensors.get(name)
            if stored is None or stored.shape != target.shape:
                found = "nothing" if stored is None else list(stored.shape)
                raise CheckpointError(
                    f"{self.source} should hold {name} of shape {list(target.shape)} "
                    f"by its record; found {found}."
                )
            self._check_finite(stored)
            target.copy_(stored)
            seen(target)

    def _whole(self, first: list[str]) -> tuple[Any, set[str]]:
        """Let transformers read the weights; also name what it did not find.

        Args:
            first: Names of the first layer's tensors, in the model without a head.
        """
        import transformers

        config = self.config.transformers
        kind: Any = transformers.MODEL_MAPPING[type(config)]
        kind = kind[0] if isinstance(kind, tuple) else kind
        tensors = _without_prefix(self._tensors, first, kind.base_model_prefix)
        whole, info = self._from_pretrained(kind, config, tensors)
        row = first[0].partition(".0.")[0]
        extra = [
            name
            for name in info["unexpected_keys"]
            if f".{row}." in f".{name}" and not name.endswith(_BUFFERS)
        ]
        if extra and not config.is_encoder_decoder:
            raise CheckpointError(
                f"{self.source} holds tensors that the layers of this "
                f"{self.config.family} model do not have: "
                f"{', '.join(sorted(extra)[:6])}. Copy the config.json and the weights "
                f"of one model."
            )
        return whole, set(info["missing_keys"])

    def whole(self) -> tuple[Any, set[str]]:
        """Let transformers read the model with its head, and all else that it has.

        Returns:
            The model in float32, and the names of weights that the file does not hold.

        Raises:
            CheckpointError: transformers cannot read it.
        """
        import transformers

        config = self.config.whole
        # By name, and of transformers alone: a stranger's code is never run.
        named = next(iter(self._architectures), "")
        kind: Any = getattr(transformers, str(named), None)
        known = isinstance(kind, type) and issubclass(
            kind, transformers.PreTrainedModel
        )
        if not known:
            kinds: Any = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
            if type(config) not in kinds:
                kinds = transformers.MODEL_MAPPING
            kind = kinds[type(config)]
        model, info = self._from_pretrained(kind, config, dict(self._tensors))
        return model, set(info["missing_keys"])

    def _from_pretrained(
        self, kind: Any, config: Any, tensors: dict[str, Tensor]
    ) -> tuple[Any, dict[str, Any]]:
        options = dict(config=config, dtype=torch.float32, output_loading_info=True)
        try:
            if self._gguf is not None:
                folder, name = self._gguf.parent, self._gguf.name
                return kind.from_pretrained(folder, gguf_file=name, **options)
            return kind.from_pretrained(None, state_dict=tensors, **options)
        except Exception as error:
            raise CheckpointError(
                f"{self.source} cannot be read as a {self.config.family} model by "
                f"transformers ({type(error).__name__}: {str(error)[:200]}); copy the "
                f"config.json and the weights of one model."
            ) from error


_BUFFERS = tuple(
    f".{name}"
    for name in (
        *("attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias"),
        *("attn.causal_mask", "rotary_emb.inv_freq", "attn.embed_positions"),
    )
)
"""What older releases stored and every release computes; GPT-J's file has masks."""


def _without_prefix(
    tensors: Mapping[str, Tensor], first: list[str], base: str
) -> dict[str, Tensor]:
    """Take the text model out of one that sees, hears or is wrapped."""
    # A vision tower has layers too, and may name some of their parts alike.
    found = {
        prefix
        for prefix in (n.removesuffix(first[0]) for n in tensors)
        if all(f"{prefix}{name}" in tensors for name in first)
    }
    prefix = found.pop() if len(found) == 1 else ""
    if prefix in ("", f"{base}.", "encoder.", f"{base}.encoder."):
        return dict(tensors)
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}


def any_config(language_model: str) -> LanguageConfig | FallbackConfig:
    """Find an architecture of any kind; see ``language_config``.

    Args:
        language_model: As in :func:`lbbt_mm.language.open_checkpoint`.
    """
    try:
        return language_config(language_model)
    except NotComputed:
        alone = config_alone(language_model)
        if alone is not None:
            return FallbackConfig.read(read_json(alone), language_model)
        return open_fallback(language_model).config


def open_any(language_model: str) -> Checkpoint | FallbackCheckpoint:
    """Open a language model of any kind; see ``open_checkpoint``.

    Args:
        language_model: As in :func:`lbbt_mm.language.open_checkpoint`.
    """
    try:
        return open_checkpoint(language_model)
    except NotComputed:
        return open_fallback(language_model)


def open_fallback(language_model: str) -> FallbackCheckpoint:
    """Open a language model for transformers' own layers, of our families too.

    Args:
        language_model: As in :func:`lbbt_mm.language.open_checkpoint`.

    Raises:
        CheckpointError: It cannot be found, or transformers does not read it.
    """
    files = locate(language_model)
    first = files.weights[0]
    if first.suffix == ".gguf":
        split = split_message(first)
        if split is not None:
            raise CheckpointError(split)
        return FallbackCheckpoint(
            language_model, _gguf_config(first, language_model), {}, gguf=first
        )
    tensors: dict[str, Any]
    if first.suffix == ".safetensors":
        store = SafetensorsStore(files.weights)
        tensors = {name: store.read(name) for name in store.shapes()}
    else:
        tensors = merged_state_dict(files.weights)
        found = own_record(tensors, language_model)
        if found is not None:
            return own_fallback(language_model, tensors, *found)
    check_index(language_model, files.names, tensors)
    hf = read_json(files.config) if files.config else {}
    reason = refusal(language_model, tensors, hf)
    if reason is not None:
        raise CheckpointError(reason)
    return FallbackCheckpoint(
        language_model,
        FallbackConfig.read(hf, language_model),
        tensors,
        architectures=hf.get("architectures") or (),
    )


def own_fallback(
    source: str, tensors: Mapping[str, Any], root: str, record: Mapping[str, Any]
) -> FallbackCheckpoint:
    """Take a stack of ours over transformers' layers out of a model's state dict.

    Args:
        source: What the user gave, for messages.
        tensors: The model's state dict.
        root: What stands before the stack's names in it.
        record: The stack's.

    Raises:
        CheckpointError: It is one of named parts.
    """
    config = read_architecture(record.get("config"))
    if not isinstance(config, FallbackConfig):
        raise CheckpointError(f"{source} holds a stack of named parts.")
    holder = root[: root[:-1].rfind(".") + 1]
    own = {n[len(root) :]: t for n, t in tensors.items() if n.startswith(root)}
    beside = {
        name[len(holder) :]: value
        for name, value in tensors.items()
        if name.startswith(holder) and not name.startswith(root)
    }
    return FallbackCheckpoint(source, config, own, record, beside)


def _gguf_config(path: Path, origin: str) -> FallbackConfig:
    store = GGUFStore(path)
    scaled = next((key for key in store.metadata if ".rope.scaling." in key), None)
    if scaled is None and "rope_freqs.weight" in store.shapes():
        scaled = "rope_freqs.weight"
    if scaled is not None:
        raise CheckpointError(
            f"{origin} rescales its rotary positions ({scaled}), which transformers "
            f"does not read from a gguf file; use the model's safetensors files."
        )
    try:
        from transformers import AutoConfig

        read = AutoConfig.from_pretrained(path.parent, gguf_file=path.name).to_dict()
    except Exception as error:  # of any kind: it reads a stranger's header
        raise CheckpointError(
            f"{origin} is a gguf file that the installed transformers does not read "
            f"({type(error).__name__}: {str(error)[:200]}); use the model's "
            f"safetensors files."
        ) from error
    return FallbackConfig.read(read, origin)
