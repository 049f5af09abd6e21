"""Attention in closed form, in the place of a language model's: the rival to beat."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lbbt_mm.language.initial import mimetic_attention
from lbbt_mm.language.storage import tensor_bytes
from lbbt_mm.transplant.entries import MIMETIC, Row, copies_of, fillable
from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.report import CopyReport
from lbbt_mm.transplant.selection import find_module, layers_of
from lbbt_mm.transplant.targets import LayerTarget

SOURCE = "mimetic"
"""In the place of a language model's name."""

_FIELDS = ("module", "parts", "cross_attention", "mapping")
_ATTENTION = {"self_attn": ("qkv", "out"), "cross_attn": ("cross_qkv", "cross_out")}


@dataclass(frozen=True)
class MimeticPlan:
    """What is drawn; nothing is before :meth:`apply`.

    Attributes:
        attentions: Of each attention the heads and the parameters that it fills.
        left: Parameters of the layers that keep their values.
        notes: What else a reader should know.
    """

    attentions: list[tuple[int, list[Row]]]
    left: list[str]
    notes: list[str]

    @property
    def rows(self) -> list[Row]:
        """All parameters that are filled."""
        return [row for _, rows in self.attentions for row in rows]

    def report(self, sha256: str | None = None) -> CopyReport:
        """Say what is (to be) drawn.

        Args:
            sha256: Of what was drawn; None before it is.
        """
        rows = [vars(row) for row in self.rows]
        return CopyReport(SOURCE, SOURCE, sha256, {}, rows, self.left, [], self.notes)

    @torch.no_grad()
    def apply(self, model: nn.Module) -> CopyReport:
        """Draw, in place, from torch's own random numbers.

        Args:
            model: The model that the plan was made for.
        """
        parameters = fillable(model, self.rows)
        for heads, rows in self.attentions:
            width = next(
                row.shape[0] for row in rows if row.part.endswith("out.weight")
            )
            qkv, out = mimetic_attention(width, heads, heads, width // heads)
            drawn = {"qkv.weight": qkv, "out.weight": out}
            for row in rows:
                filled = parameters[row.parameter]
                source = drawn.get(row.part.removeprefix("cross_"))
                if source is None:
                    filled.zero_()
                else:
                    filled.copy_(source[slice(*row.rows)].view(filled.shape))
        return self.report(self.checksum(model))

    def checksum(self, model: nn.Module) -> str:
        """Hash the parameters that the plan fills, as they are in the model now."""
        parameters = dict(model.named_parameters())
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(tensor_bytes(parameters[row.parameter]))
        return digest.hexdigest()


def make_mimetic_plan(
    model: nn.Module, copies: Sequence[Mapping[str, Any]]
) -> MimeticPlan:
    """Check which attentions are to be drawn.

    Args:
        model: A built model; may be on the meta device.
        copies: As for :func:`lbbt_mm.transplant.plan.make_plan`; what an entry says of
            a language model's blocks, norms and positions has no meaning here, which
            the report notes.

    Raises:
        TransplantError: A layer has no attention that can be drawn.
    """
    attentions: list[tuple[int, list[Row]]] = []
    left: list[str] = []
    notes = ["attention is drawn in closed form (arXiv 2305.09828), its biases are 0"]
    names = {id(p): name for name, p in model.named_parameters()}
    for fields, copy in zip(copies, copies_of(copies), strict=True):
        idle = sorted(set(fields) - set(_FIELDS))
        if idle:
            notes.append(f"{copy.module}: no meaning here have {', '.join(idle)}")
        wanted = copy.wanted & set(_ATTENTION)
        if not wanted:
            raise TransplantError(
                f"{SOURCE!r} draws attention alone: parts of {copy.module} should be "
                f"among {', '.join(_ATTENTION)}; got {list(copy.parts or ())}."
            )
        for path, layer in layers_of(copy.module, find_module(model, copy.module)):
            target = LayerTarget(path, layer, copy.mapping, wanted)
            found = [_rows(target, names, *both) for both in _ATTENTION.values()]
            kept = [rows for rows in found if rows]
            attentions += zip(target.num_heads, kept, strict=True)
            left += [f"{path}.{name}" for name in (*target.unmapped, *target.kept)]
    if not attentions:
        raise TransplantError("copies is empty: nothing would be drawn.")
    drawn = [row.parameter for _, rows in attentions for row in rows]
    twice = next((name for name in drawn if drawn.count(name) > 1), None)
    if twice is not None:
        raise TransplantError(f"{twice} would be filled twice.")
    return MimeticPlan(attentions, left, notes)


def _rows(
    target: LayerTarget, names: Mapping[int, str], qkv: str, out: str
) -> list[Row]:
    """Return what one attention of a layer fills; nothing if it has none."""
    parts = [p for p in target.parts if p.rpartition(".")[0] in (qkv, out)]
    if not parts:
        return []
    width = target.shape_of(f"{out}.weight")[0]
    for part, shape in ((qkv, (3 * width, width)), (out, (width, width))):
        found = target.shape_of(f"{part}.weight")
        if found != shape:
            raise TransplantError(
                f"{target.path}: {SOURCE!r} draws attention of one width; expected "
                f"{part} of {list(shape)}, got {list(found)}."
            )
    return [
        Row(
            target.path,
            names[id(parameter)],
            MIMETIC,
            part,
            (begin, end),
            tuple(parameter.shape),
        )
        for part in parts
        for name, begin, end, parameter in target.parameters_of(part)
    ]
