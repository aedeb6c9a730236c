"""Events as they happen: Server-Sent Events (the HTML standard, section 9.2).

A stream keeps no queue.  It remembers which event it has sent last, and reads
on in what :class:`~gateway.sessions.events.Events` remembers as fast as its
reader takes it.  A reader that is so slow that what it needs is forgotten, or
that takes nothing between two keep-alives, is cut.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from gateway.control.errors import HEADERS
from gateway.control.views import event_json
from gateway.sessions.events import Event, Events

__all__ = ["CONTENT_TYPE", "KEEP_ALIVE", "EventStream"]

CONTENT_TYPE: Final = "text/event-stream"
KEEP_ALIVE: Final = 15.0
"""Seconds between two comments that keep a quiet connection open."""

_BATCH: Final = 100
"""Events that are written before it is seen whether the reader takes them."""


@implementer(IPushProducer)
class EventStream:
    """The answer to one request for events."""

    log = Logger()

    def __init__(
        self,
        events: Events,
        clock: IReactorTime,
        ended: Callable[[EventStream], None],
        *,
        after: int | None,
        types: Sequence[str],
    ) -> None:
        """
        :param ended: called once, when the stream has ended for whatever reason.
        :param after: number of the last event that the reader has; ``None`` for those that are to come.
        :param types: names of the events that are wanted; all, if there are none.
        """
        self._events = events
        self._clock = clock
        self._ended = ended
        self._types = frozenset(types)
        self._after = after
        self._sent = _newest(events) if after is None else after
        self._request: Request | None = None
        self._paused = False
        self._stuck = False
        self._timer: Any = None
        self._unsubscribe: Callable[[], None] | None = None

    def start(self, request: Request) -> None:
        """Answer a request, for as long as its connection lasts."""
        request.setResponseCode(200)
        for name, value in {**HEADERS, "Content-Type": CONTENT_TYPE, "X-Accel-Buffering": "no"}.items():
            request.responseHeaders.setRawHeaders(name, [value])
        request.notifyFinish().addBoth(lambda _: self._over())
        self._request = request
        request.write(b": these are events of a console gateway\n\n")
        if request.method == b"HEAD":
            request.finish()
            return
        request.registerProducer(self, True)
        self._unsubscribe = self._events.subscribe(self._published)
        self._timer = self._clock.callLater(KEEP_ALIVE, self._keep_alive)
        if self._after is not None and self._is_gone(self._after):
            lost = json.dumps({"missed_after": self._after})
            request.write(f"event: lost\ndata: {lost}\n\n".encode("ascii"))
            self._sent = _oldest(self._events) - 1
        self._pump()

    def cut(self) -> None:
        """End the stream and its connection at once."""
        request = self._request
        self._over()
        if request is not None:
            channel: Any = request.channel
            channel.abort()

    # -- IPushProducer -------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The reader does not keep up."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The reader took everything."""
        self._paused = self._stuck = False
        self._pump()

    def stopProducing(self) -> None:
        """The connection has gone."""
        self._over()

    # -- helpers ---------------------------------------------------------------------

    def _published(self, event: Event) -> None:
        if self._request is not None and self._sent + 1 < _oldest(self._events):
            self._cut_slow("what it has not read yet is forgotten")
        else:
            self._pump()

    def _pump(self) -> None:
        while not self._paused and self._request is not None:
            recent = self._events.recent
            first = max(0, self._sent + 1 - _oldest(self._events))
            batch = list(itertools.islice(recent, first, first + _BATCH))
            if not batch:
                return
            self._sent = batch[-1].number
            if data := b"".join(_message(event) for event in batch if self._wants(event)):
                self._request.write(data)

    def _wants(self, event: Event) -> bool:
        return not self._types or event.what.name in self._types

    def _is_gone(self, after: int) -> bool:
        """Whether there were events behind *after* that are forgotten, or it is of another process."""
        return after + 1 < _oldest(self._events) or after > _newest(self._events)

    def _keep_alive(self) -> None:
        self._timer = None
        if self._stuck:
            self._cut_slow("it reads nothing")
            return
        self._timer = self._clock.callLater(KEEP_ALIVE, self._keep_alive)
        self._stuck = self._paused
        if not self._paused and self._request is not None:
            self._request.write(b": still here\n\n")

    def _cut_slow(self, why: str) -> None:
        self.log.info("control: a reader of events is cut, {why}", why=why)
        self.cut()

    def _over(self) -> None:
        request, self._request = self._request, None
        if request is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._ended(self)


def _oldest(events: Events) -> int:
    """Number of the oldest event that is remembered; of the next one, while there is none."""
    return events.recent[0].number if events.recent else 1


def _newest(events: Events) -> int:
    return events.recent[-1].number if events.recent else 0


def _message(event: Event) -> bytes:
    # JSON in ASCII has no line breaks but those that would be escaped.
    data = json.dumps(event_json(event), separators=(",", ":"))
    return f"id: {event.number}\nevent: {event.what.name}\ndata: {data}\n\n".encode("ascii")
