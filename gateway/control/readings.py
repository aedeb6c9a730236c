"""What metrics and health are read from, at the moment when somebody asks.

The service fills a :class:`Readings` with the ways to its parts.  All of them
are quick and never raise, except the ledger, which may be a file: that is
asked through :class:`LedgerProbe`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.drain import Progress
from gateway.sessions.info import SessionInfo
from gateway.settings import LimitSettings
from gateway.tickets.ledger import LedgerRefused

__all__ = ["AbuseState", "AuditState", "LedgerProbe", "Readings"]

_TIMEOUT: Final = 1.0
"""Seconds that a ledger has to answer: a probe that waits longer is given up by most balancers."""
_FRESH: Final = 1.0
"""Seconds for which an answer of the ledger stands, so that probes cannot keep it busy."""


class AbuseState(Protocol):
    """What is read from a :class:`gateway.front.Watch`."""

    @property
    def closed(self) -> Mapping[str, int]:
        """Connections closed when they were accepted, so far, by why."""

    @property
    def remembered(self) -> Mapping[str, int]:
        """Addresses that something is held against, by what it is."""


class AuditState(Protocol):
    """What is read from a :class:`gateway.audit.Audit`."""

    @property
    def available(self) -> bool:
        """Whether what happens now is recorded."""

    @property
    def failures(self) -> int:
        """Attempts to write that failed."""

    @property
    def waiting(self) -> int:
        """Records that wait to be written."""

    @property
    def lost(self) -> int:
        """Records that never will be."""

    @property
    def is_required(self) -> bool:
        """Whether sessions are refused while it is not available."""


@attrs.frozen(kw_only=True)
class Readings:
    """Where to read."""

    sessions: Callable[[], Iterable[SessionInfo]]
    """Those that live."""
    limits: Callable[[], LimitSettings]
    handshakes: Callable[[], int]
    """Connections that are not a session."""
    admitting: Callable[[], bool]
    stopping: Callable[[], bool]
    """Whether the service is on its way down, or not up yet."""
    drain: Callable[[], Progress]
    listeners: Callable[[], Sequence[str]]
    """The addresses that consoles are served on."""
    ledger_size: Callable[[], Coroutine[Any, Any, int]]
    """:meth:`gateway.tickets.ledger.Ledger.size`."""
    ledger_limit: Callable[[], int]
    certificate_expires: Callable[[], float | None]
    """When the first of the certificates that clients see expires, in seconds since the epoch; ``None``
    without TLS."""
    certificate_setting: Callable[[], str] = lambda: "tls.certificate"
    """Which setting names that certificate."""
    targets_expire: Callable[[], Iterable[float]]
    """The same for each target whose certificate was seen."""
    audit: AuditState
    abuse: AbuseState


class LedgerProbe:
    """Asks a ledger for its size, in bounded time and not more often than makes sense."""

    log = Logger()

    def __init__(
        self, size: Callable[[], Coroutine[Any, Any, int]], clock: IReactorTime, timeout: float = _TIMEOUT
    ) -> None:
        """:param timeout: seconds that the ledger has to answer."""
        self._size = size
        self._clock = clock
        self._timeout = timeout
        self._waiting: list[defer.Deferred[int | None]] = []
        self._answered: float | None = None
        self._answer: int | None = None
        self.failures = 0
        """How often there was no answer."""

    async def ask(self) -> int | None:
        """The size, at most a second old; ``None`` when the ledger does not answer."""
        if self._answered is not None and 0 <= self._clock.seconds() - self._answered < _FRESH:
            return self._answer
        waiting: defer.Deferred[int | None] = defer.Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            asking = defer.Deferred.fromCoroutine(self._size())
            asking.addTimeout(self._timeout, self._clock)
            asking.addCallbacks(self._told, self._failed)
        return await waiting

    def _told(self, size: int | None) -> None:
        self._answered, self._answer = self._clock.seconds(), size
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(size)

    def _failed(self, failure: Failure) -> None:
        self.failures += 1
        if not failure.check(LedgerRefused, defer.TimeoutError):
            self.log.failure("Unexpected error while asking the ledger for its size", failure)
        self._told(None)
