"""What can be wrong with settings, in words for the operator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs

from gateway.settings.text import one_line

__all__ = ["BadValueError", "Problem", "SettingsError"]


@attrs.frozen
class Problem:
    """One thing that is wrong; its ``str`` is one line."""

    file: Path
    """The settings file."""
    key: str
    """Where in the file: ``limits.sessions``, a position (``line 3, column 7``), or empty for the file."""
    text: str
    """What is wrong."""
    remedy: str
    """What to do about it."""

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else str(self.file)
        return one_line(f"{where}: {self.text}; {self.remedy}")


class SettingsError(Exception):
    """Settings cannot be used; :attr:`problems` has every reason."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class BadValueError(ValueError):
    """A value that cannot be used, before it is known where it stands."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text, remedy)
        self.text = text
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}"
