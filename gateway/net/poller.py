"""One epoll set for all sockets of the gateway.

Events are dispatched from here to one callable per descriptor, without a
reactor's bookkeeping for each of them.  A
:class:`~gateway.net.reactor.ConsoleReactor` waits in a poller; to any other
reactor that provides ``IReactorFDSet`` a poller is one readable descriptor,
once it is attached.
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
"""Times the set is asked again in one turn of a reactor that it is attached to: a turn costs far more than
asking.  Few enough that others are not starved."""

_REST: Final = 0.0005
"""Seconds that a flooding socket is left alone; a reactor that counts milliseconds makes one of it."""


@implementer(IReadDescriptor)
class Poller:
    """Dispatch socket events to handlers: ``handler(events)``."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._attached: IReactorFDSet | None = None
        self._resting: list[Callable[[], None]] = []
        self._timer: Any = None
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._forgotten: set[int] = set()

    def attach(self, reactor: IReactorFDSet) -> None:
        """Be served by a reactor that knows nothing of pollers."""
        self._attached = reactor
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
        self._forgotten.add(fd)
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
        if self._attached is not None:
            self._attached.removeReader(self)
        self._handlers.clear()
        self._epoll.close()

    def serve(self, timeout: float | None) -> bool:
        """Serve the events that are ready, after waiting for one if there is none.

        :param timeout: seconds to wait; ``None`` for as long as it takes.
        :returns: whether there was one.
        """
        self._forgotten.clear()
        ready = self._epoll.poll(timeout, _BATCH)
        handlers = self._handlers
        for fd, events in ready:
            # A handler served earlier in this batch may have ended this one, and the number may by now be
            # another's.
            handler = handlers.get(fd)
            if handler is not None and fd not in self._forgotten:
                try:
                    handler(events)
                except Exception:
                    # A defect in one session must not take the others' events with it.
                    self.log.failure("Unexpected error in an event")
        return bool(ready)

    def doRead(self) -> None:
        """Serve what is ready, for a reactor that this is attached to."""
        for _ in range(_ROUNDS):
            # The last session of a service that stops closes the set from its own event.
            if self._epoll.closed or not self.serve(0):
                return

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
