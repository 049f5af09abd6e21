"""What a transformer layer of the vision libraries looks like to a language block.

A table says where a class keeps each part of a block; the rest (head count, norm order,
activation, epsilons) is read from the built layer. Layers that no table knows are
described in the config in the words of a table: see :data:`TABLES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lbbt_mm.language.layers import RMSNorm
from lbbt_mm.transplant import activations
from lbbt_mm.transplant.errors import TransplantError

# Parts of a block -> the module that holds them, by its path in the layer. `qkv` may be
# a torch.nn.MultiheadAttention (its in_proj), one Linear, or three. `norm_order` is
# 'pre' or 'post'; 'norm_first' reads it from the layer's attribute of that name.
_MMCV_FFN = dict(up="ffn.layers.0.0", activation="ffn.layers.0.1", down="ffn.layers.1")
_DETR = dict(
    _MMCV_FFN,
    norm_order="post",
    attn_norm="norms.0",
    qkv="self_attn.attn",
    out="self_attn.attn.out_proj",
)
_TORCH = dict(
    norm_order="norm_first",
    attn_norm="norm1",
    qkv="self_attn",
    out="self_attn.out_proj",
    up="linear1",
    activation="activation",
    down="linear2",
)
TABLES: dict[str, dict[str, str]] = {
    "mmseg.models.backbones.vit.TransformerEncoderLayer": dict(
        _MMCV_FFN,
        norm_order="pre",
        attn_norm="ln1",
        qkv="attn.attn",
        out="attn.attn.out_proj",
        ffn_norm="ln2",
    ),
    "mmpretrain.models.backbones.vision_transformer.TransformerEncoderLayer": dict(
        _MMCV_FFN,
        norm_order="pre",
        attn_norm="ln1",
        qkv="attn.qkv",
        out="attn.proj",
        ffn_norm="ln2",
    ),
    "mmdet.models.layers.transformer.detr_layers.DetrTransformerEncoderLayer": dict(
        _DETR, ffn_norm="norms.1"
    ),
    "mmdet.models.layers.transformer.detr_layers.DetrTransformerDecoderLayer": dict(
        _DETR,
        cross_norm="norms.1",
        cross_qkv="cross_attn.attn",
        cross_out="cross_attn.attn.out_proj",
        ffn_norm="norms.2",
    ),
    # Cross-attention comes first in it, and the first norm is that of cross-attention.
    "mmdet.models.layers.transformer.mask2former_layers."
    "Mask2FormerTransformerDecoderLayer": dict(
        _DETR,
        cross_norm="norms.0",
        cross_qkv="cross_attn.attn",
        cross_out="cross_attn.attn.out_proj",
        attn_norm="norms.1",
        ffn_norm="norms.2",
    ),
    "lbbt_mm.models.detection.pre_norm_detr.PreNormEncoderLayer": dict(
        _DETR, norm_order="norm_first", ffn_norm="norms.1"
    ),
    "lbbt_mm.models.detection.pre_norm_detr.PreNormDecoderLayer": dict(
        _DETR,
        norm_order="norm_first",
        cross_norm="norms.1",
        cross_qkv="cross_attn.attn",
        cross_out="cross_attn.attn.out_proj",
        ffn_norm="norms.2",
    ),
    "torch.nn.modules.transformer.TransformerEncoderLayer": dict(
        _TORCH, ffn_norm="norm2"
    ),
    "torch.nn.modules.transformer.TransformerDecoderLayer": dict(
        _TORCH,
        cross_norm="norm2",
        cross_qkv="multihead_attn",
        cross_out="multihead_attn.out_proj",
        ffn_norm="norm3",
    ),
}
"""Class -> where it keeps the parts of a block."""

BLOCK = ("attn_norm", "qkv", "out", "ffn_norm", "up", "down")
CROSS = ("cross_norm", "cross_qkv", "cross_out")
_NORMS = ("attn_norm", "ffn_norm", "cross_norm")
_SETTINGS = ("norm_order", "activation", "num_heads")
_WORDS = (
    "mapping=dict(norm_order='pre' or 'post', attn_norm=the self-attention's norm, "
    "qkv=..., out=..., ffn_norm=the FFN's norm, up=..., activation=..., down=...; "
    "with cross-attention also cross_norm=its norm, cross_qkv=..., cross_out=...): "
    "which norm belongs to which stands in its forward(), not in their numbers"
)
# What decides a layer's function; a subclass that has its own computes another.
_DECIDING = ("forward", "_sa_block", "_mha_block", "_ff_block")


class LayerTarget:
    """One transformer layer of a built model, under the names of a language block.

    Args:
        path: Where the layer is in the model, for messages.
        layer: The layer.
        mapping: Its table, in the words of :data:`TABLES`, for a class that none knows;
            ``num_heads`` may be added where the attention module does not tell it.

    Attributes:
        parts: Part such as ``'qkv.weight'`` or ``'cross_out.bias'`` -> paths of the
            parameters in the layer that hold its rows, in order.
        num_heads: Attention heads: of the self-attention, then of the cross-attention
            if there is one.
        norm_order: ``'pre'`` or ``'post'``.
        activation: Key of :data:`lbbt_mm.transplant.activations.KNOWN`; None or a
            description if it is none of them.
        norm_eps: Epsilons of its norms, sorted.
        unmapped: Parameters of the layer that no part of a block explains.

    Raises:
        TransplantError: The layer is of an unknown class, or lacks a part that its
            table names.
    """

    def __init__(
        self, path: str, layer: nn.Module, mapping: Mapping[str, Any] | None = None
    ) -> None:
        self.path = path
        self.layer = layer
        self.kind = type(layer).__name__
        self._names = {id(p): name for name, p in layer.named_parameters()}
        self._mapped = mapping is not None
        table = _table_of(path, layer) if mapping is None else _checked(path, mapping)
        self.norm_order = self._norm_order(table["norm_order"])
        self.activation = self._activation(table["activation"])
        self.parts: dict[str, list[str]] = {}
        has_cross = "cross_qkv" in table
        for part in BLOCK + (CROSS if has_cross else ()):
            self._find(part, table[part])
        attentions = ["qkv", "cross_qkv"] if has_cross else ["qkv"]
        stated = table.get("num_heads")
        self.num_heads = tuple(self._heads(table[p], stated) for p in attentions)
        norms = [self._norm(table[part]) for part in _NORMS if part in table]
        self.norm_eps = sorted({norm.eps for norm in norms})
        explained = {name for names in self.parts.values() for name in names}
        self.unmapped = [n for n in self._names.values() if n not in explained]

    @property
    def has_cross_attention(self) -> bool:
        """Whether it attends to other tokens too, as a decoder layer does."""
        return "cross_qkv.weight" in self.parts

    def parameters_of(self, part: str) -> list[tuple[str, Tensor]]:
        """Return paths in the layer and parameters that hold one part's rows."""
        return [(name, self.layer.get_parameter(name)) for name in self.parts[part]]

    def shape_of(self, part: str) -> tuple[int, ...]:
        """Return the shape of one part, its rows put together."""
        shapes = [tuple(tensor.shape) for _, tensor in self.parameters_of(part)]
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def _find(self, part: str, where: str | list[str]) -> None:
        """Add the weight of a part, and its bias if it has one."""
        names = [where] if isinstance(where, str) else list(where)
        for kind in ("weight", "bias"):
            found = []
            for name in names:
                module = self._module(name)
                own = f"in_proj_{kind}" if part.endswith("qkv") else kind
                if getattr(module, own, None) is None:
                    own = kind
                parameter = getattr(module, own, None)
                if id(parameter) in self._names:  # a property may be another name
                    found.append(self._names[id(parameter)])
            shapes = {tuple(self.layer.get_parameter(one).shape) for one in found}
            if len(shapes) > 1:
                raise TransplantError(
                    f"{self.path} ({self.kind}) should keep {part} in parts of one "
                    f"shape, for queries, keys and values; {' and '.join(names)} have "
                    f"{' and '.join(str(list(one)) for one in sorted(shapes))}."
                )
            if kind == "weight" and len(found) != len(names):
                raise TransplantError(
                    f"{self.path} ({self.kind}) should keep {part} in "
                    f"{' and '.join(names)}, which has no weight of its own there: its "
                    f"attention or FFN is of another kind than a language block's."
                )
            if found:
                self.parts[f"{part}.{kind}"] = found

    def _module(self, name: str) -> Any:
        """Return a module, or a function that the layer keeps, by its path."""
        found: Any = self.layer
        for step in name.split("."):
            found = getattr(found, step, None)
            if found is None:
                raise TransplantError(
                    f"{self.path} ({self.kind}) has no {name}, where a part of a "
                    f"transformer block was expected. If it computes softmax attention "
                    f"under other names, describe it with {_WORDS}; deformable and "
                    f"other attention has no place for a block: choose another module."
                )
        return found

    def _activation(self, name: str) -> str | None:
        found = activations.name_of(self._module(name))
        # torch's encoder layer takes a kernel of its own in inference, which knows
        # ReLU and GELU only, and takes any nn.GELU for the plain one.
        fused = {1: "relu", 2: "gelu"}.get(
            getattr(self.layer, "activation_relu_or_gelu", 0), found
        )
        if fused != found:
            return (
                f"{found} in training, {fused} in torch's inference kernel (a function "
                f"instead of a module as activation avoids it)"
            )
        return found

    def _norm(self, name: str) -> nn.LayerNorm:
        norm = self._module(name)
        if not isinstance(norm, nn.LayerNorm) or isinstance(norm, RMSNorm):
            raise TransplantError(
                f"{self.path}.{name} is a {type(norm).__name__}; the blocks that can "
                f"be copied have LayerNorm. Set norm_cfg=dict(type='LN')."
            )
        return norm

    def _norm_order(self, stated: str) -> str:
        if not hasattr(self.layer, "norm_first"):
            if stated == "norm_first":
                raise TransplantError(
                    f"{self.path} ({self.kind}) has lost its attribute norm_first, "
                    f"which says where its norms stand; give it back."
                )
            return stated
        known = "pre" if self.layer.norm_first else "post"  # the layer knows best
        if stated in ("pre", "post") and stated != known and self._mapped:
            raise TransplantError(
                f"The mapping of {self.path} says norm_order={stated!r}, but the layer "
                f"has norm_first={self.layer.norm_first}: let them agree."
            )
        return known

    def _heads(self, where: str | list[str], stated: int | None = None) -> int:
        """Find the head count at the module that holds the projections, or above it."""
        path = (where if isinstance(where, str) else where[0]).split(".")
        while path:
            module = self._module(".".join(path))
            for option in ("add_zero_attn", "v_shortcut"):
                if getattr(module, option, False):
                    raise TransplantError(
                        f"{self.path} ({self.kind}) has {option}=True, which no "
                        f"language block computes; switch it off."
                    )
            heads = getattr(module, "num_heads", None)
            if isinstance(heads, int):
                if stated not in (None, heads):
                    raise TransplantError(
                        f"The mapping of {self.path} says num_heads={stated!r}, but "
                        f"{'.'.join(path)} has {heads}: leave num_heads out."
                    )
                return heads
            path.pop()
        if isinstance(stated, int):
            return stated
        raise TransplantError(
            f"{self.path} ({self.kind}) does not say how many heads its attention has, "
            f"and shapes cannot tell; add num_heads to its mapping."
        )


