"""What can go wrong with a setup, in words for whoever runs it."""

from __future__ import annotations

__all__ = ["AnswerError", "Cancelled", "SetupError"]


class SetupError(Exception):
    """Setup cannot go on, and has changed nothing that it did not put back.

    ``str()`` is a line that says what is wrong and what to do; it never holds a secret.
    """


class AnswerError(ValueError):
    """An answer will not do.  ``str()`` is a line that says why and what would; it is asked again."""


class Cancelled(SetupError):
    """Whoever runs it wants no more."""
