"""Which tokens a layer of transformers lets a token see, found out and changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lbbt_mm.language.errors import FOREIGN, CheckpointError
from lbbt_mm.language.fallback_trunk import Call

_TOKENS = 4
RULES = ("own", "visible", "visible, inverted")
"""How a mask is changed: not at all, or by what its values mean."""


def run_layer(layer: nn.Module, stream: Tensor, call: Call) -> Tensor:
    """Run one layer; what it returns beside the stream is left."""
    out = layer(stream, *call.args, **call.kwargs)
    return out if isinstance(out, Tensor) else out[0]


def sees(layer: nn.Module, stream: Tensor, call: Call) -> str:
    """Find out which tokens take part in which outputs of a layer, by its gradients.

    Args:
        layer: On a CPU, in evaluation mode.
        stream: ``(1, T, C)``.
        call: How it is called for that many tokens.

    Returns:
        ``'causal'``, also if it sees a part of the past only, as a convolution does;
        ``'bidirectional'``, or ``'neither'``.
    """
    x = stream.detach().clone().requires_grad_()
    with torch.enable_grad():
        seen = _seen(run_layer(layer, x, call), x)
    if bool(seen.triu(1).any()):
        return "bidirectional" if bool(seen.all()) else "neither"
    return "causal" if bool(seen.tril(-1).any()) else "neither"


def looks_ahead(enter: Callable[[Tensor], Tensor], width: int) -> bool:
    """Tell whether what stands before the layers lets a token see a later one.

    Args:
        enter: Computes what reaches the first layer, in evaluation mode on a CPU.
        width: Channels of the stream.
    """
    x = torch.randn(1, _TOKENS, width, requires_grad=True)
    with torch.enable_grad():
        return bool(_seen(enter(x), x).triu(1).any())


def _seen(out: Tensor, x: Tensor) -> Tensor:
    """Return which tokens of ``x`` (columns) are in which of ``out`` (rows)."""
    weights = torch.randn(out.shape[-1], generator=torch.Generator().manual_seed(0))
    rows = (out[0] * weights).sum(-1)
    grads = [torch.autograd.grad(r, x, retain_graph=True)[0][0] for r in rows]
    return torch.stack([(grad != 0).any(-1) for grad in grads])


def changed(
    layer: nn.Module, call: Call, stream: Tensor, causal: bool, rule: str
) -> Call:
    """Change the mask in a layer's call.

    A window stays one: looking both ways, it reaches as far ahead as it does back.

    Args:
        layer: Whose call it is.
        call: As the model makes it.
        stream: ``(B, T, C)``.
        causal: Whether a token is to see only itself and what precedes it.
        rule: One of :data:`RULES`.
    """
    if rule == "own":
        return call
    bound = inspect.signature(layer.forward).bind(stream, *call.args, **call.kwargs)
    bound.apply_defaults()
    names = [n for n in ("attention_mask", "causal_mask") if n in bound.arguments]
    if not names:
        raise CheckpointError("its layers take no mask")
    tokens = stream.shape[1]
    hidden = torch.ones(tokens, tokens, dtype=torch.bool, device=stream.device).triu(1)
    for name in names:
        mask = bound.arguments[name]
        if mask is None:
            mask = torch.zeros_like(hidden, dtype=stream.dtype)[None, None]
        elif not isinstance(mask, Tensor) or mask.ndim != 4:
            raise CheckpointError("its layers take a mask of a kind of their own")
        # Some older code makes a column too many, which their layers cut off.
        mask = mask[..., :tokens, :tokens]
        both = mask.transpose(-1, -2)
        inverted = rule == "visible, inverted"
        if mask.dtype == torch.bool:
            if causal:
                mask = mask | hidden if inverted else mask & ~hidden
            else:
                mask = mask & both if inverted else mask | both
        elif causal:
            lowest = torch.finfo(mask.dtype).min
            mask = mask.expand(-1, -1, tokens, tokens).masked_fill(hidden, lowest)
        else:
            mask = torch.maximum(mask, both)
        bound.arguments[name] = mask
    call_args, call_kwargs = bound.args[1:], bound.kwargs
    return Call(tuple(call_args), dict(call_kwargs))


def find_rules(
    layers: Sequence[nn.Module], calls: Sequence[Call], width: int, wanted: str | None
) -> tuple[bool, list[str]]:
    """Find out how layers look, and what lets them look otherwise.

    Args:
        layers: On a CPU.
        calls: How they are called for four tokens.
        width: Channels of the stream.
        wanted: ``'causal'``, ``'bidirectional'``, or ``None`` for the model's own.

    Returns:
        Whether a token sees only what precedes it, and for each layer the rule.

    Raises:
        CheckpointError: A layer cannot look as wanted.
    """
    generator = torch.Generator().manual_seed(0)
    stream = torch.randn(1, _TOKENS, width, generator=generator)
    own = [sees(layer, stream, call) for layer, call in zip(layers, calls, strict=True)]
    held = (
        value for layer in layers for m in layer.modules() for value in vars(m).values()
    )
    if any(isinstance(value, Tensor) and value.requires_grad for value in held):
        raise CheckpointError("its layers keep a state from one batch to the next")
    if all(kind == "neither" for kind in own):
        raise CheckpointError("its layers let no token see all others, or those before")
    if wanted is None:
        return all(kind == "causal" for kind in own), ["own"] * len(own)
    rules: list[str] = []
    for index, (layer, call) in enumerate(zip(layers, calls, strict=True)):
        if own[index] == wanted:
            rules.append("own")
            continue
        for rule in RULES[1:]:
            try:
                other = changed(layer, call, stream, wanted == "causal", rule)
                fits = sees(layer, stream, other) == wanted
            except CheckpointError as error:
                reason = str(error)
                break
            except FOREIGN as error:  # a layer that takes no such mask
                reason, fits = f"{type(error).__name__}: {str(error)[:80]}", False
            else:
                reason = f"with another mask it is still {own[index]}"
            if fits:
                rules.append(rule)
                break
        if len(rules) == index:
            raise CheckpointError(
                f"attention={wanted!r}: layer {index} is {own[index]}, and {reason}"
            )
    return wanted == "causal", rules
