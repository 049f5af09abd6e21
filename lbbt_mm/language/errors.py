"""The one error of this room."""


class CheckpointError(RuntimeError):
    """A language model that cannot be used: what was expected, what came, what to do."""
