"""What was done so far, so that it can be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.setup.errors import SetupError

__all__ = ["Journal", "why"]

_LINE: Final = 300


class Journal:
    """Ways to undo what is done, each noted before: it must work whether that was done or not."""

    def __init__(self) -> None:
        self._undo: list[tuple[str, Callable[[], None]]] = []

    def note(self, what: str, undo: Callable[[], None]) -> None:
        """Note how to undo what is about to be done.

        :param what: names what remains if ``undo`` fails ("/etc/x", "Starting the service").
        """
        self._undo.append((what, undo))

    def roll_back(self) -> list[str]:
        """Undo everything, the last first; what fails does not stop the rest.

        :return: what could not be undone, and why.
        """
        left = []
        while self._undo:
            what, undo = self._undo.pop()
            try:
                undo()
            except (Exception, KeyboardInterrupt) as error:
                left.append(f"{what} ({why(error)})")
        return left


def why(error: BaseException) -> str:
    """Return what an exception says, in a line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, SetupError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0][:_LINE]
