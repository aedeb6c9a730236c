"""One user on one console: all connections of a ticket, and the time they have.

A SPICE client opens a connection for each channel, and its user types on one
of them only.  So the times are the group's: of the last input, and of the
beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from gateway.reasons import EndReason
from gateway.settings import Attach, SessionSettings
from gateway.tickets import Grant, Kind

__all__ = ["Group", "Member"]


class Member(Protocol):
    """What a group needs of a :class:`gateway.sessions.Session`."""

    @property
    def id(self) -> str:
        """Tells sessions apart."""

    def warn(self, reason: EndReason, left: float) -> None:
        """Say that it is about to end, in ``left`` seconds."""

    def warning_over(self) -> None:
        """Say that it goes on after all."""

    def end(self, reason: EndReason, detail: str = "", message: str = "") -> None:
        """End it in order."""


class Group:
    """The places and sessions of one ticket; kept by the registry for as long as there is one."""

    __slots__ = (
        "_clock",
        "_settings",
        "_timer",
        "_warned",
        "attach",
        "begun",
        "console",
        "kind",
        "last_input",
        "members",
        "places",
        "subject",
        "ticket",
    )

    def __init__(self, clock: IReactorTime, settings: SessionSettings, grant: Grant) -> None:
        self._clock = clock
        self._settings = settings
        self._timer: Any = None
        self._warned: EndReason | None = None
        self.ticket = grant.id
        self.subject = grant.subject
        self.console = grant.target.console
        self.attach: Attach = grant.attach or settings.attach
        self.kind: Kind | None = grant.target.kind
        """What its console speaks, as soon as that is known."""
        self.members: dict[str, Member] = {}
        """Its sessions by id."""
        self.places = 0
        """How many places it has in the registry."""
        self.begun = self.last_input = clock.seconds()

    def enter(self, session: Member) -> None:
        """A session has begun, which counts as input: somebody asked for it."""
        self.used()
        if self._warned is not None:
            # The others know it already.
            session.warn(self._warned, self.begun + self._settings.max_duration - self._clock.seconds())
        self.members[session.id] = session
        if self._timer is None:
            self._check()

    def leave(self, session: Member) -> None:
        """A session has ended."""
        self.members.pop(session.id, None)
        if not self.members:
            self.stop()

    def configure(self, settings: SessionSettings) -> None:
        """Go by other times."""
        self._settings = settings
        if self.members:
            self._check()

    def used(self) -> None:
        """The user gave input."""
        self.last_input = self._clock.seconds()
        if self._warned is EndReason.IDLE:
            self._check()

    def end(self, reason: EndReason, detail: str = "", message: str = "") -> None:
        """End every session; see :meth:`gateway.sessions.Session.end`."""
        for session in list(self.members.values()):
            session.end(reason, detail, message)

    def stop(self) -> None:
        """Watch the time no more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._warned = None

    def _check(self) -> None:
        """See how much time is left: warn, end, or look again when there may be something to do."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        limits = list(self._limits())
        if not limits:
            self._warn(None, 0)
            return
        end, warning, reason = min(limits, key=lambda limit: limit[0])
        left = end - self._clock.seconds()
        if left <= 0:
            self.end(reason)
            return
        self._warn(reason if left <= warning else None, left)
        self._timer = self._clock.callLater(left if left <= warning else left - warning, self._check)

    def _warn(self, reason: EndReason | None, left: float) -> None:
        """Tell the members what they do not know yet."""
        known, self._warned = self._warned, reason
        for session in list(self.members.values()) if reason is not known else ():
            if reason is None:
                session.warning_over()
            else:
                session.warn(reason, left)

    def _limits(self) -> Iterator[tuple[float, float, EndReason]]:
        """When the sessions end, how many seconds before that is said, and why."""
        settings = self._settings
        for begun, limit, reason in (
            (self.last_input, settings.idle, EndReason.IDLE),
            (self.begun, settings.max_duration, EndReason.TIME_LIMIT),
        ):
            if limit:
                # Half of the time is without a warning, or there would be no input that ends one.
                yield begun + limit, min(settings.warning, limit / 2), reason
