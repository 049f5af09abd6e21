"""A plan in the making, which collects problems instead of raising the first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lbbt_mm.language.checkpoint import Checkpoint
from lbbt_mm.transplant import compare
from lbbt_mm.transplant.entries import FINAL_NORM, POSITIONS, Copy, Row
from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.selection import choose_blocks, find_module, layers_of
from lbbt_mm.transplant.targets import LayerTarget
from lbbt_mm.transplant.width import Selection, uniform

_NARROW = (
    "fit='select' in copies and 'width' in accept fill a smaller layer with evenly "
    "spaced channels"
)


class Draft:
    """Rows and problems of the entries of ``copies`` so far.

    Args:
        model: A built model.
        checkpoint: An opened language model.
    """

    def __init__(self, model: nn.Module, checkpoint: Checkpoint) -> None:
        self.model = model
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.rows: list[Row] = []
        self.left: list[str] = []
        self.notes: list[str] = []
        self.selections: dict[str, Selection] = {}
        self._problems: dict[str, list[str]] = {}  # text -> layers
        self._inexact: dict[str, dict[str, list[str]]] = {}  # name -> text -> layers
        self._filled: dict[int, str] = {}  # id of a parameter -> its path
        self._hint = False
        # A module may have several paths, of which named_parameters() knows the first.
        self._names = {id(p): name for name, p in model.named_parameters()}

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
            self._problem(str(error))
            return
        crosses = False
        for (path, layer), block in zip(layers, blocks, strict=True):
            try:
                target = LayerTarget(path, layer, copy.mapping, copy.wanted)
            except TransplantError as error:
                self._problem(str(error), path)
                continue
            if "cross_attn" in (copy.parts or ()) and not target.crosses:
                self._problem("parts names cross_attn, the layer has none", path)
            crosses |= target.crosses
            self._add_layer(target, block, copy.fit)
        if crosses:
            self._note(
                f"{copy.module}: cross-attention starts from the same block's "
                f"self-attention; a language model has none of its own"
            )
        try:
            if copy.final_norm is not None:
                self._add_final_norm(copy.final_norm, copy.fit)
            if copy.positions is not None:
                self._add_positions(copy.positions, copy.fit)
        except TransplantError as error:
            self._problem(str(error))

    def finish(self, accept: Sequence[str]) -> dict[str, str]:
        """Return what is inexact and accepted.

        Raises:
            TransplantError: With every problem that was found.
        """
        texts = [_with_layers(text, where) for text, where in self._problems.items()]
        inexact = {
            name: "; ".join(_with_layers(text, where) for text, where in found.items())
            for name, found in self._inexact.items()
        }
        for name, text in inexact.items():
            if name not in accept:
                texts.append(
                    f"{text}: {compare.ACCEPTABLE[name]}, so the copy would be "
                    f"inexact. Change the model's config, or add {name!r} to accept"
                )
        if self._hint and texts:
            texts.append(_NARROW)
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
            self._note(f"accepted and not needed: {', '.join(idle)}")
        if self.config.attention == "causal" and any(
            "qkv" in r.part for r in self.rows
        ):
            self._note(
                "attention was causal in the language model; these layers attend to "
                "all tokens"
            )
        return inexact

    def _problem(self, text: str, *paths: str) -> None:
        self._problems.setdefault(text, []).extend(paths)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _differs(self, name: str, text: str, path: str) -> None:
        self._inexact.setdefault(name, {}).setdefault(text, []).append(path)

    def _add_layer(self, target: LayerTarget, block: int, fit: str) -> None:
        for name, text in compare.differences(target, self.config).items():
            self._differs(name, text, target.path)
        self.left += [f"{target.path}.{n}" for n in (*target.unmapped, *target.kept)]
        chosen = compare.fitted(target, self.config)
        if fit == "exact":
            misfits = compare.misfits(target, self.config)
            self._hint |= bool(misfits) and isinstance(chosen, Selection)
            chosen = None
        else:
            misfits = [chosen] if isinstance(chosen, str) else []
        for text in misfits:
            self._problem(text, target.path)
        selection = chosen if isinstance(chosen, Selection) else None
        if selection is not None:
            got = f"{selection.describe(self.config)} in the layer"
            self._differs("width", got, target.path)
        for part in () if misfits else target.parts:
            source = compare.source_of(part)
            for name, begin, end, parameter in target.parameters_of(part):
                rows = (begin, end)
                self._add_row(
                    target.path, name, parameter, block, source, rows, selection
                )
            if "" in target.parts[part]:
                self._note(
                    f"{target.kind} has no bias of keys; softmax is the same without"
                )

    def _add_final_norm(self, path: str, fit: str) -> None:
        source, width = self.checkpoint.source, self.config.width
        norm = find_module(self.model, path)
        if not self.config.final_norm or self.config.norm != "layernorm":
            raise TransplantError(
                f"final_norm={path!r} asks for the LayerNorm after the last block, "
                f"which {source} ({self.config.family}) does not have"
            )
        shape = getattr(getattr(norm, "weight", None), "shape", None)
        fits = isinstance(norm, nn.LayerNorm) and norm.bias is not None
        if not fits or shape is None or len(shape) != 1:
            fits = False
        elif fit == "select":
            fits = shape[0] <= width
        else:
            fits = shape[0] == width
        if not fits:
            most = "at most " if fit == "select" else ""
            raise TransplantError(
                f"final_norm={path!r} should be a LayerNorm of {most}{width} channels "
                f"with a bias, got {norm}"
            )
        assert isinstance(norm, nn.LayerNorm)
        if norm.eps != self.config.norm_eps:
            text = f"{self.config.norm_eps:g} in the block, {norm.eps:g} in the layer"
            self._differs("norm_eps", text, path)
        chosen = self._stream(norm.normalized_shape[0], path)
        for kind, parameter in norm.named_parameters():
            part, rows = f"final_norm.{kind}", (0, len(parameter))
            self._add_row(path, kind, parameter, FINAL_NORM, part, rows, chosen)

    def _add_positions(self, path: str, fit: str) -> None:
        source, config = self.checkpoint.source, self.config
        if config.position != "table":
            raise TransplantError(
                f"positions={path!r} asks for learned positions, which {source} "
                f"({config.family}) does not have"
            )
        if config.embed_width is not None:
            raise TransplantError(
                f"positions={path!r} asks for positions as wide as the blocks; those "
                f"of {source} have {config.embed_width} channels of {config.width}"
            )
        names = dict(self.model.named_parameters())
        name = path if path in names else f"{path}.weight"
        table = names.get(name)
        shape = () if table is None else tuple(table.shape)
        shape = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        width = config.width
        fits = len(shape) == 2
        if not fits or shape[1] > width or (fit == "exact" and shape[1] != width):
            most = "at most " if fit == "select" else ""
            got = "none of that name" if table is None else list(table.shape)
            raise TransplantError(
                f"positions={path!r} should be a parameter or an embedding of rows of "
                f"{most}{width} channels, got {got}"
            )
        assert table is not None
        if shape[0] > config.max_positions:
            text = f"{config.max_positions} rows in {source}, {shape[0]} in the model"
            self._differs("positions", text, name)
        layer, _, last = name.rpartition(".")
        rows, chosen = (0, shape[0]), self._stream(shape[1], name)
        self._add_row(layer, last, table, POSITIONS, "positions", rows, chosen)

    def _stream(self, width: int, path: str) -> Selection | None:
        """Choose channels for what has no heads and no hidden channels."""
        if width == self.config.width:
            return None
        selection = Selection(uniform(self.config.width, width))
        got = f"{selection.describe(self.config)} in the layer"
        self._differs("width", got, path)
        return selection

    def _add_row(
        self,
        layer: str,
        name: str,
        parameter: Tensor,
        block: int,
        part: str,
        rows: tuple[int, int],
        selection: Selection | None,
    ) -> None:
        path, own = self._names[id(parameter)], f"{layer}.{name}" if layer else name
        earlier = self._filled.get(id(parameter))
        if earlier is not None:
            same = "" if earlier == own else f" (it is the same as {earlier})"
            self._problem(f"{own} would be filled twice{same}")
        self._filled[id(parameter)] = own
        if not parameter.dtype.is_floating_point:
            self._problem(f"{own} holds {parameter.dtype}, which rounds a block away")
        key = None if selection is None else selection.name
        if selection is not None:
            self.selections[selection.name] = selection
        shape = tuple(parameter.shape)
        self.rows.append(Row(layer, path, block, part, rows, shape, key))


def _with_layers(text: str, layers: Sequence[str]) -> str:
    """Prefix a text with the layers that it is about."""
    if not layers:
        return text
    where = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    return f"{where}: {text}"
