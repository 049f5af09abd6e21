"""A model of transformers taken apart: its layers, and what stands around them.

The layers are exchanged for stubs. A run of what is left notes how each layer is called
and costs next to nothing; what reaches the first layer is the embedding, and what is
made of the last one's output is the end of the model. Nothing has to be known by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lbbt_mm.language.errors import FOREIGN, CheckpointError


@dataclass(frozen=True)
class Call:
    """What a layer is given beside the residual stream: masks, positions, flags."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Refused(Exception):
    """The model does not come apart into a row of layers; says why."""


class _Tape:
    """What the stubs of a model share: what they note and what they answer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.stream: Tensor | None = None  # what reached the first layer
        self.end: Tensor | None = None  # what the last layer answers, if set
        self.others = 0  # of what a layer returns beside the stream; -1: no tuple
        self.passed: Any = None  # the last answer
        self.strict = False  # compare what the layers hand to each other


class _Other:
    """Stands for what a layer returns beside the stream."""


class _Stub(nn.Module):
    """Takes a layer's place in the model's own forward pass."""

    def __init__(self, layer: nn.Module, index: int, count: int, tape: _Tape) -> None:
        super().__init__()
        self._index, self._last, self._tape = index, index == count - 1, tape
        self._layer = (layer,)  # in a tuple: its parameters are registered elsewhere

    @property  # type: ignore[misc]  # object may set it
    def __class__(self) -> Any:
        """Be of the layer's class for ``isinstance``, by which Jamba chooses a mask."""
        layer = self.__dict__.get("_layer")
        return _Stub if layer is None else type(layer[0])

    def __getattr__(self, name: str) -> Any:
        """Look like the layer, which models ask for its kind of attention."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "_layer":  # a copy that is only being made
                raise
            return getattr(self._layer[0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Note the call and pass the stream on."""
        tape = self._tape
        stream, call = _split(args, kwargs)
        if self._index != len(tape.calls):
            raise Refused("its layers are not called once each, in their order")
        if self._index == 0:
            tape.stream = stream
        elif tape.strict and stream is not tape.passed:
            raise Refused("it computes between its layers")
        if tape.strict and any(_holds(value, tape) for value in values(call)):
            raise Refused("its layers hand each other more than the stream")
        tape.calls.append(call)
        answer = stream
        if tape.strict:
            answer = torch.zeros_like(stream).requires_grad_()
        if self._last and tape.end is not None:
            answer = tape.end
        tape.passed = answer
        if tape.others < 0:
            return answer
        return (answer, *(_Other() for _ in range(tape.others)))


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    if args:
        stream, call = args[0], Call(args[1:], kwargs)
    else:
        rest = dict(kwargs)
        stream, call = rest.pop("hidden_states", None), Call((), rest)
    if not isinstance(stream, Tensor) or stream.ndim != 3:
        raise Refused("its layers do not take one stream (batch, tokens, channels)")
    return stream, call


