"""The parts of one transformer block, under one set of names for all families."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError


def block_shapes(config: LanguageConfig) -> dict[str, tuple[int, ...]]:
    """Name every parameter of one block and its shape.

    Linear weights are ``(out, in)``. ``qkv`` stacks the query rows, then the key rows,
    then the value rows, each head by head: the order of ``in_proj`` in
    ``torch.nn.MultiheadAttention``. ``attn_norm`` belongs to the attention and
    ``ffn_norm`` to the FFN, whether they stand before (pre-norm) or after (post-norm).

    Args:
        config: The architecture.

    Returns:
        Part name -> shape, in the order in which a block computes.
    """
    width, ffn_width = config.width, config.ffn_width
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, rows: int, columns: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    def norm(name: str, channels: int = width) -> None:
        shapes[f"{name}.weight"] = (channels,)
        if config.norm == "layernorm":
            shapes[f"{name}.bias"] = (channels,)

    norm("attn_norm")
    linear("qkv", sum(config.qkv_rows), width, config.qkv_bias)
    if config.qk_norm:
        norm("q_norm", config.head_dim)
        norm("k_norm", config.head_dim)
    linear("out", width, config.qkv_rows[0], config.out_bias)
    norm("ffn_norm")
    if config.gated:
        linear("gate", ffn_width, width, config.ffn_bias)
    linear("up", ffn_width, width, config.ffn_bias)
    linear("down", width, ffn_width, config.ffn_bias)
    return shapes


class BlockWeights(dict[str, Tensor]):
    """The weights of one block, complete and of the right shapes.

    Args:
        config: The architecture that the weights must fit.
        tensors: Part name -> tensor, named as in :func:`block_shapes`.
        origin: Where they come from, for messages; for example ``'gpt2, block 3'``.

    Raises:
        CheckpointError: A part is missing, unknown or misshapen.
    """

    def __init__(
        self, config: LanguageConfig, tensors: Mapping[str, Tensor], origin: str
    ) -> None:
        expected = block_shapes(config)
        problems = [
            f"{name}: expected {list(shape)}, got {list(tensors[name].shape)}"
            if name in tensors
            else f"{name}: expected {list(shape)}, missing"
            for name, shape in expected.items()
            if name not in tensors or tuple(tensors[name].shape) != shape
        ]
        problems += [
            f"{name}: not a part of this block, got {list(tensors[name].shape)}"
            for name in tensors
            if name not in expected
        ]
        if problems:
            raise CheckpointError(
                f"{origin} does not fit a {config.family} block of width "
                f"{config.width} and {config.num_heads} heads: {'; '.join(problems)}."
            )
        super().__init__((name, tensors[name]) for name in expected)
        self.config = config
