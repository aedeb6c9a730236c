"""The gateway's own reactor, and how its descriptors are served on any: with real sockets and time."""

from __future__ import annotations

import socket
from typing import Any

from twisted.application.reactors import IReactorInstaller
from twisted.internet import error, main
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor, IWriteDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.plugin import getPlugins
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway.net import ConsoleReactor, PolledReactor, Poller


@implementer(IReadDescriptor, IWriteDescriptor)
class Descriptor:
    """Does what it is told with an event, and writes it down."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.seen: list[str] = []
        self.answer: Any = None
        self.breaks = False
        self.lost: Failure | None = None

    def fileno(self) -> int:
        return self.sock.fileno()

    def logPrefix(self) -> str:
        return "test"

    def doRead(self) -> Any:
        self.seen.append("read")
        if self.breaks:
            raise ZeroDivisionError
        return self.answer

    def doWrite(self) -> Any:
        self.seen.append("write")
        return self.answer

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason


class ReactorCase(SynchronousTestCase):
    """Sockets, and a console reactor that is never run but turned by hand."""

    def setUp(self) -> None:
        self.reactor = ConsoleReactor()
        self.addCleanup(self.dispose, self.reactor)
        self.polled = PolledReactor(self.reactor, self.reactor.poller)
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.descriptor = Descriptor(self.near)

    def dispose(self, reactor: Any) -> None:
        reactor.removeAll()
        for reader in list(reactor._internalReaders):
            reader.connectionLost(None)

    def turn(self) -> None:
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0.05)


class PolledTests(ReactorCase):
    def test_it_provides_what_it_stands_in_for(self) -> None:
        verifyObject(IReactorFDSet, self.polled)
        verifyObject(IReactorTime, self.polled)
        self.assertIs(self.reactor.nameResolver, self.polled.nameResolver)

    def test_reading_and_writing(self) -> None:
        self.polled.addReader(self.descriptor)
        self.polled.addReader(self.descriptor)
        self.turn()
        self.assertEqual([], self.descriptor.seen)
        self.far.send(b"x")
        self.turn()
        self.polled.addWriter(self.descriptor)
        self.turn()
        self.polled.removeReader(self.descriptor)
        self.turn()
        self.polled.removeWriter(self.descriptor)
        self.polled.removeWriter(self.descriptor)
        self.turn()
        self.assertEqual(["read", "read", "write", "write"], self.descriptor.seen)

    def test_who_waits(self) -> None:
        self.polled.addReader(self.descriptor)
        other = Descriptor(self.far)
        self.polled.addWriter(other)
        self.assertEqual(([self.descriptor], [other]), (self.polled.getReaders(), self.polled.getWriters()))
        self.assertEqual([self.descriptor, other], self.polled.removeAll())
        self.assertEqual(([], []), (self.polled.getReaders(), self.polled.getWriters()))

    def test_a_descriptor_that_says_it_is_lost_is_told_so_and_let_go(self) -> None:
        self.polled.addReader(self.descriptor)
        self.polled.addWriter(self.descriptor)
        self.descriptor.answer = main.CONNECTION_DONE
        self.far.send(b"x")
        self.turn()
        self.turn()
        self.assertEqual(["read"], self.descriptor.seen)
        assert self.descriptor.lost is not None
        self.descriptor.lost.trap(error.ConnectionDone)

    def test_a_descriptor_that_breaks_is_logged_and_let_go(self) -> None:
        self.polled.addReader(self.descriptor)
        self.descriptor.breaks = True
        self.far.send(b"x")
        self.turn()
        self.turn()
        self.assertEqual(["read"], self.descriptor.seen)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        assert self.descriptor.lost is not None

    def test_a_dead_connection_is_told_to_whoever_only_writes(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        listener.close()
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.setblocking(False)
        sock.connect_ex(address)
        connecting = Descriptor(sock)
        self.polled.addWriter(connecting)
        self.turn()
        self.assertEqual([], connecting.seen)
        assert connecting.lost is not None
        connecting.lost.trap(error.ConnectionLost)


class ConsoleReactorTests(ReactorCase):
    def test_descriptors_of_twisted_are_served_beside_ours(self) -> None:
        self.polled.addReader(self.descriptor)
        heard: list[bytes] = []

        class Server(Protocol):
            def dataReceived(self, data: bytes) -> None:
                heard.append(data)

        port = self.reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1")
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(client.close)
        client.send(b"hello")
        self.far.send(b"x")
        for _ in range(6):
            self.turn()
        self.assertEqual([b"hello"], heard)
        self.assertEqual({"read"}, set(self.descriptor.seen))
        port.stopListening()

    def test_timers_and_calls_from_threads_end_the_waiting(self) -> None:
        called: list[str] = []
        self.reactor.callLater(0.01, called.append, "timer")
        self.reactor.callWhenRunning(
            self.reactor.callInThread, self.reactor.callFromThread, self.reactor.stop
        )
        self.reactor.callLater(20, called.append, "late")
        self.reactor.run(installSignalHandlers=False)
        self.assertNotIn("late", called)

    def test_the_name_of_twisteds_own_set(self) -> None:
        """Ours is the outer one: should Twisted rename it, this says so."""
        self.assertIsInstance(self.reactor._poller.fileno(), int)
        self.assertIsInstance(self.reactor, EPollReactor)

    def test_twistd_knows_it(self) -> None:
        installers: dict[str, Any] = {each.shortName: each for each in getPlugins(IReactorInstaller)}
        self.assertEqual("gateway.net.reactor", installers["consoles"].moduleName)


class ForeignReactorTests(SynchronousTestCase):
    def test_ours_are_served_on_any_other_reactor(self) -> None:
        reactor = SelectReactor()
        poller = Poller(reactor)
        poller.attach(reactor)
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        descriptor = Descriptor(near)
        descriptor.answer = main.CONNECTION_DONE
        PolledReactor(reactor, poller).addReader(descriptor)
        far.send(b"x")
        reactor.doIteration(0.05)
        self.assertEqual(["read"], descriptor.seen)
        poller.close()
        reactor.doIteration(0)
        reactor.removeAll()
        for reader in list(reactor._internalReaders):
            reader.connectionLost(None)
