"""First weights in closed form, which no language model has seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lbbt_mm.language.layers import TransformerBlock

DISTRIBUTIONS = ("family", "gpt2", "mimetic")
"""How blocks start without a language model; see ``LanguageModel.reset_parameters``."""


def mimetic_(block: TransformerBlock) -> None:
    """Draw a block's attention like a trained vision transformer's (arXiv 2305.09828).

    The products of query and key weights of a head are near 0.7 times the identity, the
    product of value and output weights near -0.4 times it, each with normal noise of
    the same size; biases are zero. Where heads share keys and values, each head's
    queries and outputs are the least-squares solution for what is shared, which is the
    paper's own where nothing is.

    Args:
        block: Filled in place; norms and FFN stay as they are.
    """
    config = block.config
    qkv, out = mimetic_attention(
        config.width, config.num_heads, config.num_kv_heads, config.head_dim
    )
    block.qkv.weight.copy_(qkv)
    block.out.weight.copy_(out)
    for layer in (block.qkv, block.out):
        if layer.bias is not None:
            layer.bias.zero_()


def mimetic_attention(
    width: int, heads: int, groups: int, size: int
) -> tuple[Tensor, Tensor]:
    """Draw the weights of one attention; see :func:`mimetic_`.

    Args:
        width: Channels.
        heads: Of the queries.
        groups: Heads of keys and values.
        size: Channels of a head.

    Returns:
        Weights of queries, keys and values, ``((heads + 2 * groups) * size, C)``, and
        of the output projection, ``(C, heads * size)``.
    """
    qkv = torch.empty((heads + 2 * groups) * size, width)
    queries, keys, values = qkv.split([n * size for n in (heads, groups, groups)])
    for group in range(groups):
        first, *others = range(group * heads // groups, (group + 1) * heads // groups)
        left, right = _roots(_near_identity(width, 0.7))
        shared = right[:size]  # (D, C)
        rows(keys, group, size).copy_(shared)
        rows(queries, first, size).copy_(left[:, :size].T)
        inverse = torch.linalg.pinv(shared)
        for head in others:
            wanted = _near_identity(width, 0.7)
            rows(queries, head, size).copy_((wanted @ inverse).T)
    wanted = _near_identity(width, -0.4)
    _, right = _roots(wanted)
    values.copy_(right[: len(values)])
    seen = values.unflatten(0, (groups, size)).repeat_interleave(heads // groups, 0)
    return qkv, wanted @ torch.linalg.pinv(seen.flatten(0, 1))


def rows(weight: Tensor, head: int, size: int) -> Tensor:
    """Return the rows of one head, as a view."""
    return weight[head * size : (head + 1) * size]


def _near_identity(width: int, factor: float) -> Tensor:
    """Draw ``abs(factor) * noise + factor * identity``, the noise of variance 1 / C."""
    noise = torch.randn(width, width) / math.sqrt(width)
    return abs(factor) * noise + factor * torch.eye(width)


def _roots(product: Tensor) -> tuple[Tensor, Tensor]:
    """Split a matrix into two equally large factors, strongest directions first."""
    left, strengths, right = torch.linalg.svd(product)
    root = strengths.sqrt()
    return left * root, root[:, None] * right