def values(value: Any) -> Iterator[Any]:
    """Go through what a call, or a list or dictionary in it, holds."""
    if isinstance(value, Call):
        yield from values(value.args)
        yield from values(value.kwargs)
    elif isinstance(value, dict):
        for item in value.values():
            yield from values(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from values(item)
    else:
        yield value


def _holds(value: Any, tape: _Tape) -> bool:
    """Tell whether a value was made by a stub, or of what one returned."""
    if isinstance(value, Tensor):
        return value.requires_grad
    return isinstance(value, _Other)


def take_apart(model: nn.Module, count: int, keep: int, width: int) -> Trunk:
    """Find a model's row of layers.

    Args:
        model: A base model of transformers, without a head, on a CPU.
        count: Layers that its configuration promises.
        keep: How many of the first to use.
        width: Channels of the stream.

    Raises:
        CheckpointError: It has none that can be run one by one. The message says why.
    """
    reasons: list[tuple[int, bool, str]] = []
    rows = [
        (path, row)
        for path, row in model.named_modules()
        if isinstance(row, nn.ModuleList) and len(row) == count
    ]
    for path, row in rows:
        for others in (-1, 0, 1, 2, 3):
            trunk = Trunk(model, path, row, keep, others)
            try:
                trunk.check(width)
                return trunk
            except (Refused, *FOREIGN) as error:  # whatever a model makes of a stub
                told, text = (
                    isinstance(error, Refused),
                    str(error).strip().split("\n")[0],
                )
                said = text if told else f"{type(error).__name__}: {text[:120]}"
                reasons.append((trunk.reached, told, said))
            trunk.undo()
    # What it got furthest with says most.
    reasons.sort(key=lambda reason: reason[:2])
    raise CheckpointError(
        reasons[-1][2] if reasons else f"it has no row of {count} layers of their own"
    )


class Trunk(nn.Module):
    """What stands around a model's layers.

    Args:
        model: The model; its layers are exchanged for stubs.
        path: Where they stand in it.
        row: The layers.
        keep: How many of the first to use.
        others: How many things a layer returns beside the stream; -1 if no tuple.

    Attributes:
        layers: The model's own layers, which this module does not register.
        path: Where they stand in the model.
    """

    def __init__(
        self, model: nn.Module, path: str, row: nn.ModuleList, keep: int, others: int
    ) -> None:
        super().__init__()
        self._tape = _Tape()
        self._tape.others = others
        self.path, self._row, self._count = path, (row,), keep
        self.layers = list(row)[:keep]
        stubs = [
            _Stub(layer, index, keep, self._tape)
            for index, layer in enumerate(self.layers)
        ]
        self._put(model, nn.ModuleList(stubs))
        self.model = model
        taken = inspect.signature(model.forward).parameters
        self._takes_tokens = "inputs_embeds" in taken
        options = dict(use_cache=False, return_dict=True)
        self._options = {k: v for k, v in options.items() if k in taken}

    @property
    def reached(self) -> int:
        """How many layers the last run called."""
        return len(self._tape.calls)

    def undo(self) -> None:
        """Put the layers back."""
        self._put(self.model, self._row[0])

    def release(self) -> list[nn.Module]:
        """Hand over the layers; this module holds them no longer."""
        layers, self.layers, self._row = self.layers, [], (nn.ModuleList(),)
        return layers

    def _put(self, model: nn.Module, row: nn.ModuleList) -> None:
        parent, _, name = self.path.rpartition(".")
        setattr(model.get_submodule(parent), name, row)

    def enter(self, tokens: Tensor) -> tuple[Tensor, list[Call]]:
        """Compute what reaches the first layer, and how each layer is called.

        Args:
            tokens: In the place of word embeddings, ``(B, T, C)``.
        """
        self._run(tokens.clone())  # some models scale it in place
        stream, calls = self._tape.stream, self._tape.calls
        self._tape.stream, self._tape.calls = None, []
        assert stream is not None
        return stream, calls

    def leave(self, stream: Tensor) -> Tensor:
        """Compute what the model makes of the last layer's output ``(B, T, C)``."""
        blank = torch.zeros_like(stream).detach()
        self._tape.end = stream
        try:
            return self._run(blank)
        finally:
            self._tape.end, self._tape.stream, self._tape.calls = None, None, []

    def _run(self, tokens: Tensor) -> Tensor:
        self._tape.stream, self._tape.calls = None, []
        out = self.model(inputs_embeds=tokens, **self._options)
        self._tape.passed = None
        if len(self._tape.calls) != self._count:
            raise Refused("its layers are not called once each, in their order")
        return out.last_hidden_state

    def check(self, width: int) -> None:
        """Refuse what does not run as a row of layers, one after the other.

        Raises:
            Refused: The reason.
        """
        if not self._takes_tokens:
            raise Refused("it takes no inputs_embeds")
        needed = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in needed:
            parameter.requires_grad_(False)
        was = self.model.training
        self.eval()
        self._tape.strict = True
        try:
            with torch.enable_grad():
                stream, _ = self.enter(torch.zeros(1, 3, width))
                if stream.shape != (1, 3, width):
                    raise Refused(
                        f"{width} channels enter it, {stream.shape[-1]} its layers"
                    )
                end = torch.zeros(1, 3, width).requires_grad_()
                out = self.leave(end)
                if out.shape != end.shape or not out.requires_grad:
                    raise Refused("its output is not made of the last layer's")
        finally:
            self._tape.strict = False
            self.train(was)
            for parameter in needed:
                parameter.requires_grad_(True)
