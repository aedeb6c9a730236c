"""Which of many equal complaints are worth a line in the log."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from twisted.internet.interfaces import IReactorTime

__all__ = ["Complaints"]

_AGAIN: Final = 600.0
"""Seconds after which the same is said again."""
_REMEMBERED: Final = 1000
"""Complaints that are known to have been made."""
_PERIOD: Final = 60.0
_MOST: Final = 10
"""Lines in one period."""


class Complaints:
    """Says yes once in ten minutes for each cause, and ten times a minute at the most for all of them."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._said: OrderedDict[str, float] = OrderedDict()
        self._since = clock.seconds()
        self._lines = 0
        self._kept_back = 0

    def worth(self, cause: str) -> int | None:
        """Whether to say it now.

        :param cause: what makes the complaint the same as another.
        :returns: ``None`` for no, otherwise how many were kept back since the last that was said.
        """
        now = self._clock.seconds()
        if not 0 <= now - self._since < _PERIOD:
            self._since, self._lines = now, 0
        said = self._said.get(cause)
        if self._lines >= _MOST or (said is not None and 0 <= now - said < _AGAIN):
            self._kept_back += 1
            return None
        self._lines += 1
        self._said[cause] = now
        self._said.move_to_end(cause)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        kept_back, self._kept_back = self._kept_back, 0
        return kept_back
