"""Who goes where: checked completely before the first number is copied."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lbbt_mm.language.checkpoint import Checkpoint
from lbbt_mm.language.layers import stretched
from lbbt_mm.language.storage import tensor_bytes
from lbbt_mm.transplant import compare
from lbbt_mm.transplant.draft import Draft
from lbbt_mm.transplant.entries import (
    FINAL_NORM,
    POSITIONS,
    Row,
    copies_of,
    fillable,
)
from lbbt_mm.transplant.groups import Ungrouped
from lbbt_mm.transplant.report import CopyReport
from lbbt_mm.transplant.width import Selection


@dataclass(frozen=True)
class CopyPlan:
    """A checked plan. Nothing is copied before :meth:`apply`.

    Attributes:
        checkpoint: Where the blocks come from.
        rows: What goes where.
        inexact: Accepted name -> what is inexact about the copy.
        left: Parameters of the layers that keep their values.
        notes: What else a reader should know.
        selections: Name in a row -> the channels that it takes.
    """

    checkpoint: Checkpoint
    rows: list[Row]
    inexact: dict[str, str]
    left: list[str]
    notes: list[str]
    selections: dict[str, Selection]

    def report(self, sha256: str | None = None) -> CopyReport:
        """Say what is (to be) copied.

        Args:
            sha256: Of what was copied; None before it is.
        """
        blocks = {row.block for row in self.rows}
        # A bridge's patch embedding and the like.
        around = sorted({name.partition(".")[0] for name in self.checkpoint.beside})
        return CopyReport(
            source=self.checkpoint.source,
            family=self.checkpoint.config.family,
            sha256=sha256,
            inexact=self.inexact,
            copied=[vars(row) for row in self.rows],
            left=self.left,
            skipped=self.checkpoint.other_names(
                {block for block in blocks if block >= 0},
                "final_norm" if FINAL_NORM in blocks else None,
                positions=POSITIONS in blocks,
            )
            + sorted(self.checkpoint.beside),
            notes=self.notes + [f"its {part} is not copied" for part in around],
            selections={name: vars(one) for name, one in self.selections.items()},
        )

    @torch.no_grad()
    def apply(self, model: nn.Module) -> CopyReport:
        """Copy, in place, reading each block once.

        In place, because an optimiser or a distributed wrapper may already hold the
        parameters.

        Args:
            model: The model that the plan was made for.

        Returns:
            What was copied, with the hash of the language model's parts that were
            read: it is the same for the same blocks in whatever model, of any width.

        Raises:
            CheckpointError: The file is damaged.
            TransplantError: The model has no memory for its weights.
        """
        parameters = fillable(model, self.rows)
        digest = hashlib.sha256()

        def add_to_hash(block: int, part: str, tensor: Tensor) -> None:
            digest.update(f"{block}.{part}".encode())
            digest.update(tensor_bytes(tensor))

        groups: dict[tuple[int, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.block, row.part), []).append(row)
        stored, read, buffers = {}, None, [torch.empty(0), torch.empty(0)]
        # Hashing takes as long as all the rest and leaves Python's lock alone.
        with ThreadPoolExecutor(max_workers=1) as thread:
            hashed: Future[None] | None = None
            for (block, part), rows in sorted(groups.items()):
                if block != read:
                    stored, read = dict(self._read(block)), block
                tensor = stored.get(part)
                if tensor is None:  # a bias that the language model does not have
                    for row in rows:
                        parameters[row.parameter].zero_()
                    continue
                if not tensor.is_contiguous():
                    # Transposed once, not for every layer that takes it, and not into
                    # fresh memory, whose pages would cost more than the numbers.
                    buffers.reverse()  # the other one is being hashed
                    size = tensor.numel()
                    if buffers[0].numel() < size or buffers[0].dtype != tensor.dtype:
                        buffers[0] = tensor.new_empty(size)
                    tensor = buffers[0][:size].view(tensor.shape).copy_(tensor)
                selected: dict[str | None, Tensor] = {None: tensor}
                for row in rows:
                    key = row.selection
                    if key is not None and key not in selected:
                        selected[key] = self.selections[key].of(part, tensor)
                    filled, source = parameters[row.parameter], selected[key]
                    if row.rows[1] > len(source):  # of positions only
                        source = stretched(source, row.rows[1])
                    filled.copy_(source[slice(*row.rows)].view(filled.shape))
                if hashed is not None:
                    hashed.result()  # one part waits, not the whole model
                hashed = thread.submit(add_to_hash, block, part, tensor)
            if hashed is not None:
                hashed.result()
        return self.report(digest.hexdigest())

    def checksum(self, model: nn.Module) -> str:
        """Hash the parameters that the plan fills, as they are in the model now."""
        parameters = dict(model.named_parameters())
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(tensor_bytes(parameters[row.parameter]))
        return digest.hexdigest()

    def _read(self, block: int) -> Mapping[str, Tensor]:
        if block == FINAL_NORM:
            norm = self.checkpoint.norm("final_norm")
            return {f"final_norm.{kind}": tensor for kind, tensor in norm.items()}
        if block == POSITIONS:
            return {"positions": self.checkpoint.positions()}
        return self.checkpoint.block(block)


def make_plan(
    model: nn.Module,
    checkpoint: Checkpoint,
    copies: Sequence[Mapping[str, Any]],
    accept: Sequence[str] = (),
) -> CopyPlan:
    """Check a whole transplant: names, shapes, head counts, order, activation, epsilon.

    Args:
        model: A built model, without a distributed wrapper; may be on the meta device.
        checkpoint: An opened language model.
        copies: What to fill with which blocks; each the fields of
            :class:`~lbbt_mm.transplant.entries.Copy`.
        accept: What may make the copy inexact; keys of
            :data:`lbbt_mm.transplant.compare.ACCEPTABLE`.

    Raises:
        TransplantError: With every problem that was found.
    """
    accept = compare.accepted(accept)
    entries = copies_of(copies)
    wanted = {word for entry in entries for word in entry.wanted}
    compare.refuse_other_functions(checkpoint.config, checkpoint.source, wanted)
    groups = checkpoint.config.num_kv_heads
    if groups != checkpoint.config.num_heads:
        checkpoint = Ungrouped(checkpoint)
    draft = Draft(model, checkpoint)
    for entry in entries:
        draft.add(entry)
    inexact = draft.finish(accept)
    if isinstance(checkpoint, Ungrouped) and any("qkv" in r.part for r in draft.rows):
        draft.notes.append(
            f"each of the {groups} heads for keys and values is copied "
            f"{checkpoint.config.num_heads // groups} times, once for every head of "
            f"queries that it serves"
        )
    return CopyPlan(
        checkpoint, draft.rows, inexact, draft.left, draft.notes, draft.selections
    )
