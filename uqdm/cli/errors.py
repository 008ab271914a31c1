"""What a command says when it cannot go on."""

__all__ = ["UserError"]


class UserError(Exception):
    """One line for the user: what, why, what to do."""
