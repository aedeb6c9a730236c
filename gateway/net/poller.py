"""One epoll set for all relay sockets, seen by the reactor as one readable descriptor.

The reactor serves accepts, handshakes and timers; established sessions are
dispatched from here without the reactor's per-event bookkeeping.  It works on
any reactor that provides ``IReactorFDSet``.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["GONE", "PEER_CLOSED", "READABLE", "WRITABLE", "Poller"]

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
PEER_CLOSED: Final = select.EPOLLRDHUP
"""The peer sent FIN; reported only when asked for."""
GONE: Final = select.EPOLLHUP | select.EPOLLERR
"""The connection is dead; always reported."""

_BATCH: Final = 256
"""Events taken from the kernel at once."""

_ROUNDS: Final = 8
"""Times the set is asked again in one turn of the reactor, which costs far more than asking; few enough
that accepts and timers are not starved."""

_REST: Final = 0.0005
"""Seconds that a flooding socket is left alone; a reactor that counts milliseconds makes one of it."""


@implementer(IReadDescriptor)
class Poller:
    """Dispatch socket events to handlers: ``handler(events)``."""

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        """:param reactor: provides ``IReactorFDSet`` and ``IReactorTime``."""
        self._reactor: IReactorFDSet = reactor
        self._clock: IReactorTime = reactor
        self._resting: list[Callable[[], None]] = []
        self._timer: Any = None
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        reactor.addReader(self)

    def register(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Watch ``fd`` for ``events``; the dead-connection events always come too."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def modify(self, fd: int, events: int) -> None:
        """Change what a registered ``fd`` is watched for."""
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Forget ``fd``; must come before it is closed."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def rest(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` in about half a millisecond; one timer serves all that rest."""
        if not self._resting:
            self._timer = self._clock.callLater(_REST, self._wake)
        self._resting.append(wake)

    def __len__(self) -> int:
        return len(self._handlers)

    def close(self) -> None:
        """Leave the reactor and drop every registration (sockets stay open)."""
        if self._resting:
            self._resting.clear()
            self._timer.cancel()
        self._reactor.removeReader(self)
        self._handlers.clear()
        self._epoll.close()

    def doRead(self) -> None:
        """Serve the events that are ready now."""
        handlers = self._handlers
        epoll = self._epoll
        for _ in range(_ROUNDS):
            # The last session of a service that stops closes the set from its own event.
            if epoll.closed:
                return
            ready = epoll.poll(0, _BATCH)
            if not ready:
                return
            for fd, events in ready:
                # A handler served earlier in this batch may have closed this one.
                handler = handlers.get(fd)
                if handler is not None:
                    try:
                        handler(events)
                    except Exception:
                        # A defect in one session must not take the others' events with it.
                        self.log.failure("Unexpected error in a relay event")

    def fileno(self) -> int:
        return -1 if self._epoll.closed else self._epoll.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """Called by a reactor that shuts down."""

    def logPrefix(self) -> str:
        return "relay"

    def _wake(self) -> None:
        resting, self._resting = self._resting, []
        for wake in resting:
            wake()
