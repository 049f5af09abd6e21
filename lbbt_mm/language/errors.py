"""The one error of this room."""


class CheckpointError(RuntimeError):
    """A language model that cannot be used; the message says what to do."""
