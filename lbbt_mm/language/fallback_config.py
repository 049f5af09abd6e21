"""The architecture of a model that runs over transformers' own layers."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.fallback_rope import older_spelling

_FREE = ("architectures", "torch_dtype", "dtype", "transformers_version", "auto_map")
"""Keys of a ``config.json`` that change no function, or would run a stranger's code."""

_KEPT = ("_remove_final_layer_norm",)
"""What begins with an underscore and does change the function: OPT's."""


@dataclass(frozen=True)
class FallbackConfig:
    """A ``config.json``, and how many of its layers are used.

    Attributes:
        hf: The file's content, as text, without what has no effect here.
        num_layers: Layers used.
        drop_rate: Replaces every dropout rate of the model, or ``None``.

    Example:
        >>> config = FallbackConfig.read({"model_type": "gpt_neox"}, "a test")
        >>> config.width, config.num_layers
        (6144, 44)
    """

    hf: str
    num_layers: int
    drop_rate: float | None = None

    position = "inside"
    """The model's own, wherever it computes them."""

    @classmethod
    def read(cls, hf: Mapping[str, Any], origin: str) -> FallbackConfig:
        """Take over a transformers configuration.

        Args:
            hf: Content of a ``config.json``.
            origin: Where it comes from, for messages.

        Raises:
            CheckpointError: transformers is not installed, or does not know it.
        """
        # Names that begin with an underscore choose kernels, which may be downloaded.
        kept = {
            key: value
            for key, value in hf.items()
            if key in _KEPT
            or key not in _FREE
            and not key.startswith(("_", "attn_implementation"))
        }
        config = cls(json.dumps(kept, sort_keys=True), 1)
        try:
            layers, width = config.transformers.num_hidden_layers, config.width
        except CheckpointError as error:
            raise CheckpointError(f"{origin} {error}") from error
        except (AttributeError, NotImplementedError, TypeError) as error:
            raise CheckpointError(
                f"{origin} is a {hf.get('model_type')} model without the sizes of a "
                f"row of layers ({type(error).__name__}: {str(error)[:120]})."
            ) from error
        for name, value in (("num_hidden_layers", layers), ("hidden_size", width)):
            if type(value) is not int or value < 1:
                raise CheckpointError(
                    f"The configuration of {origin} says {name}={value!r:.60}; "
                    f"expected a positive whole number."
                )
        return replace(config, num_layers=layers)

    @property
    def family(self) -> str:
        """The ``model_type``."""
        return str(json.loads(self.hf)["model_type"])

    @property
    def whole(self) -> Any:
        """The configuration of the whole model, which may see or hear, too."""
        return _parsed(self.hf)

    @property
    def transformers(self) -> Any:
        """The configuration of the text model, as transformers reads it."""
        config = self.whole
        return config if config.is_encoder_decoder else config.get_text_config()

    @property
    def width(self) -> int:
        """Channels of the residual stream."""
        return self.transformers.hidden_size

    @property
    def input_width(self) -> int:
        """Channels of what takes the place of word embeddings: the stream's."""
        return self.width

    @property
    def vocab_size(self) -> int:
        """Rows of the word embedding."""
        return self.transformers.vocab_size

    @property
    def init_std(self) -> float:
        """Standard deviation of the family's initialisation."""
        return float(getattr(self.transformers, "initializer_range", 0.02))

    def with_layers(self, num_layers: int | None) -> FallbackConfig:
        """Return the configuration of the first ``num_layers`` layers.

        Args:
            num_layers: Layers to keep, 1 to all; ``None`` keeps all.

        Raises:
            ValueError: There are not that many layers.
        """
        if num_layers is None:
            return self
        if type(num_layers) is not int or not 1 <= num_layers <= self.num_layers:
            raise ValueError(
                f"num_layers must be a whole number from 1 to {self.num_layers}, the "
                f"depth of this {self.family} model; got {num_layers!r}."
            )
        return replace(self, num_layers=num_layers)

    def build(self) -> nn.Module:
        """Build the model with transformers, in float32, initialised as it does."""
        import torch
        import transformers

        if type(self.transformers) not in transformers.MODEL_MAPPING:
            raise CheckpointError("transformers builds no model of its text part alone")
        config = copy.deepcopy(self.transformers)
        config.use_cache = False
        for key, value in config.to_dict().items():
            if "layerdrop" in key:  # would leave out layers behind our back
                setattr(config, key, 0.0)
            elif self.drop_rate is not None and _is_rate(key, value):
                setattr(config, key, self.drop_rate)
        return encoder_of(
            transformers.AutoModel.from_config(config, dtype=torch.float32)
        )

    def differences(self, other: LanguageConfig | FallbackConfig) -> list[str]:
        """List what changes a layer's function or shape and differs.

        Args:
            other: The configuration to compare with.

        Returns:
            Strings such as ``'num_heads: 12 != 16'``; empty when layers fit.
        """
        if not isinstance(other, FallbackConfig):
            return [f"stack: transformers' {self.family} != ours, {other.family}"]
        ours, theirs = (_said(config.transformers) for config in (self, other))
        return [
            f"{key}: {ours.get(key)!r:.60} != {theirs.get(key)!r:.60}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return what a record needs, as plain types."""
        return dict(transformers=json.loads(self.hf), num_layers=self.num_layers)


AnyConfig = LanguageConfig | FallbackConfig


def read_architecture(fields: Any) -> AnyConfig:
    """Rebuild either kind of configuration from what its ``to_dict`` wrote.

    Raises:
        CheckpointError: A field is missing or unknown.
    """
    if isinstance(fields, Mapping) and "transformers" in fields:
        whole = FallbackConfig.read(fields["transformers"], "This checkpoint's record")
        return whole.with_layers(fields.get("num_layers"))
    return LanguageConfig.from_dict(fields)


def encoder_of(model: nn.Module) -> Any:
    """Return the encoder of a model that has a decoder too, without its pooler."""
    whole: Any = model
    if getattr(whole.config, "is_encoder_decoder", False):
        whole = whole.get_encoder()
    if isinstance(getattr(whole, "pooler", None), nn.Module):
        whole.pooler = nn.Identity()  # some models call it unasked
    return whole


def _is_rate(key: str, value: Any) -> bool:
    return "drop" in key and isinstance(value, (int, float)) and value is not True


def _said(config: Any) -> dict[str, Any]:
    """Return what matters of a configuration, with all defaults."""
    free = ("drop", "_token_id", "initializer", "vocab_size", "use_cache", *_FREE)
    return {
        key: value
        for key, value in config.to_dict().items()
        if not any(word in key for word in free) and not key.startswith("_")
    }


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> Any:
    hf = json.loads(text)
    kind = hf.get("model_type")
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise CheckpointError(
            f"is of model_type {kind!r:.60}, which runs over transformers only; try: "
            f"pip install 'lbbt_mm[multimodal]'"
        ) from error
    try:
        return AutoConfig.for_model(**older_spelling(hf))
    except CheckpointError:
        raise
    except Exception as error:  # every configuration class has its own
        raise CheckpointError(
            f"is of model_type {kind!r:.60}, which the installed transformers does not "
            f"take ({type(error).__name__}: {str(error)[:160]})."
        ) from error
