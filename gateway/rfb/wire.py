"""Conversations without I/O: what both sides of RFB have in common.

A :class:`Conversation` is a generator that reads from a :class:`Wire` and
yields events.  Its driver feeds what the peer sent to
:meth:`~Conversation.receive_data`, takes events from
:meth:`~Conversation.next_event` until that returns ``None``, writes what
:meth:`~Conversation.data_to_send` hands out, and only then looks at
:attr:`~Conversation.wanted` to learn how much to read.  After an
:class:`~gateway.rfb.errors.RfbError`, it writes that last time (the peer is
told why where the protocol has words for it) and closes.
"""

from __future__ import annotations

import abc
from collections.abc import Generator
from typing import Generic, TypeAlias, TypeVar

from gateway.rfb.errors import RfbError

__all__ = ["MAX_WANTED", "Conversation", "Reading", "Wire", "encode_text", "printable"]

MAX_WANTED = 2048
"""Most bytes a handshake ever waits for in one step; longer texts are refused by their length alone."""

_MAX_PRINTABLE = 200

_Result = TypeVar("_Result")
_Event = TypeVar("_Event")

Reading: TypeAlias = Generator[None, None, _Result]
"""A step that waits for bytes from the peer, then returns something."""


class Wire:
    """The bytes between the peer and a conversation, both ways."""

    def __init__(self) -> None:
        self._incoming = bytearray()
        self._outgoing: list[bytes] = []
        self._size = 0

    @property
    def wanted(self) -> int:
        """How many more bytes the step that is being read needs exactly; 0 when none is."""
        return max(0, self._size - len(self._incoming))

    @property
    def unread(self) -> bytes:
        """What the peer sent and no step has read."""
        return bytes(self._incoming)

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer, cut anywhere."""
        self._incoming += data

    def clear(self) -> None:
        """Forget what the peer sent, and want nothing more."""
        self._incoming.clear()
        self._size = 0

    def read(self, size: int) -> Reading[bytes]:
        """Wait for exactly ``size`` bytes."""
        self._size = size
        while len(self._incoming) < size:
            yield None
        self._size = 0
        data = bytes(self._incoming[:size])
        del self._incoming[:size]
        return data

    def read_u32(self) -> Reading[int]:
        """Wait for a 32-bit number."""
        return int.from_bytes((yield from self.read(4)), "big")

    def read_text(self, limit: int, what: str) -> Reading[bytes]:
        """Wait for a text and the 32-bit length before it.

        :param limit: most bytes taken.
        :param what: the text's name in the error.
        :raises RfbError: the length is above the limit; nothing of the text was waited for.
        """
        length = yield from self.read_u32()
        if length > limit:
            raise RfbError(f"{what} of {length} bytes, more than {limit}")
        return (yield from self.read(length))

    def write(self, *pieces: bytes) -> None:
        """Queue bytes for the peer."""
        self._outgoing += pieces

    def take_output(self) -> bytes:
        """Everything queued; each byte is handed out once."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data


class Conversation(abc.ABC, Generic[_Event]):
    """One side of a conversation; subclasses say how it goes in :meth:`_talk`.

    :param wire: shared with the conversation that this one begins or continues; its own by default.
    """

    def __init__(self, wire: Wire | None = None) -> None:
        self._wire = Wire() if wire is None else wire
        self._error: tuple[type[RfbError], str] | None = None
        self._awaited: str | None = None
        self._steps = self._talk()

    @property
    def wanted(self) -> int:
        """How many more bytes the current step needs exactly: 0 while it is the driver's turn, or over.

        Up to date whenever :meth:`next_event` has returned ``None``.
        """
        return self._wire.wanted

    @property
    def unused_data(self) -> bytes:
        """What the peer sent beyond the last step: it belongs to whatever speaks next."""
        return self._wire.unread

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer, cut anywhere.  Drain :meth:`next_event` after each call."""
        if self._error is None:
            self._wire.receive(data)

    def next_event(self) -> _Event | None:
        """The next event, or ``None`` when bytes, or a call by the driver, must come first.

        :raises RfbError: the peer broke the protocol or may not go on; so does every later call.
        """
        if self._error is not None:
            kind, text = self._error
            raise kind(text)
        try:
            return next(self._steps, None)
        except RfbError as error:
            self._break(error)
            raise

    def data_to_send(self) -> bytes:
        """Everything that waits to be written; each byte is handed out once."""
        return self._wire.take_output()

    @abc.abstractmethod
    def _talk(self) -> Generator[_Event | None, None, None]:
        """The whole conversation, in order."""

    def _ask(self, event: _Event, answer: str) -> Generator[_Event | None, None, None]:
        """Emit an event, then wait until the driver called the method named ``answer``."""
        self._awaited = answer
        yield event
        while self._awaited is not None:
            yield None

    def _answered(self, answer: str) -> None:
        """The driver called the method named ``answer``.

        :raises RuntimeError: it is not its turn.
        """
        if self._error is None and self._awaited != answer:
            raise RuntimeError(f"{answer}() is not expected now")
        self._awaited = None

    def _break(self, error: RfbError) -> None:
        """Let every later :meth:`next_event` raise the like of ``error``."""
        self._error = (type(error), str(error))
        self._wire.clear()


def encode_text(text: bytes) -> bytes:
    """A text with its 32-bit length before it."""
    return len(text).to_bytes(4, "big") + text


def printable(text: bytes) -> str:
    """What a peer wrote, fit for a log: one line, no control characters, at most 200 characters."""
    # Four bytes make one character at most; servers written in C may count the final NUL.
    decoded = text[: 4 * _MAX_PRINTABLE].rstrip(b"\0").decode("utf-8", "replace")
    safe = "".join(character if character.isprintable() else " " for character in decoded)
    return " ".join(safe.split())[:_MAX_PRINTABLE]