def _table_of(path: str, layer: nn.Module) -> dict[str, Any]:
    """Find the table of the layer's class, or of the one that it inherits from."""
    for kind in type(layer).__mro__:
        table = TABLES.get(f"{kind.__module__}.{kind.__qualname__}")
        if table is not None:
            break
    else:
        known = ", ".join(name.rpartition(".")[2] for name in TABLES)
        raise TransplantError(
            f"{path} is a {type(layer).__name__}, which no table describes (known, of "
            f"mmseg, mmpretrain, mmdet and torch.nn: {known}); say where it keeps a "
            f"block's parts with {_WORDS}."
        )
    own = [
        name
        for name in _DECIDING
        if getattr(type(layer), name, None) is not getattr(kind, name, None)
    ]
    if own:
        raise TransplantError(
            f"{path} is a {type(layer).__name__}, which computes something else than "
            f"the {kind.__name__} that it inherits from (its own {', '.join(own)}). If "
            f"that is softmax attention and an FFN all the same, describe it with "
            f"{_WORDS}."
        )
    return table


def _checked(path: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Check the words of a mapping from a config."""
    if not isinstance(mapping, Mapping):
        raise TransplantError(
            f"The mapping of {path} should be a dict of a block's parts and their "
            f"places, got {mapping!r}."
        )
    needed = {*BLOCK, "norm_order", "activation"}
    given = set(mapping)
    cross = given & set(CROSS)
    unknown = sorted(given - needed - set(CROSS) - set(_SETTINGS))
    missing = sorted(needed - given) + (sorted(set(CROSS) - cross) if cross else [])
    if unknown or missing:
        raise TransplantError(
            f"The mapping of {path} should name "
            f"{', '.join((*BLOCK, 'activation', 'norm_order'))} (and all of "
            f"{', '.join(CROSS)} for cross-attention)"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            + "."
        )
    if mapping["norm_order"] not in ("pre", "post"):
        raise TransplantError(
            f"norm_order in the mapping of {path} should be 'pre' or 'post', got "
            f"{mapping['norm_order']!r}."
        )
    return dict(mapping)
