"""One transformer block that computes what any of the families' blocks computes.

Shape letters: B images, T tokens, H query heads, K key-value heads, D channels of a
head, C channels of the stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.kernels import Dropout, attention, is_recorded
from lbbt_mm.language.rotary import rotate

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    # One kernel; transformers' gelu_new is four element-wise passes of the same.
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "relu": nn.ReLU,
}


Relative = tuple[Tensor, Tensor] | Tensor | None
"""Positions that act inside the attention: rotary angles, a bias, or none."""


def stream_dtype(*modules: nn.Module) -> torch.dtype:
    """Return the dtype in which the residual stream flows: the parameters'.

    That is float32 under autocast, where parameters stay float32: the few enormous
    channels of a language model would swallow in bfloat16 what a block adds. Modules
    that were cast (``model.bfloat16()``, DeepSpeed) compute in their own dtype.

    Args:
        modules: The first that has parameters of floating point decides.
    """
    for module in modules:
        # FSDP puts plain tensors in the place of parameters while they are gathered.
        gathered = (value for part in module.modules() for value in vars(part).values())
        for tensor in (*module.parameters(), *gathered):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                return tensor.dtype
    return torch.float32


def _autocasts(kind: str) -> bool:
    """Whether autocast is on for a kind of device."""
    if hasattr(torch, "get_autocast_dtype"):
        return torch.is_autocast_enabled(kind)
    # torch 2.3 and older have a name for each.
    found = getattr(torch, f"is_autocast{'_cpu' * (kind == 'cpu')}_enabled")
    return bool(found())


class RMSNorm(nn.LayerNorm):
    """Division by the root-mean-square over channels (arXiv 1910.07467).

    It is a ``LayerNorm`` without mean and bias, and says so: the constructors of
    optimisers (mmengine's ``norm_decay_mult``) know norms by torch's classes, and
    ``torch.nn.RMSNorm``, which needs torch 2.4, is not among them.

    Args:
        channels: Size of the last dimension.
        eps: Added to the mean square.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(channels, eps=eps, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension, in float32 at least whatever the input."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight * (wide * scale)).to(x.dtype)


class NarrowLinear(nn.Linear):
    """A frozen ``torch.nn.Linear`` whose weight is narrower than what it multiplies.

    A run that computes in bfloat16 needs no more of it. Without autocast, as in
    validation, the weight is widened for each product.

    Args:
        linear: What it takes the place of.
        dtype: Of weight and bias.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        sizes = linear.in_features, linear.out_features
        super().__init__(*sizes, linear.bias is not None, device="meta")
        for name, parameter in linear.named_parameters():
            held = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
            setattr(self, name, held)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``(..., in_features)``."""
        if _autocasts(x.device.type):
            return super().forward(x)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


def build_norm(config: LanguageConfig, channels: int | None = None) -> nn.Module:
    """Build a norm of the family's kind.

    Args:
        config: The architecture.
        channels: Size of the last dimension; the stream's width by default.
    """
    kind = RMSNorm if config.norm == "rmsnorm" else nn.LayerNorm
    return kind(channels or config.width, eps=config.norm_eps)


class NormAndProjection(nn.LayerNorm):
    """Norm of embeddings narrower than the stream, and their way into it (ELECTRA).

    Args:
        config: The architecture.
    """

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__(config.input_width, eps=config.norm_eps)
        self.drop = Dropout(config.embed_drop)
        self.project = nn.Linear(config.input_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Bring ``(B, T, input_width)`` to ``(B, T, C)``."""
        return self.project(self.drop(super().forward(x)))


def relative_bias(
    table: Tensor, tokens: int, max_distance: int, places: Tensor | None = None
) -> Tensor:
    """Spread T5's learned relative positions over all pairs of tokens.

    Each direction has half of the buckets. Half of these are one distance each, the
    others grow logarithmically up to ``max_distance`` (arXiv 1910.10683, section 2.1).
    The buckets are those of the encoder, both directions, under a causal mask too.

    Args:
        table: One logit for each bucket and head, ``(buckets, H)``.
        tokens: Length T of the sequence.
        max_distance: Tokens from which on all distances share the last bucket.
        places: Where in the sequence the tokens of N parts of it stand, ``(N, T')``.

    Returns:
        What to add to the logits of query i and key j, ``(H, T, T)``; of the parts,
        ``(N, H, T', T')``.
    """
    one_way = len(table) // 2
    exact = one_way // 2
    # Every offset key - query that occurs, once.
    offsets = torch.arange(1 - tokens, tokens, device=table.device)
    distances = offsets.abs()
    growth = torch.log(distances.clamp(min=1).float() / exact)
    growth = growth / math.log(max_distance / exact) * (one_way - exact)
    far = (exact + growth.long()).clamp(max=one_way - 1)
    buckets = torch.where(distances < exact, distances, far) + one_way * (offsets > 0)
    if places is None:
        places = torch.arange(tokens, device=table.device)
    pairs = places[..., None, :] - places[..., :, None] + tokens - 1
    return table[buckets].t()[:, pairs].movedim(0, -3)


def stretched(table: Tensor, rows: int) -> Tensor:
    """Interpolate a whole table of positions ``(P, C)`` over more rows, linearly.

    A program that is recorded takes the first rows of the table if it gets fewer.
    """
    if is_recorded():
        places = torch.arange(rows, device=table.device)
        steps = (len(table) - 1) / places[-1:].clamp(min=1).float()
        at = (places * steps.clamp(max=1)).clamp(max=len(table) - 1)
        low, high = table[at.floor().long()].float(), table[at.ceil().long()].float()
        between = (at - at.floor())[:, None]
        return torch.lerp(low, high, between).to(table.dtype)
    wide = table.t()[None].float()
    longer = F.interpolate(wide, size=rows, mode="linear", align_corners=True)
    return longer[0].t().to(table.dtype)


class TransformerBlock(nn.Module):
    """Attention and FFN of one block; parameters are named as in ``BlockWeights``.

    Args:
        config: The architecture.
    """

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        width, ffn_width = config.width, config.ffn_width
        self.config = config
        self.q_rows = config.qkv_rows[0]
        self.attn_norm = build_norm(config)
        self.qkv = nn.Linear(width, sum(config.qkv_rows), bias=config.qkv_bias)
        if config.qk_norm:
            self.q_norm = build_norm(config, config.head_dim)
            self.k_norm = build_norm(config, config.head_dim)
        self.out = nn.Linear(self.q_rows, width, bias=config.out_bias)
        self.ffn_norm = build_norm(config)
        if config.gated:
            self.gate = nn.Linear(width, ffn_width, bias=config.ffn_bias)
        self.up = nn.Linear(width, ffn_width, bias=config.ffn_bias)
        self.activation = _ACTIVATIONS[config.activation]()
        self.down = nn.Linear(ffn_width, width, bias=config.ffn_bias)
        self.drop = Dropout(config.residual_drop)
        self.hidden_drop = Dropout(config.ffn_drop)

    def forward(
        self,
        x: Tensor,
        causal: bool,
        relative: Relative = None,
        last_only: bool = False,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Compute the block.

        Args:
            x: Residual stream, ``(B, T, C)``.
            causal: Whether a token sees only itself and what precedes it.
            relative: What :meth:`LanguageModel.relative_positions` returns: cosines
                and sines ``(T, D)``, a bias of the logits ``(H, T, T)``, or ``None``.
            last_only: Compute the last token's output only; keys and values still
                come from all tokens.
            hidden: True where no token may look, ``(B, T)``; never a first token. Not
                together with ``last_only``.

        Returns:
            ``(B, T, C)``, or ``(B, 1, C)`` with ``last_only``.
        """
        stream = x[:, -1:] if last_only else x
        if self.config.pre_norm:
            attended = self.attention(
                self.attn_norm(x), causal, relative, last_only, hidden
            )
            stream = stream + self.drop(attended)
            return stream + self.drop(self.ffn(self.ffn_norm(stream)))
        attended = self.attention(x, causal, relative, last_only, hidden)
        stream = self.attn_norm(stream + self.drop(attended))
        return self.ffn_norm(stream + self.drop(self.ffn(stream)))

    def attention(
        self,
        x: Tensor,
        causal: bool,
        relative: Relative,
        last_only: bool,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Self-attention by torch's fused kernels; no mask is materialised.

        The exceptions are a sliding window shorter than the sequence, a bias of the
        logits, and hidden tokens.

        Args:
            x: Normalised stream, ``(B, T, C)``.
            causal: See :meth:`forward`.
            relative: See :meth:`forward`.
            last_only: See :meth:`forward`.
            hidden: See :meth:`forward`.

        Returns:
            ``(B, T, C)``, or ``(B, 1, C)`` with ``last_only``.
        """
        config = self.config
        # Called, never multiplied by its weight: adapters, hooks, quantised layers and
        # whatever else stands in its place take part. Queries that nobody reads cost 12
        # blocks 0.7 % of their products.
        q, k, v = self.qkv(x).split(config.qkv_rows, -1)
        if last_only:
            q = q[:, -1:]
        q_BHTD = q.unflatten(-1, (-1, config.head_dim)).transpose(1, 2)
        k_BKTD = k.unflatten(-1, (-1, config.head_dim)).transpose(1, 2)
        v_BKTD = v.unflatten(-1, (-1, config.head_dim)).transpose(1, 2)
        if config.qk_norm:
            q_BHTD, k_BKTD = self.q_norm(q_BHTD), self.k_norm(k_BKTD)
        if isinstance(relative, tuple):
            cosines, sines = relative
            queries = slice(-1, None) if last_only else slice(None)
            q_BHTD = rotate(q_BHTD, cosines[queries], sines[queries])
            k_BKTD = rotate(k_BKTD, cosines, sines)
        groups = config.num_heads // config.num_kv_heads
        if groups > 1:
            k_BKTD = k_BKTD.repeat_interleave(groups, dim=1)
            v_BKTD = v_BKTD.repeat_interleave(groups, dim=1)
        mask: Tensor | None
        if isinstance(relative, Tensor):
            mask = self._biased_mask(relative.to(q_BHTD.dtype), causal, last_only)
        else:
            mask = self._window_mask(x, causal, last_only)
        if hidden is not None:
            mask = self._without(hidden[:, None, None], mask, causal)
        mixed_BHTD = attention(
            q_BHTD,
            k_BKTD,
            v_BKTD,
            bias=mask,
            p=config.attn_drop if self.training else 0.0,
            causal=causal and not last_only and mask is None,
            scale=None if config.attn_scaled else 1.0,
        )
        return self.out(mixed_BHTD.transpose(1, 2).flatten(2))

    def ffn(self, x: Tensor) -> Tensor:
        """Feed-forward network on ``(B, T, C)``, gated or plain."""
        if self.config.gated:
            hidden = self.activation(self.gate(x)) * self.up(x)
        else:
            hidden = self.activation(self.up(x))
        return self.down(self.hidden_drop(hidden))

    @staticmethod
    def _without(hidden: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """Take hidden keys ``(B, 1, 1, T)`` out of a mask."""
        if mask is not None and mask.dtype is not torch.bool:
            return mask.masked_fill(hidden, -math.inf)
        if mask is None and causal:
            mask = hidden.new_ones(hidden.shape[-1], hidden.shape[-1]).tril()
        return ~hidden if mask is None else mask & ~hidden

    @staticmethod
    def _biased_mask(bias: Tensor, causal: bool, last_only: bool) -> Tensor:
        """Bias of the logits, minus infinity where a causal token must not look."""
        if last_only:  # which sees everything
            bias = bias[..., -1:, :]
        elif causal:
            later = bias.new_ones(bias.shape[-2:], dtype=torch.bool).triu(1)
            bias = bias.masked_fill(later, -math.inf)
        # The fused kernels take four dimensions only.
        return bias if bias.ndim == 4 else bias[None]

    def _window_mask(self, x: Tensor, causal: bool, last_only: bool) -> Tensor | None:
        """Mask of a sliding window; ``None`` when the window covers every token."""
        window, tokens = self.config.sliding_window, x.shape[1]
        if window is None or (tokens <= window and not is_recorded()):
            return None
        places = torch.arange(tokens, device=x.device)
        distance = places[:, None] - places[None, :]
        visible = distance < window if causal else distance.abs() < window
        if causal:
            visible = visible & (distance >= 0)  # in place is not known to ONNX
        return visible[-1:] if last_only else visible
