"""Play-books for conversations: what the peer says, what it must hear, which events come between.

A script is played three times: each saying in one piece, byte by byte (where
the conversation must always want something, and never more than is coming), and
with everything the peer says up to the driver's next turn glued together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs

from gateway.rfb import Conversation, RfbError
from gateway.rfb.wire import MAX_WANTED

__all__ = ["Calls", "Event", "Hears", "Raises", "Says", "Step", "drain", "play"]


@attrs.frozen
class Says:
    """The peer says this."""

    data: bytes


@attrs.frozen
class Hears:
    """The peer must have heard exactly this since the last time."""

    data: bytes


@attrs.frozen
class Event:
    """The conversation must have emitted this."""

    event: object


@attrs.frozen
class Calls:
    """The driver calls this method."""

    method: str
    arguments: tuple[object, ...] = ()


@attrs.frozen
class Raises:
    """The conversation must have failed, in exactly this way; its text has these words in it."""

    kind: type[RfbError]
    words: str


Step: TypeAlias = Says | Hears | Event | Calls | Raises


def drain(conversation: Conversation[Any]) -> list[object]:
    """All events that are due; an error is the last."""
    events: list[object] = []
    try:
        while (event := conversation.next_event()) is not None:
            events.append(event)
    except RfbError as error:
        events.append(error)
    return events


def play(make: Callable[[], Any], *script: Step) -> None:
    """Play a script with a new conversation for each of the three ways."""
    for way in (_whole, _bytewise):
        _Play(make(), way).run(script)
    _Play(make(), _whole).run(_glued(script))


def _whole(data: bytes) -> list[bytes]:
    return [data]


def _bytewise(data: bytes) -> list[bytes]:
    return [bytes((byte,)) for byte in data]


class _Play:
    def __init__(self, conversation: Any, cut: Callable[[bytes], list[bytes]]) -> None:
        self._conversation = conversation
        self._cut = cut
        self._events = drain(conversation)

    def run(self, script: Sequence[Step]) -> None:
        for position, step in enumerate(script):
            match step:
                case Says(data):
                    self._say(data, len(data) + _coming(script[position + 1 :]))
                case Hears(data):
                    heard = self._conversation.data_to_send()
                    assert heard == data, (position, heard, data)
                case Event(event):
                    assert self._events[:1] == [event], (position, self._events, event)
                    del self._events[0]
                    assert self._conversation.wanted == 0 or self._events, position
                case Calls(method, arguments):
                    getattr(self._conversation, method)(*arguments)
                    self._events += drain(self._conversation)
                case Raises(kind, words):
                    self._fail(kind, words)
        assert not self._events, self._events
        assert self._conversation.data_to_send() == b""

    def _say(self, data: bytes, coming: int) -> None:
        for piece in self._cut(data):
            if self._cut is _bytewise and not self._events:
                assert 0 < self._conversation.wanted <= min(coming, MAX_WANTED), self._conversation.wanted
            self._conversation.receive_data(piece)
            self._events += drain(self._conversation)
            coming -= len(piece)

    def _fail(self, kind: type[RfbError], words: str) -> None:
        error = self._events.pop(0)
        assert isinstance(error, RfbError), error
        assert type(error) is kind, repr(error)
        assert words in str(error), repr(error)
        assert self._conversation.wanted == 0
        self._conversation.receive_data(b"more")
        (again,) = drain(self._conversation)
        assert type(again) is kind
        assert str(again) == str(error)
        # Byte by byte, the pieces after the failing one met the same error.
        while self._events:
            assert str(self._events.pop()) == str(error)


def _coming(rest: Sequence[Step]) -> int:
    """How much the peer says before it must hear something, or the driver's turn."""
    size = 0
    for step in rest:
        if not isinstance(step, Says):
            # After a failure nothing more is said, so a conversation may want what never comes.
            return size + MAX_WANTED if isinstance(step, Raises) else size
        size += len(step.data)
    return size


def _glued(script: Sequence[Step]) -> list[Step]:
    """The script with sayings, and what is heard, joined up to the driver's next turn."""
    glued: list[Step] = []
    said, heard = b"", b""
    for step in (*script, None):
        match step:
            case Says(data):
                said += data
            case Hears(data):
                heard += data
            case _:
                glued += [Says(said)] if said else []
                if not isinstance(step, Raises):
                    glued += [Hears(heard)]
                    heard = b""
                said = b""
                glued += [] if step is None else [step]
    return glued
