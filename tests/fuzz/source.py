"""Decisions drawn from the bytes of a fuzzer: the same bytes always decide the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Source"]

T = TypeVar("T")


class Source:
    """Reads an input from its beginning; past its end everything is zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def empty(self) -> bool:
        """Nothing is left."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """One byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self, limit: int) -> int:
        """A number from 0 to ``limit`` (at most 2**24), both included."""
        value = 0
        for _ in range(1 if limit < 256 else 2 if limit < 65536 else 3):
            value = value << 8 | self.byte()
        return value % (limit + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.number(len(choices) - 1)]

    def take(self, size: int) -> bytes:
        """The next bytes, ``size`` of them or as many as are left."""
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data))

    def edited(self, text: bytes, edits: int = 6) -> bytes:
        """``text`` with up to so many pieces cut out, put in, put in place of others, or repeated."""
        for _ in range(1 + self.byte() % edits):
            place = self.number(min(len(text), 65535))
            size = self.byte() % 8
            match self.byte() % 4:
                case 0:
                    text = text[:place] + self.take(size) + text[place + size :]
                case 1:
                    text = text[:place] + self.take(size) + text[place:]
                case 2:
                    text = text[:place] + text[place + size :]
                case _:
                    other = self.number(min(len(text), 65535))
                    text = text[:place] + text[other : other + 4 * size] + text[place:]
        return text
