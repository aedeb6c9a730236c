"""The poller: dispatch, registration, and life with a real reactor."""

from __future__ import annotations

import functools
import select
import socket
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import Poller
from gateway.net.poller import GONE, PEER_CLOSED, READABLE, WRITABLE
from tests.unit.relay.wires import Reactor


class PollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.poller = Poller(self.reactor)
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.events: list[int] = []

    def test_events_reach_their_handler(self) -> None:
        self.poller.register(self.near.fileno(), READABLE, self.events.append)
        self.poller.serve(0)
        self.assertEqual([], self.events)
        self.far.send(b"x")
        self.poller.serve(0)
        self.poller.modify(self.near.fileno(), READABLE | WRITABLE)
        self.poller.serve(0)
        self.poller.modify(self.near.fileno(), 0)
        self.poller.serve(0)
        self.assertEqual([READABLE, READABLE | WRITABLE], self.events)

    def test_the_peers_end_is_told_when_asked_for_and_its_death_always(self) -> None:
        self.poller.register(self.near.fileno(), PEER_CLOSED, self.events.append)
        self.far.shutdown(socket.SHUT_WR)
        self.poller.serve(0)
        self.assertEqual([PEER_CLOSED], self.events)
        self.poller.modify(self.near.fileno(), 0)
        self.poller.serve(0)
        self.assertEqual([PEER_CLOSED], self.events)
        self.far.close()
        self.poller.serve(0)
        self.assertTrue(self.events[1] & GONE)

    def test_a_handler_that_fails_does_not_take_the_others_with_it(self) -> None:
        third, fourth = socket.socketpair()
        self.addCleanup(third.close)
        self.addCleanup(fourth.close)

        def fail(events: int) -> None:
            self.events.append(events)
            raise ZeroDivisionError

        for sock in (self.near, third):
            self.poller.register(sock.fileno(), WRITABLE, fail)
        self.poller.serve(0)
        self.assertEqual([WRITABLE, WRITABLE], self.events)
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_a_registration_ended_by_an_earlier_handler_is_not_served(self) -> None:
        def first_come(events: int) -> None:
            self.events.append(events)
            self.poller.unregister(self.near.fileno())
            self.poller.unregister(self.far.fileno())

        self.poller.register(self.near.fileno(), WRITABLE, first_come)
        self.poller.register(self.far.fileno(), WRITABLE, first_come)
        self.poller.serve(0)
        self.assertEqual(([WRITABLE], 0), (self.events, len(self.poller)))

    def test_a_descriptor_whose_number_is_used_again_is_not_told_of_the_old_ones_events(self) -> None:
        third, fourth = socket.socketpair()
        self.addCleanup(fourth.close)
        old = third.fileno()

        def first_come(own: int, other: int, events: int) -> None:
            # The other's number goes to a new connection, while its event waits in the batch.
            self.poller.unregister(own)
            self.poller.unregister(other)
            self.poller.register(other, READABLE, self.events.append)

        near = self.near.fileno()
        self.poller.register(near, WRITABLE, functools.partial(first_come, near, old))
        self.poller.register(old, WRITABLE, functools.partial(first_come, old, near))
        self.poller.serve(0)
        self.assertEqual([], self.events)
        fourth.send(b"x")
        self.far.send(b"x")
        self.poller.serve(0)
        self.assertEqual([READABLE], self.events)
        third.close()

    def test_waiting_ends_with_the_first_event(self) -> None:
        self.poller.register(self.near.fileno(), READABLE, self.events.append)
        self.assertFalse(self.poller.serve(0.001))
        self.far.send(b"x")
        self.assertTrue(self.poller.serve(None))
        self.assertEqual([READABLE], self.events)

    def test_close(self) -> None:
        self.poller.register(self.near.fileno(), WRITABLE, self.events.append)
        reactor: Any = self.reactor
        self.poller.attach(reactor)
        self.assertEqual([self.poller], self.reactor.readers)
        self.poller.close()
        self.assertEqual(([], 0, -1), (self.reactor.readers, len(self.poller), self.poller.fileno()))

    def test_more_events_than_one_batch_are_all_served_in_turn(self) -> None:
        pairs = [socket.socketpair() for _ in range(300)]
        served: set[int] = set()
        for near, far in pairs:
            self.addCleanup(near.close)
            self.addCleanup(far.close)
            fd = near.fileno()
            self.poller.register(fd, WRITABLE, lambda _, fd=fd: served.add(fd))  # type: ignore[misc]
        self.poller.serve(0)
        self.poller.serve(0)
        self.assertEqual({near.fileno() for near, _ in pairs}, served)

    def test_all_that_rest_share_a_timer(self) -> None:
        woken: list[str] = []
        self.poller.rest(functools.partial(woken.append, "first"))
        self.poller.rest(functools.partial(woken.append, "second"))
        self.assertEqual(1, len(self.reactor.getDelayedCalls()))
        self.reactor.advance(0.0004)
        self.assertEqual([], woken)
        self.reactor.advance(0.0002)
        self.assertEqual(["first", "second"], woken)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_nobody_is_woken_after_the_end(self) -> None:
        woken: list[str] = []
        self.poller.rest(functools.partial(woken.append, "late"))
        self.poller.close()
        self.reactor.advance(1)
        self.assertEqual([], woken)

    def test_what_becomes_ready_meanwhile_is_served_in_the_same_turn(self) -> None:
        def echo(sock: socket.socket, events: int) -> None:
            self.events.append(events)
            sock.send(sock.recv(1))

        for sock in (self.near, self.far):
            self.poller.register(sock.fileno(), READABLE, functools.partial(echo, sock))
        self.far.send(b"x")
        self.poller.doRead()
        self.assertEqual(8, len(self.events), "and no more rounds than that: the reactor has other work")


class RealReactorTests(SynchronousTestCase):
    def test_closed_by_one_of_its_own_handlers(self) -> None:
        """The last session to end at a shutdown closes the poller from within its event."""
        reactor = EPollReactor()
        poller = Poller(reactor)
        poller.attach(reactor)
        near, far = socket.socketpair()
        self.addCleanup(far.close)

        def last(events: int) -> None:
            poller.unregister(near.fileno())
            near.close()
            poller.close()

        poller.register(near.fileno(), READABLE, last)
        far.send(b"x")
        self.assertTrue(select.select([poller], [], [], 1)[0])
        reactor.doIteration(0.1)
        self.assertEqual(-1, near.fileno())
        self.assertEqual([], self.flushLoggedErrors())
        self.assertNotIn(poller, reactor.getReaders())
        reactor.removeAll()
        for reader in list(reactor._internalReaders):
            reader.connectionLost(None)
