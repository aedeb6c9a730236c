"""A reactor whose waiting is done by the gateway's poller, for processes that run nothing else.

Twisted's epoll reactor wraps every event in bookkeeping that costs several
times what the relay does with it.  Here the poller waits, dispatches the
gateway's own sockets itself, and lets Twisted serve its descriptors whenever
one of those is ready: Twisted's epoll set is a member of the poller's.

The gateway works on other reactors as well, see :class:`~gateway.net.poller.Poller`.
"""

from __future__ import annotations

import twisted.internet
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

from gateway.net.poller import READABLE, Poller

__all__ = ["ConsoleReactor", "install"]


class ConsoleReactor(EPollReactor):
    """Twisted's epoll reactor inside the gateway's poller."""

    def __init__(self) -> None:
        super().__init__()
        self.poller = Poller(self)
        # An epoll set is readable while one of its members is ready.  Tests pin Twisted's name for it.
        self.poller.register(self._poller.fileno(), READABLE, self._serve_twisted)

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, ``timeout`` seconds at the most, and serve them."""
        self.poller.serve(timeout)

    doIteration = doPoll

    def _serve_twisted(self, events: int) -> None:
        super().doPoll(0)


def install() -> None:
    """Make a :class:`ConsoleReactor` the reactor of this process, if it is not one already.

    :raises twisted.internet.error.ReactorAlreadyInstalledError: when it is of another kind.
    """
    if not isinstance(getattr(twisted.internet, "reactor", None), ConsoleReactor):
        installReactor(ConsoleReactor())
