"""The errors of this room."""

_LONGEST = 2000  # characters

FOREIGN = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError),
    *(OSError, RuntimeError, StopIteration, TypeError, ValueError),
)
"""What another library's code raises where it is run in a way it was not made for."""


class CheckpointError(RuntimeError):
    """A language model that cannot be used; the message says what to do.

    Args:
        message: One sentence or two. Names out of a damaged file may be in it: line
            breaks and control characters are escaped, and what is too long is cut.
    """

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        if len(line) > _LONGEST:  # what to do stands at the end
            line = f"{line[: _LONGEST - 500]} ... {line[-500:]}"
        super().__init__(line)


class MissingCheckpoint(CheckpointError, FileNotFoundError):
    """A checkpoint that is not there; what mmengine's own loader raises is one too."""


class NotComputed(CheckpointError):
    """A model that is whole, of a kind that the stack of named parts does not compute.

    A backbone runs it over transformers' own layers.
    """


class NoNamedParts(NotComputed, AttributeError):
    """A part by our names was asked of a block of transformers."""
