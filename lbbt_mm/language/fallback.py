"""Any language model that transformers can run, layer by layer, as a stack of blocks.

It computes what transformers computes, with its code. It has no parts by our names, so
blocks can be neither copied into other layers nor compared weight by weight.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from lbbt_mm.language.errors import FOREIGN, CheckpointError
from lbbt_mm.language.fallback_checkpoint import FallbackCheckpoint
from lbbt_mm.language.fallback_config import (
    AnyConfig,
    FallbackConfig,
    read_architecture,
)
from lbbt_mm.language.fallback_direction import find_rules, looks_ahead
from lbbt_mm.language.fallback_parts import FallbackBlock, Parameters, drop_words
from lbbt_mm.language.fallback_trunk import Call, Trunk, take_apart, values
from lbbt_mm.language.layers import stream_dtype
from lbbt_mm.language.model import LanguageModel
from lbbt_mm.language.record import RecordedModel
from lbbt_mm.language.storage import tensor_bytes

_WHY = {
    "funnel": "it pools tokens between its layers",
    "longcat_flash": "transformers counts each of its layers twice",
    "phi4_multimodal": "its word embeddings are mixed with those of pictures and sound",
    "qdqbert": "transformers needs the package pytorch-quantization for it",
    "reformer": "its layers are reversible and hand on two streams",
    "squeezebert": "its layers convolve (batch, channels, tokens)",
    "transfo-xl": "its layers take memories of earlier segments",
}
"""Where what goes wrong in transformers' code would not tell why."""


