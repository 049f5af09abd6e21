"""The parts of a stack over transformers' own layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lbbt_mm.language.errors import CheckpointError, NoNamedParts
from lbbt_mm.language.fallback_config import AnyConfig, FallbackConfig
from lbbt_mm.language.fallback_direction import changed, run_layer
from lbbt_mm.language.fallback_trunk import Call, Refused

_OUR_PARTS = {"attn_norm", "ffn_norm", "qkv", "out", "gate", "up", "down", "activation"}


_NAMED = ("frozen_dtype", "lora")
"""Options that need parts by our names."""


class FallbackBlock(nn.Module):
    """One layer of transformers, called as one of our blocks.

    Args:
        layer: The layer.
        index: Its number.
        rule: How its mask is changed.
    """

    def __init__(self, layer: nn.Module, index: int, rule: str) -> None:
        super().__init__()
        self.layer = layer
        # Sharding wraps the block, not the layer in it once more.
        vars(layer)["held_by_block"] = True
        self.index = index
        self.rule = rule

    def __getattr__(self, name: str) -> Any:
        """Explain that there are no parts by our names."""
        if name in _OUR_PARTS:
            raise NoNamedParts(
                f"This language model runs over transformers' own layers, which have "
                f"no part {name!r}; what needs parts by name takes a model of one of "
                f"our families."
            )
        return super().__getattr__(name)

    def forward(
        self, x: Tensor, causal: bool, relative: Sequence[Call], last_only: bool = False
    ) -> Tensor:
        """Compute the layer.

        Args:
            x: Residual stream, ``(B, T, C)``.
            causal: As the model was built; for whoever calls all stacks alike.
            relative: What :meth:`FallbackModel.relative_positions` returns.
            last_only: Return the last token's output only.
        """
        call = changed(self.layer, relative[self.index], x, causal, self.rule)
        out = run_layer(self.layer, x, call)
        return out[:, -1:] if last_only else out


class Parameters:
    """Some parameters of a module, by their names."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        self._module, self._names = module, names

    def parameters(self) -> Iterator[nn.Parameter]:
        """Go through them; sharding takes some out during a forward pass."""
        named = self._module.named_parameters()
        return (parameter for name, parameter in named if name in self._names)

    def requires_grad_(self, wanted: bool = True) -> Parameters:
        """Let them train, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(wanted)
        return self


class _NoWords(nn.Module):
    """Takes the place of the word embedding, which images do not use."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        self.padding_idx = getattr(words, "padding_idx", None)
        self.embedding_dim = getattr(words, "embedding_dim", None)

    def forward(self, *args: Any) -> Tensor:
        """Refuse: there are no words."""
        raise Refused("it asks for word embeddings of its own")


def drop_words(model: Any, width: int) -> None:
    """Take the word embedding out of a model, where it can be found.

    Args:
        model: Of transformers, without a head.
        width: Channels of the stream.

    Raises:
        CheckpointError: The embedding has another width.
    """
    try:
        words = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        return
    narrow = getattr(words, "embedding_dim", width)
    if narrow != width:
        raise CheckpointError(
            f"its word embeddings have {narrow} channels and its stream {width}; only "
            f"ELECTRA's narrower ones are computed"
        )
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child is words and not isinstance(parent, nn.ModuleList):
                setattr(parent, name, _NoWords(words))


def refuse_named(config: AnyConfig, trainable: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that need parts by our names.

    Args:
        config: The architecture.
        trainable: ``TrainableParts``, what is to train.
        options: Of ``LanguageBackbone``.

    Raises:
        ValueError: One was set for a model that runs over transformers' own layers.
    """
    if not isinstance(config, FallbackConfig):
        return
    whole = len(trainable.blocks) == config.num_layers and trainable.final_norm
    some = [name for name in ("norms", "positions") if getattr(trainable, name)]
    asked = [f"trainable_layers={name!r}" for name in some if not whole]
    asked += [f"{key}={options[key]!r}" for key in _NAMED if options.get(key)]
    if options.get("prefix_tokens") == "language":
        asked.append("prefix_tokens='language'")
    if asked:
        raise ValueError(
            f"{' and '.join(asked)} needs parts by name, and this {config.family} "
            f"model runs over transformers' own layers; blocks are chosen by number, "
            f"and what is around them by 'final_norm'."
        )
