"""One entry of ``copies``, and one parameter that is filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.tables import PARTS

FINAL_NORM = -1
"""In the place of a block number: the norm after the last block."""

POSITIONS = -2
"""In the place of a block number: the table of learned positions."""

MIMETIC = -3
"""In the place of a block number: attention in closed form, of no language model."""


@dataclass(frozen=True)
class Copy:
    """One group of layers and the blocks that fill them; one entry of ``copies``.

    Attributes:
        module: Path of a layer or of a list of layers.
        blocks: See :func:`lbbt_mm.transplant.selection.choose_blocks`.
        parts: What to fill, some of ``'self_attn'``, ``'cross_attn'``, ``'ffn'`` and
            ``'norms'``; None fills all that the language model has.
        cross_attention: ``'self'`` fills the cross-attention of decoder layers from the
            same block's self-attention and its norm from the attention's norm;
            ``'skip'`` leaves both as they are, as ``parts`` without ``'cross_attn'``.
        fit: ``'exact'`` refuses layers of other sizes; ``'select'`` fills smaller ones
            with evenly spaced channels (:mod:`lbbt_mm.transplant.width`).
        final_norm: Path of the norm that takes the language model's last one, or None.
        positions: Path of the parameter or embedding that takes the first rows of the
            language model's learned positions, or, with more rows than these are, all
            of them, interpolated; or None.
        mapping: Where layers of an unknown class keep the parts of a block; see
            :data:`lbbt_mm.transplant.tables.TABLES`.
        cycle: Use blocks again where there are fewer than layers.
    """

    module: str
    blocks: Any = None
    parts: Sequence[str] | None = None
    cross_attention: str = "self"
    fit: str = "exact"
    final_norm: str | None = None
    positions: str | None = None
    mapping: Mapping[str, Any] | None = None
    cycle: bool = False

    @property
    def wanted(self) -> frozenset[str]:
        """What to fill, as words of :data:`lbbt_mm.transplant.tables.PARTS`."""
        skipped = {"cross_attn"} if self.cross_attention == "skip" else set()
        return frozenset(PARTS if self.parts is None else self.parts) - skipped


@dataclass(frozen=True)
class Row:
    """One parameter to be filled.

    Attributes:
        layer: Path of the layer, of the norm after the last one, or of the positions.
        parameter: Path of the parameter in the model.
        block: Block number, :data:`FINAL_NORM`, :data:`POSITIONS` or :data:`MIMETIC`.
        part: Part of the block, such as ``'qkv.weight'``.
        rows: First row of the (selected) part and the one after the last.
        shape: Of the parameter.
        selection: Name of the selection of channels; None where all are taken.
    """

    layer: str
    parameter: str
    block: int
    part: str
    rows: tuple[int, int]
    shape: tuple[int, ...]
    selection: str | None = None


def name_of(block: int) -> str:
    """Name where a row comes from, as in ``'block 3'``."""
    return {
        FINAL_NORM: "last norm",
        POSITIONS: "positions",
        MIMETIC: "closed form",
    }.get(block, f"block {block}")


def fillable(model: nn.Module, rows: Sequence[Row]) -> dict[str, nn.Parameter]:
    """Return a model's parameters by name, which are about to be filled.

    Raises:
        TransplantError: One to be filled has no memory, and a copy would do nothing.
    """
    parameters = dict(model.named_parameters())
    empty = next((r.parameter for r in rows if parameters[r.parameter].is_meta), None)
    if empty is not None:
        raise TransplantError(
            f"{empty} is on the meta device, which keeps no numbers: build the model "
            f"on a device, or call its to_empty(device=...) and init_weights() first."
        )
    return parameters


def refuse_overlap(plans: Mapping[str, Sequence[Row]]) -> None:
    """Refuse copies of which one would write over another.

    Args:
        plans: Name of a plan -> what it fills.

    Raises:
        TransplantError: Two fill the same parameter.
    """
    owners: dict[str, str] = {}
    for name, rows in plans.items():
        for row in rows:
            first = owners.setdefault(row.parameter, name)
            if first != name:
                raise TransplantError(
                    f"{row.parameter} would be filled twice, by {first} and by "
                    f"{name}: let each layer stand in one of them."
                )


def copies_of(copies: Any) -> list[Copy]:
    """Check the option ``copies``.

    Raises:
        TransplantError: It is no list, or one of its entries is none.
    """
    if not isinstance(copies, (list, tuple)):
        raise TransplantError(
            f"copies should be a list of dict(module=...), one for each group of "
            f"layers, got {copies!r}."
        )
    return [copy_of(fields) for fields in copies]


def copy_of(fields: Any) -> Copy:
    """Check one entry of ``copies``.

    Args:
        fields: As it stands in a config.

    Raises:
        TransplantError: A field is missing, unknown or has another meaning.
    """
    names = list(Copy.__dataclass_fields__)
    is_dict = isinstance(fields, Mapping)
    if not is_dict or "module" not in fields or set(fields) - set(names):
        raise TransplantError(
            f"An entry of copies should be a dict with module, and may have others of "
            f"{', '.join(names)}; got {fields!r}."
        )
    copy = Copy(**fields)
    for name in ("module", "final_norm", "positions"):
        path = getattr(copy, name)
        if not isinstance(path, str) and not (name != "module" and path is None):
            raise TransplantError(
                f"{name} in an entry of copies should be the path of a module, such "
                f"as 'encoder.layers', got {path!r}."
            )
    if copy.cross_attention not in ("self", "skip"):
        raise TransplantError(
            f"cross_attention for {copy.module} should be 'self' (fill it from the "
            f"same block's self-attention) or 'skip', got {copy.cross_attention!r}."
        )
    if copy.fit not in ("exact", "select"):
        raise TransplantError(
            f"fit for {copy.module} should be 'exact' or 'select' (evenly spaced "
            f"channels for a smaller layer), got {copy.fit!r}."
        )
    if not isinstance(copy.cycle, bool):
        raise TransplantError(
            f"cycle for {copy.module} should be True or False, got {copy.cycle!r}."
        )
    if copy.parts is None:
        return copy
    parts = copy.parts
    known = list(PARTS)
    is_list = isinstance(parts, (list, tuple)) and parts
    if not is_list or any(part not in known for part in parts):
        raise TransplantError(
            f"parts for {copy.module} should be a list of some of {', '.join(PARTS)}, "
            f"got {parts!r}."
        )
    if "cross_attn" in parts and copy.cross_attention == "skip":
        raise TransplantError(
            f"parts for {copy.module} names cross_attn, but cross_attention is 'skip': "
            f"let them agree."
        )
    return copy
