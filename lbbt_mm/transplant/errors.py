"""What goes wrong in a transplant."""


class TransplantError(ValueError):
    """Blocks cannot be copied as asked; nothing has been copied.

    Raised with every problem that was found, not with the first one.
    """
