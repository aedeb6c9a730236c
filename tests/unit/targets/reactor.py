"""A reactor with a clock set by hand, sockets that are served when they are ready, and invented names."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer


@implementer(IReactorFDSet)
class SocketReactor(Clock):
    """As much of a reactor as dialling needs; ``nameResolver`` answers from :attr:`names`."""

    def __init__(self) -> None:
        super().__init__()
        self._writers: list[Any] = []
        self.names: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.slow: list[Any] = []
        """Receivers of names that are never answered on their own."""

    @property
    def nameResolver(self) -> SocketReactor:
        return self

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.asked.append(hostName)
        resolutionReceiver.resolutionBegan(self)
        if hostName not in self.names:
            self.slow.append(resolutionReceiver)
        else:
            self.answer(resolutionReceiver, self.names[hostName])
        return self

    def answer(self, receiver: Any, addresses: list[str]) -> None:
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, 0))
        receiver.resolutionComplete()

    def addReader(self, reader: Any) -> None:
        raise AssertionError("nothing is to be read")

    def addWriter(self, writer: Any) -> None:
        self._writers.append(writer)

    def removeReader(self, reader: Any) -> None:
        pass

    def removeWriter(self, writer: Any) -> None:
        if writer in self._writers:
            assert writer.fileno() >= 0
            self._writers.remove(writer)

    def removeAll(self) -> list[Any]:
        writers, self._writers = self._writers, []
        return writers

    def getReaders(self) -> list[Any]:
        return []

    def getWriters(self) -> list[Any]:
        return list(self._writers)

    def wait(self, until: Callable[[], object]) -> None:
        """Serve sockets until ``until()`` is true."""
        deadline = time.monotonic() + 5
        while not until():
            assert time.monotonic() < deadline, "nothing more happens"
            poller = select.epoll()
            try:
                writers = {writer.fileno(): writer for writer in self._writers}
                for fd in writers:
                    poller.register(fd, select.EPOLLOUT)
                ready = poller.poll(0.01)
            finally:
                poller.close()
            for fd, events in ready:
                # As the epoll reactor does it.
                if events & (select.EPOLLHUP | select.EPOLLERR):
                    self.removeWriter(writers[fd])
                    writers[fd].connectionLost(Failure(error.ConnectionLost()))
                else:
                    writers[fd].doWrite()


def deaf_listener(case: SynchronousTestCase, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
    """The address of a listener whose queue is full: connecting to it takes for ever."""
    listener = socket.socket()
    case.addCleanup(listener.close)
    listener.bind((host, port))
    listener.listen(0)
    address: tuple[str, int] = listener.getsockname()
    for _ in range(2):
        filler = socket.socket()
        case.addCleanup(filler.close)
        filler.setblocking(False)
        filler.connect_ex(address)
    return address
