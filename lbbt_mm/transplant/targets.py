"""What a transformer layer of the vision libraries looks like to a language block.

A table says where a class keeps each part of a block; the rest (head count, norm order,
activation, epsilons) is read from the built layer. Layers that no table knows are
described in the config in the words of a table: see
:data:`~lbbt_mm.transplant.tables.TABLES`. Nothing is asked of a layer that is not to be
filled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lbbt_mm.language.layers import RMSNorm
from lbbt_mm.transplant import activations
from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.modules import (
    check_scale,
    check_way,
    class_of,
    heads_of,
    is_layer_norm,
    is_linear,
)
from lbbt_mm.transplant.tables import BLOCK, CROSS, PARTS, TABLES

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
        path: Where the layer is in the model.
        layer: The layer.
        mapping: Its table, in the words of :data:`~lbbt_mm.transplant.tables.TABLES`,
            for a class that none knows; ``num_heads`` may be added where the attention
            module does not tell it.
        wanted: What is to be filled, words of :data:`~lbbt_mm.transplant.tables.PARTS`.

    Attributes:
        parts: Part such as ``'qkv.weight'`` or ``'cross_out.bias'`` -> paths of the
            parameters in the layer that hold its rows, in order; an empty path stands
            for rows that the layer does without. Only of what is to be filled.
        num_heads: Attention heads: of the self-attention, then of the cross-attention
            if both are to be filled.
        crosses: Whether its cross-attention is to be filled.
        norm_order: ``'pre'`` or ``'post'``; None if nothing states it.
        activation: Key of :data:`lbbt_mm.transplant.activations.KNOWN`; None or a
            description if it is none of them, and where no FFN is to be filled.
        norm_eps: Epsilons of its norms, sorted.
        unmapped: Parameters beside the filled ones that take part in their function.
        kept: Parameters of what is not to be filled.

    Raises:
        TransplantError: The layer is of an unknown class, or lacks a part that its
            table names. The message is about the layer, without its path.
    """

    def __init__(
        self,
        path: str,
        layer: nn.Module,
        mapping: Mapping[str, Any] | None = None,
        wanted: Collection[str] = tuple(PARTS),
    ) -> None:
        self.path = path
        self.layer = layer
        self.kind = type(layer).__name__
        self._names = {id(p): name for name, p in layer.named_parameters()}
        self._mapped = mapping is not None
        table = _table_of(layer) if mapping is None else _checked(mapping, wanted)
        for word, why in table.get("without", {}).items():
            if word in wanted:
                self._refuse(word, why, table, wanted)
        self.crosses = "cross_qkv" in table and "cross_attn" in wanted
        self.norm_order = self._norm_order(table.get("norm_order"))
        ffn = "ffn" in wanted
        self.activation = self._activation(table["activation"]) if ffn else None
        self.parts: dict[str, list[str]] = {}
        names = [part for word in PARTS for part in PARTS[word] if word in wanted]
        if not self.crosses:
            names = [part for part in names if part not in CROSS]
        if not names:
            raise TransplantError(
                f"{self.kind} has none of {', '.join(sorted(wanted))} to be filled."
            )
        for part in (part for part in (*BLOCK, *CROSS) if part in names):
            self._find(part, table)
        stated = table.get("num_heads")
        attentions = [part for part in ("qkv", "cross_qkv") if part in names]
        self.num_heads = tuple(self._heads(table, p, stated) for p in attentions)
        norms = [self._norm(table[part]) for part in PARTS["norms"] if part in names]
        self.norm_eps = sorted({norm.eps for norm in norms})
        self.unmapped, self.kept = self._rest(table, names)

    def parameters_of(self, part: str) -> list[tuple[str, int, int, Tensor]]:
        """Return path, first and last row (exclusive) and parameter, for each piece."""
        names = self.parts[part]
        pieces = [self.layer.get_parameter(name) if name else None for name in names]
        rows = next(len(piece) for piece in pieces if piece is not None)
        return [
            (name, index * rows, (index + 1) * rows, piece)
            for index, (name, piece) in enumerate(zip(names, pieces, strict=True))
            if piece is not None
        ]

    def shape_of(self, part: str) -> tuple[int, ...]:
        """Return the shape of one part, its rows put together.

        A convolution of one pixel is a linear layer: its last two sizes are left out.
        """
        _, begin, end, piece = self.parameters_of(part)[0]
        shape = tuple(piece.shape)
        if len(shape) == 4 and shape[2:] == (1, 1):
            shape = shape[:2]
        return ((end - begin) * len(self.parts[part]), *shape[1:])

    def _refuse(
        self, word: str, why: str, table: Mapping[str, Any], wanted: Collection[str]
    ) -> None:
        held = [w for w in PARTS if w not in table["without"]]
        if "cross_qkv" not in table:
            held = [w for w in held if w != "cross_attn"]
        parts = [w for w in held if w in wanted]
        if word == "cross_attn" and parts == [w for w in PARTS if w != word]:
            then = "set cross_attention='skip'"
        else:
            then = f"set parts={parts}" if parts else "choose another module"
        raise TransplantError(f"{self.kind} takes no {word}: {why}; {then}.")

    def _rest(
        self, table: Mapping[str, Any], filled: Collection[str]
    ) -> tuple[list[str], list[str]]:
        """Tell parameters that take part in what is filled from others."""
        explained = {name for names in self.parts.values() for name in names if name}
        places: list[str] = []  # of what is not filled
        for part in (*BLOCK, *CROSS):
            where = table.get(part, [])
            if part not in filled:
                places += [where] if isinstance(where, str) else where
        if "cross_attn" in table.get("without", {}):
            places.append("cross_attn")
        others = {self._root(place) for place in places}
        others -= {self._root(name) for name in explained}
        under = tuple(f"{place}." for place in places)
        unmapped: list[str] = []
        kept: list[str] = []
        for name in self._names.values():
            if name not in explained:
                left = self._root(name) in others or name.startswith(under)
                (kept if left else unmapped).append(name)
        return unmapped, kept

    @staticmethod
    def _root(name: str) -> str:
        """Return the module of a layer that a parameter or module belongs to."""
        first, _, rest = name.partition(".")
        return f"{first}.{rest.partition('.')[0]}" if first == "norms" else first

    def _find(self, part: str, table: Mapping[str, Any]) -> None:
        """Add the weight of a part, and its bias if it has one."""
        where, apart = table[part], table.get("qkv_bias")
        adds = None if self._mapped else table.get("ffn_adds", True)
        names = [where] if isinstance(where, str) else list(where)
        for name in names:
            self._module(name)
            check_way(self.layer, name, adds)
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
            if kind == "bias" and part == "qkv" and apart and not found:
                known = set(self._names.values())
                found = [name if name in known else "" for name in map(str, apart)]
                found = found if any(found) else []
            shapes = {
                tuple(self.layer.get_parameter(one).shape) for one in found if one
            }
            if len(shapes) > 1:
                raise TransplantError(
                    f"{self.kind} should keep {part} in parts of one shape, for "
                    f"queries, keys and values; {' and '.join(names)} have "
                    f"{' and '.join(str(list(one)) for one in sorted(shapes))}."
                )
            if kind == "weight" and len(found) != len(names):
                what = "norm" if part.endswith("norm") else "attention or FFN"
                raise TransplantError(
                    f"{self.kind} should keep {part} in {' and '.join(names)}, which "
                    f"has no weight of its own there: its {what} is of another kind "
                    f"than a language block's."
                )
            if kind == "weight" and not part.endswith("norm"):
                self._require_linear(part, names)
            if found:
                self.parts[f"{part}.{kind}"] = found

    def _require_linear(self, part: str, names: Sequence[str]) -> None:
        """Refuse modules that do not add up their inputs by their weight's rows."""
        for name in names:
            module = self._module(name)
            whole = part.endswith("qkv") and hasattr(module, "in_proj_weight")
            if not whole and not is_linear(module):
                raise TransplantError(
                    f"{name} of {self.kind} is a {type(module).__name__}, which "
                    f"computes something else with its weight than torch.nn.Linear; "
                    f"a block's numbers would mean something else there."
                )

    def _module(self, name: str) -> Any:
        """Return a module, or a function that the layer keeps, by its path."""
        found: Any = self.layer
        for step in name.split("."):
            found = getattr(found, step, None)
            if found is None:
                raise TransplantError(
                    f"{self.kind} has no {name}, where a part of a transformer block "
                    f"was expected. If it computes softmax attention under other "
                    f"names, describe it with {_WORDS}; other attention has no place "
                    f"for a block: name what can be filled in parts, or choose another "
                    f"module."
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
        if isinstance(norm, RMSNorm) or not is_layer_norm(norm):
            raise TransplantError(
                f"{name} of {self.kind} is a {type(norm).__name__}; the blocks that "
                f"can be copied have LayerNorm. Set norm_cfg=dict(type='LN')."
            )
        return norm

    def _norm_order(self, stated: str | None) -> str | None:
        """Find where the norms stand; the layer knows it better than its mapping."""
        known = None
        for name in ("norm_first", "pre_norm", "normalize_before"):
            says = getattr(self.layer, name, None)
            if isinstance(says, bool) and (self._mapped or name == "norm_first"):
                known = "pre" if says else "post"
                if self._mapped and stated not in (None, known):
                    raise TransplantError(
                        f"the mapping says norm_order={stated!r}, but the layer has "
                        f"{name}={says}: let them agree."
                    )
        if stated == "norm_first" and known is None:
            raise TransplantError(
                f"{self.kind} has lost its attribute norm_first, which says where its "
                f"norms stand; give it back."
            )
        return known or stated

    def _heads(self, table: Mapping[str, Any], part: str, stated: int | None) -> int:
        """Find the head count at the module that holds the projections, or above it."""
        where = table[part]
        place = where if isinstance(where, str) else where[0]
        path = place.split(".")
        heads = None
        while heads is None and path:
            heads = heads_of(self._module(".".join(path)))
            if heads is None:
                path.pop()
        if heads is None:
            heads = heads_of(self.layer)
        if heads is not None and stated not in (None, heads):
            raise TransplantError(
                f"the mapping says num_heads={stated!r}, but "
                f"{'.'.join(path) or 'it'} has {heads}: leave num_heads out."
            )
        heads = stated if heads is None else heads
        if not isinstance(heads, int):
            raise TransplantError(
                f"{self.kind} does not say how many heads its attention has, and "
                f"shapes cannot tell; add num_heads to its mapping."
            )
        rows = self.shape_of(f"{part}.weight")[0]
        check_scale(self.layer, place, rows / 3 / heads, self._mapped)
        return heads


def _table_of(layer: nn.Module) -> Mapping[str, Any]:
    """Find the table of the layer's class, or of the one that it inherits from."""
    kind, own = class_of(layer, frozenset(TABLES), _DECIDING)
    if kind is None:
        known = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in TABLES))
        raise TransplantError(
            f"{type(layer).__name__} is a class that no table describes (known, of "
            f"mmseg, mmpretrain, mmdet and torch.nn: {known}); say where it keeps a "
            f"block's parts with {_WORDS}."
        )
    if own:
        raise TransplantError(
            f"{type(layer).__name__} computes something else than the {kind.__name__} "
            f"that it inherits from (its own {', '.join(own)}). If that is softmax "
            f"attention and an FFN all the same, describe it with {_WORDS}."
        )
    return TABLES[f"{kind.__module__}.{kind.__qualname__}"]


def _checked(mapping: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Check the words of a mapping from a config."""
    if not isinstance(mapping, Mapping):
        raise TransplantError(
            f"the mapping should be a dict of a block's parts and their places, got "
            f"{mapping!r}."
        )
    asked = [part for word in PARTS if word in wanted for part in PARTS[word]]
    needed = [part for part in BLOCK if part in asked]
    needed += ["activation"] * ("ffn" in wanted) + ["norm_order"] * ("norms" in wanted)
    given, cross = set(mapping), [part for part in CROSS if part in asked]
    if cross and given & set(CROSS) or not needed:
        needed += cross
    unknown = sorted(given - {*BLOCK, *CROSS, *_SETTINGS})
    missing = sorted(set(needed) - given)
    if unknown or missing:
        raise TransplantError(
            f"the mapping should name {', '.join(needed)} (and all of "
            f"{', '.join(CROSS)} for cross-attention)"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            + "."
        )
    if mapping.get("norm_order", "pre") not in ("pre", "post"):
        raise TransplantError(
            f"norm_order in the mapping should be 'pre' or 'post', got "
            f"{mapping['norm_order']!r}."
        )
    return dict(mapping)
