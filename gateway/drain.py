"""Waiting for sessions to end before the gateway restarts.

While it drains, the gateway takes no new session and says so to balancers; pages
that understand notices count down, and whoever is left at the end is disconnected
with :attr:`~gateway.reasons.EndReason.RESTART`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.reasons import EndReason
from gateway.sessions import Event, Events, LiveSession, Registry, SessionEnded, SessionOpened
from gateway.settings import Settings

__all__ = ["Drain", "Progress"]

_LOOK: Final = 1.0
"""Seconds between two looks at what is left: a place may be given back without a session."""
_PATIENCE: Final = 2
"""So many close timeouts after the end, sessions that have not ended in order are cut."""


@attrs.frozen
class Progress:
    """How far a drain is.

    :ivar draining: whether the gateway drains, or has, and takes no session.
    :ivar sessions: those that live.
    :ivar left: seconds that they have, ``None`` where they have all the time.
    :ivar message: what users were told.
    """

    draining: bool
    sessions: int
    left: float | None
    message: str = ""


class Drain:
    """Begins, ends and takes back what the module says."""

    log = Logger()

    def __init__(
        self, clock: IReactorTime, registry: Registry, events: Events, settings: Callable[[], Settings]
    ) -> None:
        """
        :param registry: admits nobody meanwhile, and knows who is left.
        :param settings: those in force.
        """
        self._clock = clock
        self._registry = registry
        self._events = events
        self._settings = settings
        self._end: float | None = None
        self.is_final = False
        """Whether it cannot be taken back: another process has taken over."""
        self._message = ""
        self._ending: Any = None
        self._looking: Any = None
        self._waiting: list[defer.Deferred[None]] = []
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def draining(self) -> bool:
        """Whether the gateway drains, or has, and is not to take sessions."""
        return self._end is not None

    @property
    def progress(self) -> Progress:
        """How far it is."""
        end, sessions = self._end, len(self._registry.sessions)
        if end is None:
            return Progress(False, sessions, None)
        left = max(0.0, end - self._clock.seconds()) if sessions else 0.0
        return Progress(True, sessions, left, self._message)

    def begin(self, seconds: float | None = None, message: str = "", *, admit: bool = False) -> None:
        """Drain; where that goes on already, go by other times and words.

        :param seconds: that sessions have; ``drain.cap`` by default.
        :param message: what users are told, :data:`gateway.sessions.MAX_MESSAGE` bytes at most.
        :param admit: let sessions in until :meth:`close_door`, for connections that were accepted before.
        """
        seconds = self._settings().drain.cap if seconds is None else seconds
        self.is_final |= admit
        # A door that is held open is not shut by other times.
        admit |= self.draining and not self._registry.draining
        # What balancers are told, before anything else happens.
        self._end = self._clock.seconds() + seconds
        self._registry.draining = not admit
        self._message = message
        self._stop_timers()
        if self._unsubscribe is None:
            self._unsubscribe = self._events.subscribe(self._happened)
        self.log.info(
            "draining: {sessions} sessions have {seconds} s", sessions=self.progress.sessions, seconds=seconds
        )
        for session in list(self._registry.sessions.values()):
            self._tell(session)
        self._ending = self._clock.callLater(seconds, self._end_all)
        self._look()

    def cancel(self) -> bool:
        """Take sessions again; returns whether there was anything to take back."""
        if self._end is None or self.is_final:
            return False
        self._end, self._message = None, ""
        self._registry.draining = False
        self._stop_timers()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self.log.info("draining is over: sessions are taken again")
        for session in list(self._registry.sessions.values()):
            session.announce({"type": "drain-over"})
        self._done()
        return True

    def close_door(self) -> None:
        """Let nobody in any more, see :meth:`begin`."""
        if self._end is not None:
            self._registry.draining = True
            if self._is_empty():
                self._drained()

    async def finished(self) -> None:
        """Wait until no session is left, or the drain is taken back."""
        if self._end is None or self._is_empty():
            return
        waiting: defer.Deferred[None] = defer.Deferred()
        self._waiting.append(waiting)
        await waiting

    def stop(self) -> None:
        """Leave sessions alone and admission as it is: the service stops; idempotent."""
        self._stop_timers()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._done()

    def reset(self) -> None:
        """Forget the drain: the service starts again."""
        self.stop()
        self._end, self._message, self.is_final = None, "", False
        self._registry.draining = False

    def _happened(self, event: Event) -> None:
        match event.what:
            case SessionOpened(session=info):
                session = self._registry.sessions.get(info.id)
                if session is not None and self.progress.left:
                    self._tell(session)
                elif session is not None:
                    session.end(EndReason.RESTART, self._message, self._message)
            case SessionEnded() if self._is_empty():
                self._drained()

    def _tell(self, session: LiveSession) -> None:
        assert self._end is not None
        notice: dict[str, Any] = {
            "type": "drain",
            "seconds": round(max(0.0, self._end - self._clock.seconds()), 1),
        }
        if self._message:
            notice["text"] = self._message
        session.announce(notice)

    def _end_all(self) -> None:
        sessions = list(self._registry.sessions.values())
        if sessions:
            self.log.info("the time to drain is over: {count} sessions are ended", count=len(sessions))
        for session in sessions:
            session.end(EndReason.RESTART, self._message, self._message)
        patience = _PATIENCE * self._settings().relay.close_timeout
        self._ending = self._clock.callLater(patience, self._cut)

    def _cut(self) -> None:
        for session in list(self._registry.sessions.values()):
            session.abort()

    def _look(self) -> None:
        """See whether everybody has left, now and from time to time."""
        self._looking = None
        if self._is_empty():
            self._drained()
        else:
            self._looking = self._clock.callLater(_LOOK, self._look)

    def _is_empty(self) -> bool:
        return self._registry.draining and not self._registry.taken and not self._registry.sessions

    def _drained(self) -> None:
        self.log.info("drained: no session is left")
        self._stop_timers()
        self._done()

    def _done(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _stop_timers(self) -> None:
        for timer in (self._ending, self._looking):
            if timer is not None and timer.active():
                timer.cancel()
        self._ending = self._looking = None
