"""What a language model's transformer is, in one vocabulary for all families."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lbbt_mm.language.errors import CheckpointError, NotComputed
from lbbt_mm.language.families import FAMILIES


@dataclass(frozen=True)
class LanguageConfig:
    """Architecture of a stack of transformer blocks; sizes are in channels or tokens.

    Attributes:
        family: Key of :data:`lbbt_mm.language.families.FAMILIES`.
        num_layers: Number of blocks.
        width: Channels of the residual stream.
        num_heads: Query heads.
        num_kv_heads: Key and value heads; fewer than ``num_heads`` when grouped.
        head_dim: Channels of one head.
        ffn_width: Hidden channels of the feed-forward network.
        vocab_size: Rows of the word embedding.
        max_positions: Rows of the position table, or the trained context length.
        norm: ``'layernorm'`` or ``'rmsnorm'``.
        norm_eps: Epsilon of every norm.
        pre_norm: Whether norms come before attention and FFN, or after the addition.
        activation: ``'gelu'``, ``'gelu_tanh'``, ``'silu'`` or ``'relu'``.
        gated: Whether the FFN multiplies ``up`` by the activated ``gate``.
        attention: ``'causal'`` or ``'bidirectional'``, as the model was trained.
        position: ``'table'`` (learned, added to the embeddings), ``'rotary'`` or
            ``'relative'`` (learned, added to the attention's logits: T5).
        qkv_bias: Whether query, key and value projections have a bias.
        out_bias: Whether the attention's output projection has a bias.
        ffn_bias: Whether the FFN's projections have a bias.
        qk_norm: Whether queries and keys are normalised per head.
        embed_norm: Whether the embeddings are normalised before the first block.
        final_norm: Whether a norm follows the last block.
        rope_theta: Base of the rotary frequencies.
        rope_scaling: Parameters of a context extension, or ``None``; see
            :class:`lbbt_mm.language.rotary.RotaryPositions`.
        sliding_window: Tokens that a query sees, or ``None`` for all.
        embed_drop: Dropout after the embeddings.
        attn_drop: Dropout of the attention weights.
        residual_drop: Dropout of what a block adds to the stream.
        init_std: Standard deviation of the family's initialisation.
        scaled_residual_init: Whether the projections that write into the stream start
            smaller by ``sqrt(2 * num_layers)`` (GPT-2).
        attn_scaled: Whether logits are divided by ``sqrt(head_dim)``; T5's are not.
        relative_buckets: Distances that relative positions tell apart, both
            directions together; ``None`` without them.
        relative_max_distance: Tokens from which on all distances are one.
        ffn_drop: Dropout of the FFN's hidden channels (T5).
        final_drop: Dropout after the last norm (T5).
        fan_in_init: Whether ``init_std`` is divided by the root of a weight's inputs,
            and norms start at it (T5's ``initializer_factor``).
        embed_width: Channels of embeddings and their positions, before a projection
            to the stream's; ``None`` where they are as wide (all but small ELECTRA).
        rotary_dim: Channels of a head that rotary positions turn; ``None`` for all.
    """

    family: str
    num_layers: int
    width: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_width: int
    vocab_size: int
    max_positions: int
    norm: str
    norm_eps: float
    pre_norm: bool
    activation: str
    gated: bool
    attention: str
    position: str
    qkv_bias: bool
    out_bias: bool
    ffn_bias: bool
    qk_norm: bool = False
    embed_norm: bool = False
    final_norm: bool = True
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    sliding_window: int | None = None
    embed_drop: float = 0.0
    attn_drop: float = 0.0
    residual_drop: float = 0.0
    init_std: float = 0.02
    scaled_residual_init: bool = False
    attn_scaled: bool = True
    relative_buckets: int | None = None
    relative_max_distance: int | None = None
    ffn_drop: float = 0.0
    final_drop: float = 0.0
    fan_in_init: bool = False
    embed_width: int | None = None
    rotary_dim: int | None = None

    def __post_init__(self) -> None:
        says = f"The configuration of this {self.family} model says"
        for field in dataclasses.fields(self):
            name, value, wanted = field.name, getattr(self, field.name), ""
            if field.type == "int | None" and value is None:
                continue
            if field.type in ("int", "int | None"):
                if type(value) is not int or not 0 < value < _TOO_MANY:
                    wanted = "a positive whole number"
            elif field.type == "float" and name.endswith("_drop"):
                if not _is_number(value) or not 0 <= value < 1:
                    wanted = "a number from 0 to below 1"
            elif field.type == "float":
                if not _is_number(value) or not 0 < value < _TOO_LARGE:
                    wanted = "a number above 0"
            elif field.type in ("str", "bool"):
                choices = _CHOICES.get(name, (True, False))
                if value not in choices:
                    wanted = f"one of {', '.join(map(str, choices))}"
            if wanted:
                raise CheckpointError(
                    f"{says} {name}={_short(value)}; expected {wanted}."
                )
            if field.type == "float":
                object.__setattr__(self, name, float(value))
        for name, value in (self.rope_scaling or {}).items():
            many = name in ROPE_LISTS
            values = value if many and isinstance(value, (list, tuple)) else [value]
            if (many or name in ROPE_NUMBERS) and not (
                all(_is_number(v) and 0 < v < _TOO_MANY for v in values)
                and (not many or len(values) == self.rotated // 2)
            ):
                wanted = f"{self.rotated // 2} numbers" if many else "a number"
                raise CheckpointError(
                    f"{says} {name}={_short(value)} of its rope_scaling; expected "
                    f"{wanted} above 0."
                )
        if self.position == "table" and self.max_positions > _LONGEST_TABLE:
            raise CheckpointError(
                f"{says} that its table has {self.max_positions} positions; expected "
                f"at most {_LONGEST_TABLE}."
            )
        if self.position == "rotary" and (
            self.rotated % 2 or self.rotated > self.head_dim
        ):
            name = "head_dim" if self.rotary_dim is None else "rotary_dim"
            raise CheckpointError(
                f"{says} {name}={self.rotated}; rotary positions need an even one, up "
                f"to the {self.head_dim} channels of a head."
            )
        if self.position == "relative":
            buckets, distance = self.relative_buckets, self.relative_max_distance
            if not buckets or not distance or not 1 <= buckets // 4 < distance:
                raise CheckpointError(
                    f"{says} relative_buckets={buckets} and relative_max_distance="
                    f"{distance}; expected 4 or more, and more than a quarter of that."
                )
        if self.num_heads % self.num_kv_heads:
            raise CheckpointError(
                f"The configuration of this {self.family} model has {self.num_heads} "
                f"query heads, which {self.num_kv_heads} key-value heads do not divide."
            )

    @property
    def qkv_rows(self) -> tuple[int, int, int]:
        """Rows of the query, key and value projections."""
        kv_rows = self.num_kv_heads * self.head_dim
        return self.num_heads * self.head_dim, kv_rows, kv_rows

    @property
    def input_width(self) -> int:
        """Channels of what takes the place of word embeddings."""
        return self.embed_width or self.width

    @property
    def rotated(self) -> int:
        """Channels of a head that rotary positions turn."""
        return self.rotary_dim or self.head_dim

    @property
    def position_shape(self) -> tuple[int, int] | None:
        """Shape of the learned positions; ``None`` where nothing is learned.

        ``(max_positions, input_width)`` of a table, ``(relative_buckets, num_heads)``
        of relative ones, which all blocks share.
        """
        if self.position == "relative":
            assert self.relative_buckets is not None
            return self.relative_buckets, self.num_heads
        table = self.position == "table"
        return (self.max_positions, self.input_width) if table else None

    def with_layers(self, num_layers: int | None) -> LanguageConfig:
        """Return the configuration of the first ``num_layers`` blocks.

        Args:
            num_layers: Blocks to keep, 1 to all; ``None`` keeps all.

        Raises:
            ValueError: There are not that many blocks.
        """
        if num_layers is None:
            return self
        if type(num_layers) is not int or not 1 <= num_layers <= self.num_layers:
            raise ValueError(
                f"num_layers must be a whole number from 1 to {self.num_layers}, the "
                f"depth of this {self.family} model; got {num_layers!r}."
            )
        return dataclasses.replace(self, num_layers=num_layers)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain types, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Any) -> LanguageConfig:
        """Rebuild a configuration that :meth:`to_dict` wrote.

        Raises:
            CheckpointError: A field is missing or unknown.
        """
        if isinstance(fields, dict) and "transformers" in fields:
            raise NotComputed(
                "This checkpoint's language model runs over transformers' own layers, "
                "whose parts have no names here: its blocks can be trained further, "
                "but neither copied into other layers nor compared weight by weight."
            )
        try:
            return cls(**fields)
        except (TypeError, AttributeError) as error:
            raise CheckpointError(
                f"This checkpoint's language configuration does not fit this version "
                f"of lbbt_mm ({error}); use the version that wrote it."
            ) from error

    def differences(self, other: LanguageConfig) -> list[str]:
        """List the fields that change a block's function or shape and differ.

        Depth, vocabulary, context length, dropout and initialisation may differ.

        Args:
            other: The configuration to compare with.

        Returns:
            Strings such as ``'num_heads: 12 != 16'``; empty when blocks fit.
        """
        return [
            f"{field.name}: {getattr(self, field.name)} != {getattr(other, field.name)}"
            for field in dataclasses.fields(self)
            if field.name not in _FREE
            and self._meaning(field.name) != other._meaning(field.name)
        ]

    def _meaning(self, name: str) -> Any:
        """Return a field, without the words in which a release of transformers put it.

        ``type`` was the name of ``rope_type`` once, and since transformers 5 the base
        of the rotary angles, a field of its own here, stands beside it.
        """
        value = getattr(self, name)
        if name != "rope_scaling" or value is None:
            return value
        keys = (*ROPE_NUMBERS, *ROPE_LISTS, "truncate")
        numbers = {key: value[key] for key in keys if key in value}
        return value.get("rope_type", value.get("type")), numbers


ROPE_NUMBERS = (
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
)
"""Numbers of a context extension."""
ROPE_LISTS = ("short_factor", "long_factor")
"""Numbers of a context extension, one for each frequency."""

_TOO_MANY = 2**63
_TOO_LARGE = 1e30  # beyond it float32 has no products
_LONGEST_TABLE = 2**24  # an embedding of a position each

_CHOICES: dict[str, tuple[Any, ...]] = {
    "family": tuple(FAMILIES),
    "norm": ("layernorm", "rmsnorm"),
    "activation": ("gelu", "gelu_tanh", "silu", "relu"),
    "attention": ("causal", "bidirectional"),
    "position": ("table", "rotary", "relative"),
}
_FREE = {
    *("num_layers", "vocab_size", "max_positions", "attention"),
    *("embed_drop", "attn_drop", "residual_drop", "ffn_drop", "final_drop"),
    *("init_std", "scaled_residual_init", "fan_in_init"),
}
"""What changes neither a block's function nor its shapes."""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _short(value: Any) -> str:
    """Write a value of any kind; a number may have more digits than Python writes."""
    try:
        return repr(value)[:60]
    except (ValueError, RecursionError):
        return "a number of thousands of digits"
