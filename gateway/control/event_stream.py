"""Server-Sent Events as a client reads them, without I/O (HTML Living Standard, section 9.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

__all__ = ["MAX_EVENT", "EventStream", "EventStreamError", "ServerSentEvent"]

MAX_EVENT: Final = 1048576
"""Bytes in one event, and in one line."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


class EventStreamError(Exception):
    """An event has no end."""


@attrs.frozen
class ServerSentEvent:
    """An event that was sent in full."""

    id: str
    """The id of this event or, where it has none, of the latest that had one; empty when none had."""
    event: str
    """Its type; ``message`` where it has none."""
    data: str


class EventStream:
    """Reads events from a stream of bytes, which may be cut anywhere."""

    def __init__(self) -> None:
        self.last_id = ""
        """What to send as ``Last-Event-ID`` when connecting again."""
        self._kept = b""
        self._begun = False
        self._id = ""
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that are complete with ``data``, in order.

        :raises EventStreamError: an event or a line is longer than :data:`MAX_EVENT`; the stream is of no
            use any more.
        """
        events = []
        for line in self._lines(data):
            self._size += len(line)
            if self._size > MAX_EVENT:
                raise EventStreamError(f"an event is longer than {MAX_EVENT} bytes")
            if line:
                self._take(line.decode("utf-8", "replace"))
                continue
            event = self._complete()
            if event is not None:
                events.append(event)
        return events

    def _lines(self, data: bytes) -> Iterator[bytes]:
        kept = self._kept + data
        if not self._begun:
            if _BOM.startswith(kept):
                self._kept = b"" if kept == _BOM else kept
                self._begun = kept == _BOM
                return
            kept = kept.removeprefix(_BOM)
            self._begun = True
        start = 0
        for end in _LINE_END.finditer(kept):
            # The other half of this end may still come.
            if end.end() == len(kept) and end[0] == b"\r":
                break
            yield kept[start : end.start()]
            start = end.end()
        self._kept = kept[start:]
        if len(self._kept) > MAX_EVENT:
            raise EventStreamError(f"a line is longer than {MAX_EVENT} bytes")

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _complete(self) -> ServerSentEvent | None:
        self.last_id = self._id
        event = ServerSentEvent(self._id, self._event or "message", "\n".join(self._data))
        said = bool(self._data)
        self._event, self._data, self._size = "", [], 0
        return event if said else None
