"""Connecting without blocking, and racing attempts."""

from __future__ import annotations

import errno
import os
import socket

from twisted.internet import defer, error
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.targets.connect import ATTEMPT_DELAY, connect, first_of
from tests.unit.targets.reactor import SocketReactor, deaf_listener


class ConnectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = SocketReactor()

    def listener(self, family: socket.AddressFamily, address: object) -> socket.socket:
        sock = socket.socket(family)
        self.addCleanup(sock.close)
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen()
        return sock

    def check_connected(self, listener: socket.socket) -> None:
        done = connect(self.reactor, listener.family, listener.getsockname())
        self.reactor.wait(lambda: done.called)
        sock = self.successResultOf(done)
        self.addCleanup(sock.close)
        self.assertEqual(0.0, sock.gettimeout())
        self.assertEqual([], self.reactor.getWriters())
        far, _ = listener.accept()
        self.addCleanup(far.close)
        far.send(b"RFB")
        self.reactor.wait(lambda: self.readable(sock))
        self.assertEqual(b"RFB", sock.recv(10))

    def readable(self, sock: socket.socket) -> bool:
        try:
            return bool(sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    def test_tcp(self) -> None:
        self.check_connected(self.listener(socket.AF_INET, ("127.0.0.1", 0)))

    def test_ipv6(self) -> None:
        try:
            listener = self.listener(socket.AF_INET6, ("::1", 0))
        except OSError:
            self.skipTest("no IPv6 loopback here")
        self.check_connected(listener)

    def test_unix(self) -> None:
        self.check_connected(self.listener(socket.AF_UNIX, os.path.abspath("console.sock")))

    def assert_fails(self, number: int | None, family: socket.AddressFamily, address: object) -> None:
        before = len(os.listdir("/proc/self/fd"))
        done = connect(self.reactor, family, address)
        self.reactor.wait(lambda: done.called)
        failure = self.failureResultOf(done, OSError)
        self.assertEqual(number, failure.value.errno)
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
        self.assertEqual([], self.reactor.getWriters())

    def test_refused(self) -> None:
        listener = self.listener(socket.AF_INET, ("127.0.0.1", 0))
        address = listener.getsockname()
        listener.close()
        self.assert_fails(errno.ECONNREFUSED, socket.AF_INET, address)

    def test_paths_that_lead_nowhere(self) -> None:
        self.assert_fails(errno.ENOENT, socket.AF_UNIX, os.path.abspath("missing.sock"))
        self.listener(socket.AF_UNIX, "left.sock").close()
        self.assert_fails(errno.ECONNREFUSED, socket.AF_UNIX, os.path.abspath("left.sock"))
        self.assert_fails(None, socket.AF_UNIX, "/" + "x" * 200)

    def test_no_descriptors_left(self) -> None:
        def no_socket(*args: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(socket, "socket", no_socket)
        failure = self.failureResultOf(connect(self.reactor, socket.AF_INET, ("127.0.0.1", 1)), OSError)
        self.assertEqual(errno.EMFILE, failure.value.errno)

    def test_cancelling_closes_the_socket(self) -> None:
        address = deaf_listener(self)
        before = len(os.listdir("/proc/self/fd"))
        done = connect(self.reactor, socket.AF_INET, address)
        self.assertEqual(before + 1, len(os.listdir("/proc/self/fd")))
        self.assertNoResult(done)
        done.cancel()
        self.failureResultOf(done, defer.CancelledError)
        self.assertEqual([], self.reactor.getWriters())
        # An event for this descriptor may be on its way: its number must not be free in this turn.
        self.assertEqual(before + 1, len(os.listdir("/proc/self/fd")))
        self.reactor.advance(0)
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))

    def test_a_reactor_that_shuts_down_is_no_success(self) -> None:
        done = connect(self.reactor, socket.AF_INET, deaf_listener(self))
        (writer,) = self.reactor.getWriters()
        self.assertEqual("connect", writer.logPrefix())
        for _ in range(2):
            writer.connectionLost(Failure(error.ConnectionLost()))
        self.assertEqual(errno.ECONNABORTED, self.failureResultOf(done, OSError).value.errno)
        self.assertEqual(-1, writer.fileno())


class RaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[tuple[str, float]] = []
        self.cancelled: list[str] = []
        self.attempts: dict[str, defer.Deferred[socket.socket]] = {}
        self.sock = socket.socket()
        self.addCleanup(self.sock.close)

    def race(self, names: str) -> defer.Deferred[socket.socket]:
        def attempt(name: str) -> defer.Deferred[socket.socket]:
            self.begun.append((name, self.clock.seconds()))
            running: defer.Deferred[socket.socket] = defer.Deferred(lambda _: self.cancelled.append(name))
            self.attempts[name] = running
            if name.isupper():
                running.errback(OSError(errno.ENETUNREACH, name))
            return running

        return first_of(self.clock, [lambda name=name: attempt(name) for name in names])  # type: ignore[misc]

    def refuse(self, name: str, number: int = errno.ECONNREFUSED) -> None:
        self.attempts[name].errback(OSError(number, name))

    def assert_over(self) -> None:
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_one_that_succeeds(self) -> None:
        won = self.race("a")
        self.attempts["a"].callback(self.sock)
        self.assertIs(self.sock, self.successResultOf(won))
        self.assert_over()

    def test_one_that_fails_fails_at_once(self) -> None:
        won = self.race("a")
        self.refuse("a")
        self.failureResultOf(won, ConnectionRefusedError)
        self.assert_over()

    def test_the_next_begins_after_the_delay(self) -> None:
        won = self.race("abc")
        self.clock.advance(ATTEMPT_DELAY - 0.01)
        self.assertEqual([("a", 0)], self.begun)
        self.clock.advance(0.01)
        self.assertEqual([("a", 0), ("b", ATTEMPT_DELAY)], self.begun)
        self.attempts["b"].callback(self.sock)
        self.assertIs(self.sock, self.successResultOf(won))
        self.assertEqual(["a"], self.cancelled)
        self.clock.advance(10)
        self.assertEqual(2, len(self.begun))
        self.assert_over()

    def test_an_earlier_attempt_may_still_win(self) -> None:
        won = self.race("ab")
        self.clock.advance(ATTEMPT_DELAY)
        self.attempts["a"].callback(self.sock)
        self.assertIs(self.sock, self.successResultOf(won))
        self.assertEqual(["b"], self.cancelled)
        self.assert_over()

    def test_the_next_begins_at_once_when_one_fails(self) -> None:
        won = self.race("abc")
        self.clock.advance(0.1)
        self.refuse("a")
        self.assertEqual([("a", 0), ("b", 0.1)], self.begun)
        self.clock.advance(ATTEMPT_DELAY - 0.01)
        self.assertEqual(2, len(self.begun))
        self.clock.advance(0.01)
        self.assertEqual(3, len(self.begun))
        self.refuse("b")
        self.assertNoResult(won)
        self.refuse("c")
        self.failureResultOf(won, ConnectionRefusedError)
        self.assert_over()

    def test_a_refusal_says_most(self) -> None:
        won = self.race("aB")
        self.refuse("a")
        self.assertEqual("a", self.failureResultOf(won, ConnectionRefusedError).value.strerror)
        won = self.race("Ab")
        self.refuse("b")
        self.assertEqual("b", self.failureResultOf(won, ConnectionRefusedError).value.strerror)

    def test_all_that_fail_at_once(self) -> None:
        self.failureResultOf(self.race("ABCDEFGHIJKLMNOP"), OSError)
        self.assertEqual(16, len(self.begun))
        self.assert_over()

    def test_cancelling_stops_everything(self) -> None:
        won = self.race("abc")
        self.clock.advance(ATTEMPT_DELAY)
        won.cancel()
        self.failureResultOf(won, defer.CancelledError)
        self.assertEqual(["a", "b"], self.cancelled)
        self.assertEqual(2, len(self.begun))
        self.assert_over()
