"""What the modules inside of a layer compute, whatever they are called.

A table, or a mapping, says where a layer keeps its parts. It cannot say what another
class in that place does with them: an attention with a scale of its own, a linear layer
that multiplies by the transposed weight, a norm that adds one to its weight.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.tables import CONTAINERS


def class_of(
    module: nn.Module, names: frozenset[str], deciding: tuple[str, ...] = ("forward",)
) -> tuple[type | None, list[str]]:
    """Find the class among those of some names that a module is, or inherits from.

    Args:
        module: Of whatever class.
        names: Of classes, with their modules.
        deciding: Methods that decide what it computes.

    Returns:
        That class, or None; and which of these methods are the module's own.
    """
    for kind in type(module).__mro__:
        if f"{kind.__module__}.{kind.__qualname__}" in names:
            own = [
                name
                for name in deciding
                if getattr(type(module), name, None) is not getattr(kind, name, None)
                or name in vars(module)  # put on this one module
            ]
            return kind, own
    return None, []


def check_way(layer: nn.Module, place: str, ffn_adds: bool | None) -> None:
    """Check the modules between a layer and one of its parts.

    Args:
        layer: The layer.
        place: Path of the part in it.
        ffn_adds: Whether the FFN, not the layer, adds what comes in to what it makes of
            it; ``None`` where a mapping in the config answers for all classes.

    Raises:
        TransplantError: One of them computes something else than is known of it.
    """
    for path, module in _way(layer, place):
        wrong = dict(add_zero_attn=True, v_shortcut=True)
        if ffn_adds is not None:
            wrong["add_identity"] = not ffn_adds
        for option, value in wrong.items():
            if getattr(module, option, None) is value:
                raise TransplantError(
                    f"{path} of {type(layer).__name__} has {option}={value}, which no "
                    f"block computes; set {option}={not value}."
                )
        inner = path != place or any(True for _ in module.children())
        if inner and ffn_adds is not None:
            kind, own = class_of(module, CONTAINERS)
            if kind is None or own:
                raise TransplantError(
                    f"{path} of {type(layer).__name__} is a {type(module).__name__}, "
                    f"of which it is not known that it computes what a block does; if "
                    f"it does, describe the layer by a mapping."
                )


def check_scale(layer: nn.Module, place: str, head_dim: float, mapped: bool) -> None:
    """Refuse attention whose logits are scaled otherwise than by the head's width.

    Args:
        layer: The layer.
        place: Path of the part that holds the projections.
        head_dim: Channels of a head.
        mapped: Whether a mapping in the config answers for the module, which may then
            divide by its scale.

    Raises:
        TransplantError: They are.
    """
    usual = head_dim**-0.5
    way = dict(_way(layer, place))
    if "." not in place:  # the layer computes it itself
        way["it"] = layer
    for path, module in way.items():
        scale = getattr(module, "scale", None)
        kernel = getattr(module, "scaled_dot_product_attention", None)
        if isinstance(kernel, functools.partial):  # mmpretrain's, given a qk_scale
            scale = kernel.keywords.get("scale", 0.0)
        elif isinstance(scale, bool) or not isinstance(scale, (int, float)):
            continue
        elif scale and any(
            abs(scale / one - 1) < 1e-3 for one in (usual, 1 / usual)[: 1 + mapped]
        ):
            continue
        raise TransplantError(
            f"{path} of {type(layer).__name__} scales the products of queries and keys "
            f"by a number of its own, {scale:g}; a block by 1 / sqrt(head width), "
            f"{usual:g}. Leave qk_scale out."
        )


def _way(layer: nn.Module, place: str) -> Iterator[tuple[str, nn.Module]]:
    """Pass the modules from a layer, without it, to the place of a part."""
    steps = place.split(".")
    for end in range(1, len(steps) + 1):
        module = functools.reduce(getattr, steps[:end], layer)
        if isinstance(module, nn.Module):
            yield ".".join(steps[:end]), module


def heads_of(module: object) -> int | None:
    """Return how many heads a module says that it has, or None."""
    for name in ("num_heads", "n_heads", "nhead", "heads", "num_attention_heads"):
        found = getattr(module, name, None)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return None


def is_linear(module: nn.Module) -> bool:
    """Whether a module adds up its inputs as its weight and its bias say."""
    if type(module).forward is nn.Linear.forward and "forward" not in vars(module):
        return True
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim not in (2, 4):
        return False
    shape = (2, 3, weight.shape[1])
    x = torch.linspace(-1, 1, 6 * weight.shape[1], device="cpu").view(shape)

    def expected(twin: nn.Module) -> Tensor:
        bias = getattr(twin, "bias", None)
        return F.linear(x, twin.weight.flatten(1), bias)  # type: ignore[operator]

    if weight.ndim == 2:
        return _agrees(module, x, expected)
    # A convolution of one pixel: rows and columns come last.
    return _agrees(module, x.movedim(2, 1)[..., None], expected, channels_first=True)


def is_layer_norm(module: nn.Module) -> bool:
    """Whether a module is a LayerNorm over its channels, by what it computes."""
    if not isinstance(module, nn.LayerNorm) or len(module.normalized_shape) != 1:
        return False
    if type(module).forward is nn.LayerNorm.forward and "forward" not in vars(module):
        return True
    shape = module.normalized_shape
    x = torch.linspace(-1, 2, 6 * shape[0], device="cpu").sin().view(2, 3, shape[0])

    def expected(twin: nn.Module) -> Tensor:
        assert isinstance(twin, nn.LayerNorm)
        return F.layer_norm(x, shape, twin.weight, twin.bias, twin.eps)

    images = x.movedim(2, 1)[..., None]
    return _agrees(module, x, expected) or _agrees(
        module, images, expected, channels_first=True
    )


@torch.no_grad()
def _agrees(
    module: nn.Module,
    x: Tensor,
    expected: Callable[[nn.Module], Tensor],
    channels_first: bool = False,
) -> bool:
    """Compare a copy of a module, with numbers of its own, with what is expected."""
    twin = copy.deepcopy(module)
    if any(one.is_meta for one in (*twin.parameters(), *twin.buffers())):
        twin = twin.to_empty(device="cpu")
        for buffer in twin.buffers():
            buffer.zero_()
    twin = twin.cpu().float().eval()
    for parameter in twin.parameters():
        numbers = torch.arange(parameter.numel(), dtype=torch.float32, device="cpu")
        parameter.copy_((numbers * 0.7).sin().view(parameter.shape))
    try:
        got = twin(x)
    except Exception:  # whatever it wants, it is none of ours
        return False
    wanted = expected(twin)
    if channels_first:
        wanted = wanted.movedim(2, 1)[..., None]
    return (
        isinstance(got, Tensor)
        and got.shape == wanted.shape
        and torch.allclose(got, wanted, rtol=1e-4, atol=1e-4)
    )