class FallbackModel(RecordedModel):
    """transformers' layers, and what stands around them, as a stack of blocks.

    The interface is that of :class:`lbbt_mm.language.LanguageModel`.

    Args:
        config: The architecture, already cut to the layers wanted.
        attention: ``'causal'`` or ``'bidirectional'``; the model's own by default.
            Another one is found by trying masks; a layer that looks one way by its
            nature (Mamba) is refused.
        use_positions: Must be true: positions are where the model has them.
        drop_rate: Replaces the model's dropout rates; ``None`` keeps them.
        initialise: Taken for the sake of the interface; memory is always initialised.
        distribution: ``'family'``; others need named parts.
        long_positions: More tokens than a position table has rows are always refused.

    Attributes:
        before: Names of what computes before the blocks, in ``trunk``.
        after: Names of what computes after them.

    Raises:
        CheckpointError: The model does not run layer by layer, or not as asked.

    Example:
        >>> model = FallbackModel(FallbackConfig.read(
        ...     dict(model_type="gpt_neox", hidden_size=32, num_attention_heads=4,
        ...          intermediate_size=64, num_hidden_layers=2), "a test"))
        >>> model(torch.rand(1, 5, 32)).shape
        torch.Size([1, 5, 32])
    """

    positions: nn.Parameter | None = None
    rotary = None
    _calls: list[Call] | None = None

    _read_config = staticmethod(read_architecture)

    def __init__(
        self,
        config: FallbackConfig,
        attention: str | None = None,
        use_positions: bool = True,
        drop_rate: float | None = None,
        initialise: bool = True,
        distribution: str = "family",
        long_positions: str = "interpolate",
    ) -> None:
        super().__init__()
        if drop_rate is not None:
            config = dataclasses.replace(config, drop_rate=drop_rate)
        says = f"This {config.family} model runs over transformers' own layers"
        if not use_positions:
            raise CheckpointError(
                f"{says}, so its positions cannot be taken out: set "
                f"position='language'."
            )
        if distribution != "family":
            raise CheckpointError(
                f"{says}, whose parts have no names here: initial_distribution="
                f"{distribution!r} is for our families."
            )
        self.config = config
        self.distribution = distribution
        self.long_positions = long_positions
        self.origin: dict[str, Any] = {"source": None}
        place = torch.empty(0).device
        with torch.device("cpu"):
            self._build(config, attention, says)
        self.use: dict[str, Any] = {
            "attention": "causal" if self.causal else "bidirectional",
            "position": "language",
        }
        self.final_drop = nn.Identity()
        self.to(place)
        print_log(f"{says} ({config.num_layers} of them).", logger="current")

    def _build(self, config: FallbackConfig, attention: str | None, says: str) -> None:
        try:
            model = config.build()
            drop_words(model, config.width)
            count = config.with_layers(None).transformers.num_hidden_layers
            self.trunk = take_apart(model, count, config.num_layers, config.width)
            self.eval()
            _, calls = self.trunk.enter(torch.zeros(1, 4, config.width))
            layers = [layer.eval() for layer in self.trunk.release()]
            self.causal, rules = find_rules(layers, calls, config.width, attention)
            before = self.trunk.enter
            if self.causal and looks_ahead(lambda x: before(x)[0], config.width):
                raise CheckpointError(
                    "attention='causal': what stands before its layers looks ahead"
                )
        except (CheckpointError, *FOREIGN) as error:
            own = isinstance(error, CheckpointError)
            text = str(error) if own else f"{type(error).__name__}: {error}"
            text = _WHY.get(config.family, text)
            raise CheckpointError(
                f"A {config.family} model has no table here and does not run over "
                f"transformers' layers either: {text[:300].rstrip('.')}."
            ) from error
        self.blocks = nn.ModuleList(
            FallbackBlock(layer, index, rule)
            for index, (layer, rule) in enumerate(zip(layers, rules, strict=True))
        )
        self._longest = 4
        self.before, self.after = self._parts_of_trunk()
        for name, parameter in self.trunk.named_parameters():
            if name not in self.before and name not in self.after:
                parameter.requires_grad_(False)  # DDP waits for what has no gradient
        self.train()

    def _parts_of_trunk(self) -> tuple[list[str], list[str]]:
        """Find what of the trunk comes before the layers, and what after them."""
        named = {n: p for n, p in self.trunk.named_parameters() if p.requires_grad}
        found: list[list[str]] = []
        with torch.enable_grad():
            x = torch.randn(1, 4, self.config.width)
            stream, calls = self.trunk.enter(x)
            tensors = [stream, *_tensors(calls)]
            for outputs in (tensors, [self.trunk.leave(stream.detach())]):
                total = sum(
                    (o.float() * torch.rand_like(o.float())).sum()
                    for o in outputs
                    if o.requires_grad
                )
                if not isinstance(total, Tensor) or not named:
                    found.append([])
                    continue
                grads = torch.autograd.grad(
                    total, list(named.values()), allow_unused=True
                )
                pairs = zip(named, grads, strict=True)
                found.append([name for name, grad in pairs if grad is not None])
        return found[0], [name for name in found[1] if name not in found[0]]

    @property
    def embed_norm(self) -> Any:
        """What can train before the blocks: position table, norm, projections."""
        return Parameters(self.trunk, self.before)

    @property
    def drop(self) -> nn.Module:
        """What holds the dropout of the embeddings."""
        return self.trunk

    @property
    def final_norm(self) -> Any:
        """What can train after the blocks."""
        return Parameters(self.trunk, self.after)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw everything as transformers does for a new model."""
        with torch.device("cpu"):
            fresh = self.config.build()
            drop_words(fresh, self.config.width)
            row = take_apart(
                fresh,
                self.config.transformers.num_hidden_layers,
                self.config.num_layers,
                self.config.width,
            )
        self.take(row, lambda tensor: None)
        self.origin = {"source": None}

    @torch.no_grad()
    def load(self, checkpoint: FallbackCheckpoint, first: int = 0) -> None:
        """Copy the first layers of a language model, and what is around them, in place.

        Args:
            checkpoint: An opened language model.
            first: Number of the first layer to copy; only 0 works.

        Raises:
            CheckpointError: Its architecture differs, or weights are missing.
        """
        if first:
            raise CheckpointError(
                f"first_block={first}: {checkpoint.source} runs over transformers' own "
                f"layers, of which the first ones are taken."
            )
        differences = self.config.differences(checkpoint.config)
        if checkpoint.config.num_layers < self.config.num_layers:
            differences.append(
                f"num_layers: {self.config.num_layers} > {checkpoint.config.num_layers}"
            )
        if differences:
            raise CheckpointError(
                f"{checkpoint.source} does not fit the model that was built "
                f"(built != stored): {'; '.join(differences)}."
            )
        digest = hashlib.sha256()
        checkpoint.fill(self, lambda tensor: digest.update(tensor_bytes(tensor)))
        self.origin = {
            "source": checkpoint.source,
            "sha256": digest.hexdigest(),
            "blocks": self.config.num_layers,
        }
        if checkpoint.record:
            self.origin["parent"] = checkpoint.record.get("origin")

    def names_of_first_layer(self) -> list[str]:
        """Name the first layer's tensors as transformers' model without a head does."""
        inner = (name.removeprefix("layer.") for name in self.blocks[0].state_dict())
        return [f"{self.trunk.path}.0.{name}" for name in inner]

    def used_of(self, trunk: Trunk) -> list[nn.Parameter]:
        """List the parameters of another trunk that a forward pass uses."""
        return [trunk.get_parameter(name) for name in (*self.before, *self.after)]

    def take(self, trunk: Trunk, seen: Callable[[Tensor], None]) -> None:
        """Copy the weights of another model that was taken apart, in place.

        Args:
            trunk: Of the same architecture, with its layers.
            seen: Called with each tensor that was filled.
        """
        pairs: list[tuple[Any, nn.Module]] = [(self.trunk, trunk)]
        pairs += [
            (block.layer, layer)
            for block, layer in zip(self.blocks, trunk.layers, strict=True)
        ]
        for ours, theirs in pairs:
            stored = theirs.state_dict()
            for name, tensor in ours.state_dict(keep_vars=True).items():
                # In place: an optimiser or a distributed wrapper may hold it already.
                tensor.copy_(stored[name])
                seen(tensor)

    def embed(self, tokens: Tensor) -> Tensor:
        """Compute what reaches the first block, from tokens ``(B, T, C)``."""
        if torch.jit.is_tracing():  # type: ignore[attr-defined]
            raise CheckpointError(
                f"This {self.config.family} model runs over transformers' own layers, "
                f"which torch.jit.trace cannot record (nor torch.onnx.export and "
                f"counts of operations that start from it); torch.export can, for "
                f"images of one size."
            )
        self.check_length(tokens.shape[1])
        tokens = tokens.to(self._dtype_around())
        stream, self._calls = self.trunk.enter(tokens)
        return stream

    def _dtype_around(self) -> torch.dtype:
        """Return the dtype of what stands around the blocks, as it is now.

        Sharding may gather it in another one than that of the parameters, and then
        these are no parameters.
        """
        for path in (*self.before, *self.after):
            parent, _, name = path.rpartition(".")
            tensor: Tensor = getattr(self.trunk.get_submodule(parent), name)
            if tensor.is_floating_point():
                return tensor.dtype
        return stream_dtype(self.blocks)

    def check_length(self, tokens: int) -> bool:
        """Refuse more tokens than the model has positions for.

        Args:
            tokens: Length of the sequence.

        Raises:
            ValueError: It has not.
        """
        if tokens > self._longest:
            # On a CPU: a GPU would be lost by an index that is out of range.
            kept = {id(block.layer): block.layer for block in self.blocks}
            trunk = copy.deepcopy(self.trunk, kept)
            if any(p.is_meta for p in trunk.parameters()):
                return True
            try:
                with torch.no_grad():
                    trunk.cpu().float().enter(torch.zeros(1, tokens, self.config.width))
            except (IndexError, RuntimeError, ValueError) as error:
                raise ValueError(
                    f"{tokens} tokens are more than this {self.config.family} model "
                    f"takes ({type(error).__name__}: {str(error)[:100]}); it runs over "
                    f"transformers' own layers, whose positions are not interpolated: "
                    f"take larger patches or smaller images."
                ) from error
            self._longest = tokens
        return True

    def relative_positions(self, tokens: Tensor) -> list[Call]:
        """Return how each block is called: masks and positions of the last ``embed``.

        Args:
            tokens: What ``embed`` returned, ``(B, T, C)``.
        """
        calls, self._calls = self._calls, None
        if calls is None:
            raise CheckpointError(
                f"This {self.config.family} model runs over transformers' own layers: "
                f"call embed() first, once for each relative_positions()."
            )
        return calls

    def finish(self, tokens: Tensor) -> Tensor:
        """Apply what follows the last block to ``(B, T, C)``."""
        return self.trunk.leave(tokens)

    def forward(self, inputs_embeds: Tensor) -> Tensor:
        """Run the whole stack.

        Args:
            inputs_embeds: ``(B, T, C)``, in the place of word embeddings.

        Returns:
            transformers' ``last_hidden_state``, ``(B, T, C)``.
        """
        x = self.embed(inputs_embeds)
        relative = self.relative_positions(x)
        for block in self.blocks:
            x = block(x, self.causal, relative)
        return self.finish(x)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> FallbackModel:
        """Keep what is computed once, such as rotary frequencies, in its precision."""
        stored = self.state_dict(keep_vars=True)
        kept = {
            name: buffer
            for name, buffer in self.named_buffers()
            if name not in stored and buffer.is_floating_point()
        }
        super()._apply(fn, *args)
        for path, wide in kept.items():
            cast = self.get_buffer(path)
            if cast.dtype != wide.dtype:
                parent, _, name = path.rpartition(".")
                setattr(self.get_submodule(parent), name, wide.to(cast.device))
        return self


def build_stack(config: AnyConfig, **options: Any) -> LanguageModel | FallbackModel:
    """Build the stack that runs an architecture; options are those of either."""
    kind = FallbackModel if isinstance(config, FallbackConfig) else LanguageModel
    return kind(config, **options)  # type: ignore[arg-type]


def _tensors(calls: Sequence[Call]) -> list[Tensor]:
    return [v for call in calls for v in values(call) if isinstance(v, Tensor)]
