"""The gateway's own descriptors, polled together with the relay's sockets.

Listeners, opening handshakes and dials ask a reactor for their events.  This
one takes them from the :class:`~gateway.net.poller.Poller`, which costs a
fraction of a reactor's own bookkeeping, and leaves everything else to the real
reactor: time, names, and the descriptors of others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import main
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.net.poller import GONE, READABLE, WRITABLE, Poller

__all__ = ["PolledReactor"]


@implementer(IReactorFDSet, IReactorTime)
class PolledReactor:
    """Stands in for a reactor wherever the gateway waits for a descriptor of its own."""

    log = Logger()

    def __init__(self, reactor: Any, poller: Poller) -> None:
        """:param reactor: provides ``IReactorTime``, and ``IReactorPluggableNameResolver`` for names."""
        self._reactor = reactor
        self._poller = poller
        self._wanted: dict[Any, tuple[int, int]] = {}
        self.callLater: Callable[..., Any] = reactor.callLater
        self.seconds: Callable[[], float] = reactor.seconds
        self.getDelayedCalls: Callable[[], Any] = reactor.getDelayedCalls

    @property
    def nameResolver(self) -> Any:
        """The real reactor's."""
        return self._reactor.nameResolver

    def addReader(self, reader: IReadDescriptor) -> None:
        """Call ``doRead`` when there is something to read."""
        self._want(reader, READABLE, 0)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """Call ``doWrite`` when there is room to write."""
        self._want(writer, WRITABLE, 0)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Call ``doRead`` no more."""
        self._want(reader, 0, READABLE)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Call ``doWrite`` no more."""
        self._want(writer, 0, WRITABLE)

    def removeAll(self) -> list[Any]:
        """Forget every descriptor, and return them."""
        everything = list(self._wanted)
        for descriptor in everything:
            self._want(descriptor, 0, READABLE | WRITABLE)
        return everything

    def getReaders(self) -> list[Any]:
        """Who waits to read."""
        return [descriptor for descriptor, (_, events) in self._wanted.items() if events & READABLE]

    def getWriters(self) -> list[Any]:
        """Who waits to write."""
        return [descriptor for descriptor, (_, events) in self._wanted.items() if events & WRITABLE]

    def _want(self, descriptor: Any, more: int, less: int) -> None:
        fd, before = self._wanted.get(descriptor, (-1, 0))
        events = (before | more) & ~less
        if events == before:
            return
        if not before:
            fd = descriptor.fileno()
            self._poller.register(fd, events, partial(self._serve, descriptor))
        elif events:
            self._poller.modify(fd, events)
        else:
            del self._wanted[descriptor]
            self._poller.unregister(fd)
            return
        self._wanted[descriptor] = fd, events

    def _serve(self, descriptor: Any, events: int) -> None:
        """What reactors do with an event (see ``twisted.internet.posixbase``)."""
        why: Any = None
        try:
            if events & GONE and not events & READABLE:
                why = main.CONNECTION_LOST
            if events & READABLE:
                why = descriptor.doRead()
            if why is None and events & WRITABLE and descriptor in self._wanted:
                why = descriptor.doWrite()
        except Exception as error:
            self.log.failure("Unexpected error in an event")
            why = error
        if why is not None:
            self._want(descriptor, 0, READABLE | WRITABLE)
            descriptor.connectionLost(Failure(why))
