"""What happens to sessions, told to whoever wants to know: audit, metrics, operators.

Each event is published exactly once, in the order of its number.  Subscribers
are called at once and must be quick; one that breaks is logged and kept.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final, TypeAlias

import attrs
from twisted.logger import Logger

from gateway.reasons import EndReason, Refusal
from gateway.sessions.info import SessionInfo

__all__ = [
    "AdminAction",
    "Event",
    "Events",
    "Happening",
    "RequestRefused",
    "SessionEnded",
    "SessionJoined",
    "SessionOpened",
    "SessionWarned",
]

KEPT: Final = 1000
"""Events that are remembered, unless told otherwise."""


@attrs.frozen
class SessionOpened:
    """A client was let in; its target is about to be dialled."""

    name: ClassVar = "session-opened"
    session: SessionInfo
    handshake: float
    """Seconds from the accepted connection to the answered upgrade."""


@attrs.frozen
class SessionJoined:
    """Client and target are joined."""

    name: ClassVar = "session-joined"
    session: SessionInfo
    dialling: float
    """Seconds from the opening of the session to this: resolving, connecting, handshakes."""


@attrs.frozen
class SessionWarned:
    """A client was told that its session is about to end, if it can understand it."""

    name: ClassVar = "session-warned"
    session: SessionInfo
    reason: EndReason
    left: float
    """Seconds until then."""


@attrs.frozen
class SessionEnded:
    """Both sides are closed."""

    name: ClassVar = "session-ended"
    session: SessionInfo
    reason: EndReason
    detail: str
    """For the log and operators, empty where there is nothing to add."""


@attrs.frozen
class RequestRefused:
    """Somebody was turned away before there was a session."""

    name: ClassVar = "request-refused"
    client: str
    ticket: str | None
    """Id of the ticket, where it was genuine."""
    subject: str | None
    target: str | None
    reason: Refusal
    detail: str


@attrs.frozen
class AdminAction:
    """An operator did something."""

    name: ClassVar = "admin-action"
    actor: str
    """Who, as the control API knows them: ``uid:0``, ``token:NAME``, ``certificate:NAME``; or ``signal``."""
    action: str
    """``end``, ``stop-admitting``, ``resume-admitting``, ``reload``, ``drain``, ``drain-cancelled`` or
    ``hand-over``."""
    sessions: tuple[str, ...]
    """Ids of the sessions that were meant."""
    detail: str
    """Such as the message that users were shown."""


Happening: TypeAlias = (
    SessionOpened | SessionJoined | SessionWarned | SessionEnded | RequestRefused | AdminAction
)
"""What an event is about."""


@attrs.frozen
class Event:
    """Something that happened."""

    number: int
    """Counts up from 1 in the life of one process."""
    time: float
    """Seconds since the epoch."""
    what: Happening


class Events:
    """Publishes events, and remembers the latest."""

    log = Logger()

    def __init__(self, now: Callable[[], float] = time.time, kept: int = KEPT) -> None:
        """
        :param now: the wall clock, in seconds since the epoch.
        :param kept: how many events to remember.
        """
        self.now = now
        self._subscribers: dict[object, Callable[[Event], None]] = {}
        self._number = 0
        self.recent: deque[Event] = deque(maxlen=kept)
        """The latest, oldest first."""

    def publish(self, what: Happening) -> None:
        """Tell everybody."""
        self._number += 1
        event = Event(self._number, self.now(), what)
        self.recent.append(event)
        for subscriber in list(self._subscribers.values()):
            try:
                subscriber(event)
            except Exception:
                # Neither the session nor the other subscribers are to suffer.
                self.log.failure("Unexpected error in a subscriber to events")

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``subscriber`` with every event from now on; returns the way to stop, which is idempotent."""
        key = object()
        self._subscribers[key] = subscriber

        def stop() -> None:
            self._subscribers.pop(key, None)

        return stop
