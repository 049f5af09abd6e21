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
from lbbt_mm.language.storage import tensor_bytes
from lbbt_mm.transplant import compare
from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.report import CopyReport
from lbbt_mm.transplant.selection import choose_blocks, find_module, layers_of
from lbbt_mm.transplant.targets import CROSS, LayerTarget

FINAL_NORM = -1
"""In the place of a block number: the norm after the last block."""


@dataclass(frozen=True)
class Copy:
    """One group of layers and the blocks that fill them; one entry of ``copies``.

    Attributes:
        module: Path of a layer or of a list of layers.
        blocks: See :func:`lbbt_mm.transplant.selection.choose_blocks`.
        cross_attention: ``'self'`` fills the cross-attention of decoder layers from the
            same block's self-attention and its norm from the attention's norm;
            ``'skip'`` leaves both as they are.
        final_norm: Path of the norm that takes the language model's last one, or None.
        mapping: Where layers of an unknown class keep the parts of a block; see
            :data:`lbbt_mm.transplant.targets.TABLES`.
        cycle: Use blocks again where there are fewer than layers.
    """

    module: str
    blocks: Any = None
    cross_attention: str = "self"
    final_norm: str | None = None
    mapping: Mapping[str, Any] | None = None
    cycle: bool = False


@dataclass(frozen=True)
class Row:
    """One parameter to be filled.

    Attributes:
        layer: Path of the layer, or of the norm after the last one.
        parameter: Path of the parameter in the model.
        block: Block number, or :data:`FINAL_NORM`.
        part: Part of the block, such as ``'qkv.weight'``.
        rows: First row of the part and the one after the last.
        shape: Of the parameter.
    """

    layer: str
    parameter: str
    block: int
    part: str
    rows: tuple[int, int]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CopyPlan:
    """A checked plan. Nothing is copied before :meth:`apply`.

    Attributes:
        checkpoint: Where the blocks come from.
        rows: What goes where.
        inexact: Accepted name -> what is inexact about the copy.
        left: Parameters of the layers that keep their values.
        notes: What else a reader should know.
    """

    checkpoint: Checkpoint
    rows: list[Row]
    inexact: dict[str, str]
    left: list[str]
    notes: list[str]

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
                blocks - {FINAL_NORM}, "final_norm" if FINAL_NORM in blocks else None
            )
            + sorted(self.checkpoint.beside),
            notes=self.notes + [f"its {part} is not copied" for part in around],
        )

    @torch.no_grad()
    def apply(self, model: nn.Module) -> CopyReport:
        """Copy, in place, reading each block once.

        In place, because an optimiser or a distributed wrapper may already hold the
        parameters.

        Args:
            model: The model that the plan was made for.

        Returns:
            What was copied, with the hash of the language model's numbers: it is the
            same for the same blocks in whatever model.

        Raises:
            CheckpointError: The file is damaged.
        """
        parameters = dict(model.named_parameters())
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
                tensor = stored[part]
                if not tensor.is_contiguous():
                    # Transposed once, not for every layer that takes it, and not into
                    # fresh memory, whose pages would cost more than the numbers.
                    buffers.reverse()  # the other one is being hashed
                    size = tensor.numel()
                    if buffers[0].numel() < size or buffers[0].dtype != tensor.dtype:
                        buffers[0] = tensor.new_empty(size)
                    tensor = buffers[0][:size].view(tensor.shape).copy_(tensor)
                for row in rows:
                    parameters[row.parameter].copy_(tensor[slice(*row.rows)])
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
        copies: What to fill with which blocks; each the fields of :class:`Copy`.
        accept: What may make the copy inexact; keys of
            :data:`lbbt_mm.transplant.compare.ACCEPTABLE`.

    Raises:
        TransplantError: With every problem that was found.
    """
    accept = [accept] if isinstance(accept, str) else list(accept or ())
    unknown = [name for name in accept if name not in compare.ACCEPTABLE]
    if unknown:
        raise TransplantError(
            f"accept names {', '.join(map(repr, unknown))}; expected some of "
            f"{', '.join(compare.ACCEPTABLE)}."
        )
    if not isinstance(copies, (list, tuple)):
        raise TransplantError(
            f"copies should be a list of dict(module=...), one for each group of "
            f"layers, got {copies!r}."
        )
    compare.refuse_other_functions(checkpoint.config, checkpoint.source)
    draft = _Draft(model, checkpoint)
    for fields in copies:
        draft.add(_copy_of(fields))
    return draft.finish(accept)


def _copy_of(fields: Any) -> Copy:
    names = list(Copy.__dataclass_fields__)
    is_dict = isinstance(fields, Mapping)
    if not is_dict or "module" not in fields or set(fields) - set(names):
        raise TransplantError(
            f"An entry of copies should be a dict with module, and may have others of "
            f"{', '.join(names)}; got {fields!r}."
        )
    copy = Copy(**fields)
    for name in ("module", "final_norm"):
        path = getattr(copy, name)
        if not isinstance(path, str) and not (name == "final_norm" and path is None):
            raise TransplantError(
                f"{name} in an entry of copies should be the path of a module, such "
                f"as 'encoder.layers', got {path!r}."
            )
    if copy.cross_attention not in ("self", "skip"):
        raise TransplantError(
            f"cross_attention for {copy.module} should be 'self' (fill it from the "
            f"same block's self-attention) or 'skip', got {copy.cross_attention!r}."
        )
    return copy


class _Draft:
    """A plan in the making, which collects problems instead of raising the first."""

    def __init__(self, model: nn.Module, checkpoint: Checkpoint) -> None:
        self.model = model
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.rows: list[Row] = []
        self.left: list[str] = []
        self.notes: list[str] = []
        self.problems: dict[str, list[str]] = {}  # text -> layers
        self.inexact: dict[str, dict[str, list[str]]] = {}  # name -> text -> layers
        self.filled: dict[int, str] = {}  # id of a parameter -> its path

    def add(self, copy: Copy) -> None:
        """Plan one entry of ``copies``."""
        try:
            layers = layers_of(copy.module, find_module(self.model, copy.module))
            blocks = choose_blocks(
                copy.blocks,
                self.config.num_layers,
                len(layers),
                copy.cycle,
                copy.module,
            )
        except TransplantError as error:
            self.problems[str(error)] = []
            return
        crosses = False
        for (path, layer), block in zip(layers, blocks, strict=True):
            try:
                target = LayerTarget(path, layer, copy.mapping)
            except TransplantError as error:
                self.problems.setdefault(str(error), [])
                continue
            cross = target.has_cross_attention and copy.cross_attention == "self"
            crosses |= cross
            self._add_layer(target, block, cross)
        if crosses:
            self.notes.append(
                f"{copy.module}: cross-attention starts from the same block's "
                f"self-attention; a language model has none of its own"
            )
        if copy.final_norm is not None:
            self._add_final_norm(copy.final_norm)

    def finish(self, accept: Sequence[str]) -> CopyPlan:
        """Raise what was found, or return the plan."""
        texts = [_with_layers(text, where) for text, where in self.problems.items()]
        inexact = {
            name: "; ".join(_with_layers(text, where) for text, where in found.items())
            for name, found in self.inexact.items()
        }
        for name, text in inexact.items():
            if name not in accept:
                texts.append(
                    f"{text}: {compare.ACCEPTABLE[name]}, so the copy would be "
                    f"inexact. Change the model's config, or add {name!r} to accept"
                )
        if not self.rows and not texts:
            texts.append("copies is empty: nothing would be copied")
        if texts:
            raise TransplantError(
                f"{self.checkpoint.source} cannot be copied into this "
                f"{type(self.model).__name__}: "
                + "; ".join(text.rstrip(".") for text in texts)
                + ("" if texts[-1].endswith("?") else ".")
            )
        idle = [name for name in accept if name not in inexact]
        if idle:
            self.notes.append(f"accepted and not needed: {', '.join(idle)}")
        if self.config.attention == "causal":
            self.notes.append(
                "attention was causal in the language model; these layers attend to "
                "all tokens"
            )
        return CopyPlan(self.checkpoint, self.rows, inexact, self.left, self.notes)

    def _add_layer(self, target: LayerTarget, block: int, cross: bool) -> None:
        misfits = compare.misfits(target, self.config, cross)
        for text in misfits:
            self.problems.setdefault(text, []).append(target.path)
        for name, text in compare.differences(target, self.config).items():
            layers = self.inexact.setdefault(name, {}).setdefault(text, [])
            layers.append(target.path)
        self.left += [f"{target.path}.{name}" for name in target.unmapped]
        for part in () if misfits else target.parts:
            skipped = part.rpartition(".")[0] in CROSS and not cross
            begin = 0
            for name, parameter in target.parameters_of(part):
                end = begin + parameter.shape[0]
                if skipped:
                    self.left.append(f"{target.path}.{name}")
                else:
                    source = (block, compare.source_of(part), (begin, end))
                    self._add_row(target.path, name, parameter, *source)
                begin = end

    def _add_final_norm(self, path: str) -> None:
        source = self.checkpoint.source
        try:
            norm = find_module(self.model, path)
            if not self.config.final_norm:
                raise TransplantError(
                    f"final_norm={path!r} asks for the norm after the last block, "
                    f"which {source} ({self.config.family}) does not have"
                )
            shape = getattr(getattr(norm, "weight", None), "shape", None)
            fits = isinstance(norm, nn.LayerNorm) and shape == (self.config.width,)
            if not fits or norm.bias is None:
                raise TransplantError(
                    f"final_norm={path!r} should be a LayerNorm of "
                    f"{self.config.width} channels with a bias, got {norm}"
                )
        except TransplantError as error:
            self.problems.setdefault(str(error), [])
            return
        if norm.eps != self.config.norm_eps:
            text = f"{self.config.norm_eps:g} in the block, {norm.eps:g} in the layer"
            self.inexact.setdefault("norm_eps", {}).setdefault(text, []).append(path)
        for kind, parameter in norm.named_parameters():
            part = f"final_norm.{kind}"
            rows = (0, self.config.width)
            self._add_row(path, kind, parameter, FINAL_NORM, part, rows)

    def _add_row(
        self,
        layer: str,
        name: str,
        parameter: Tensor,
        block: int,
        part: str,
        rows: tuple[int, int],
    ) -> None:
        path = f"{layer}.{name}"
        earlier = self.filled.get(id(parameter))
        if earlier is not None:
            same = "" if earlier == path else f" (it is the same as {earlier})"
            self.problems.setdefault(f"{path} would be filled twice{same}", [])
        self.filled[id(parameter)] = path
        self.rows.append(Row(layer, path, block, part, rows, tuple(parameter.shape)))


def _with_layers(text: str, layers: Sequence[str]) -> str:
    """Prefix a text with the layers that it is about."""
    if not layers:
        return text
    where = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    return f"{where}: {text}"
