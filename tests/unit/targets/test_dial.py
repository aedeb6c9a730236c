"""Dialling: names, policy, time, and what the log is told when it fails."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import defer
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import SocketChannel
from gateway.reasons import EndReason
from gateway.settings import TargetSettings
from gateway.targets import DestinationPolicy, Dialler, TargetError
from gateway.tickets import Target
from tests.unit.relay.remains import nothing_left
from tests.unit.targets.reactor import SocketReactor, deaf_listener

TIMEOUT = 10.0


class DialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = SocketReactor()
        self.settings: dict[str, Any] = {"networks": ("127.0.0.0/28", "::1/128"), "ports": ("1-65535",)}

    def listener(self, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.addCleanup(sock.close)
        sock.bind((host, port))
        sock.listen()
        sock.setblocking(False)
        return sock

    def dial(self, host: str, port: int) -> defer.Deferred[SocketChannel]:
        settings = TargetSettings(**self.settings)
        dialler = Dialler(self.reactor, DestinationPolicy(settings), settings.sockets, TIMEOUT)
        return defer.Deferred.fromCoroutine(dialler.dial(Target(host, port)))

    def assert_connects(self, host: str, listener: socket.socket, *, port: int | None = None) -> None:
        done = self.dial(host, port or listener.getsockname()[1])
        self.reactor.wait(lambda: done.called)
        channel = self.successResultOf(done)
        self.addCleanup(channel.close)
        far, _ = listener.accept()
        self.addCleanup(far.close)
        far.send(b"RFB 003.008\n")
        view = memoryview(bytearray(100))
        self.reactor.wait(lambda: channel.recv_into(view) == 12)
        self.assertEqual(b"RFB 003.008\n", view[:12])
        self.assert_over()

    def assert_fails(self, reason: EndReason, detail: str, done: defer.Deferred[SocketChannel]) -> None:
        self.reactor.wait(lambda: done.called)
        error = self.failureResultOf(done, TargetError).value
        self.assertEqual((reason, detail), (error.reason, str(error)))
        self.assert_over()

    def assert_over(self) -> None:
        # What was given up is closed in the next turn.
        self.reactor.advance(0)
        self.assertEqual(([], []), (self.reactor.getDelayedCalls(), self.reactor.getWriters()))

    # -- names and addresses -----------------------------------------------------

    def test_an_address(self) -> None:
        self.assert_connects("127.0.0.1", self.listener())
        self.assertEqual([], self.reactor.asked)

    def test_an_ipv6_address(self) -> None:
        try:
            listener = self.listener("::1")
        except OSError:
            self.skipTest("no IPv6 loopback here")
        self.assert_connects("::1", listener)

    def test_a_mapped_address(self) -> None:
        self.assert_connects("::ffff:127.0.0.1", self.listener())

    def test_the_address_that_was_checked_is_the_one_dialled(self) -> None:
        """A name that resolves to something else the next time is not asked a next time."""
        listener = self.listener("127.0.0.2")
        self.reactor.names["vm"] = ["127.0.0.2"]
        done = self.dial("vm", listener.getsockname()[1])
        self.reactor.names["vm"] = ["127.0.0.99"]
        self.reactor.wait(lambda: done.called)
        self.successResultOf(done).close()
        listener.accept()[0].close()
        self.assertEqual(["vm"], self.reactor.asked)

    def test_only_the_allowed_of_several_addresses_are_dialled(self) -> None:
        denied = self.listener("127.0.0.99")
        port = denied.getsockname()[1]
        allowed = self.listener("127.0.0.3", port)
        self.reactor.names["vm"] = ["127.0.0.99", "169.254.169.254", "127.0.0.3"]
        self.assert_connects("vm", allowed)
        self.assertRaises(BlockingIOError, denied.accept)

    def test_no_allowed_address(self) -> None:
        self.reactor.names["vm"] = ["127.0.0.99", "::ffff:169.254.169.254"]
        self.assert_fails(
            EndReason.TARGET_FORBIDDEN,
            "127.0.0.99 is in no network of targets.networks; "
            "169.254.169.254 is in no network of targets.networks",
            self.dial("vm", 5900),
        )

    def test_forbidden_names_and_ports_are_not_resolved(self) -> None:
        self.settings["names"] = ("*.example.com",)
        self.settings["ports"] = ("5900",)
        self.assert_fails(
            EndReason.TARGET_FORBIDDEN, "the name is not in targets.names", self.dial("vm", 5900)
        )
        self.assert_fails(
            EndReason.TARGET_FORBIDDEN, "port 22 is not in targets.ports", self.dial("a.example.com", 22)
        )
        self.assertEqual([], self.reactor.asked)

    def test_forbidden_addresses(self) -> None:
        for host in ("169.254.169.254", "::", "0.0.0.0", "::ffff:127.1.1.1", "fe80::1%lo", "10.0.0.1"):
            done = self.dial(host, 5900)
            self.assertEqual(EndReason.TARGET_FORBIDDEN, self.failureResultOf(done, TargetError).value.reason)
        self.assertEqual([], self.reactor.asked)

    def test_spellings_that_only_a_resolver_understands_are_judged_by_its_answer(self) -> None:
        for host in ("127.1.257", "2130772226", "0x7f.1.1.1", "localhost"):
            self.reactor.names[host] = ["127.1.1.1"]
            done = self.dial(host, 5900)
            self.assertEqual(EndReason.TARGET_FORBIDDEN, self.failureResultOf(done, TargetError).value.reason)

    def test_a_name_without_addresses(self) -> None:
        self.reactor.names["vm"] = []
        self.assert_fails(EndReason.TARGET_UNRESOLVED, "the name has no address", self.dial("vm", 5900))

    def test_so_many_addresses_are_tried_and_no_more(self) -> None:
        listener = self.listener("127.0.0.1")
        port = listener.getsockname()[1]
        self.settings["networks"] = ("127.0.0.0/8",)
        self.reactor.names["vm"] = [f"127.0.1.{n}" for n in range(1, 17)] + ["127.0.0.1"]
        self.assert_fails(EndReason.TARGET_REFUSED, "nothing listens there", self.dial("vm", port))

    # -- races and time ------------------------------------------------------------

    def test_refusals_go_on_to_the_next_address_at_once(self) -> None:
        listener = self.listener("127.0.0.4")
        self.reactor.names["vm"] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
        self.assert_connects("vm", listener)
        self.assertEqual(0, self.reactor.seconds())

    def test_an_address_that_does_not_answer_is_overtaken(self) -> None:
        listener = self.listener("127.0.0.4")
        port = listener.getsockname()[1]
        deaf_listener(self, "127.0.0.2", port)
        self.reactor.names["vm"] = ["127.0.0.2", "127.0.0.4"]
        done = self.dial("vm", port)
        self.assertNoResult(done)
        self.reactor.advance(0.25)
        self.reactor.wait(lambda: done.called)
        self.successResultOf(done).close()
        self.assertEqual("127.0.0.4", listener.accept()[0].getsockname()[0])
        self.assert_over()

    def test_ipv6_that_does_not_work_is_overtaken_by_ipv4(self) -> None:
        self.reactor.names["vm"] = ["::1", "127.0.0.4"]
        self.assert_connects("vm", self.listener("127.0.0.4"))

    def test_refused(self) -> None:
        listener = self.listener()
        port = listener.getsockname()[1]
        listener.close()
        self.assert_fails(EndReason.TARGET_REFUSED, "nothing listens there", self.dial("127.0.0.1", port))
        self.assertEqual(0, self.reactor.seconds())

    def test_no_answer(self) -> None:
        host, port = deaf_listener(self)
        before = len(os.listdir("/proc/self/fd"))
        done = self.dial(host, port)
        self.reactor.advance(TIMEOUT - 0.01)
        self.assertNoResult(done)
        self.reactor.advance(0.01)
        self.assert_fails(EndReason.TARGET_TIMEOUT, "no connection after 10 s", done)
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))

    def test_a_resolver_that_does_not_answer(self) -> None:
        done = self.dial("vm", 5900)
        self.reactor.advance(TIMEOUT)
        self.assert_fails(EndReason.TARGET_TIMEOUT, "no connection after 10 s", done)
        # The late answer finds nobody.
        self.reactor.answer(self.reactor.slow[0], ["127.0.0.1"])
        self.assert_over()

    def test_resolving_and_connecting_share_the_time(self) -> None:
        host, port = deaf_listener(self)
        done = self.dial("vm", port)
        self.reactor.advance(TIMEOUT - 1)
        self.reactor.answer(self.reactor.slow[0], [host])
        self.assertNoResult(done)
        self.reactor.advance(1)
        self.assert_fails(EndReason.TARGET_TIMEOUT, "no connection after 10 s", done)

    def test_the_kernels_own_timeout(self) -> None:
        from gateway.targets import dial

        def times_out(*args: object) -> defer.Deferred[socket.socket]:
            return defer.fail(OSError(110, "Connection timed out"))

        self.patch(dial, "connect", times_out)
        self.assert_fails(EndReason.TARGET_TIMEOUT, "no answer", self.dial("127.0.0.1", 5900))

    def test_other_failures_name_their_cause(self) -> None:
        from gateway.targets import dial

        for number, name in ((113, "EHOSTUNREACH"), (101, "ENETUNREACH"), (24, "EMFILE"), (13, "EACCES")):
            self.patch(dial, "connect", lambda *args, number=number: defer.fail(OSError(number, "text")))
            self.assert_fails(
                EndReason.TARGET_UNREACHABLE, f"cannot connect ({name})", self.dial("127.0.0.1", 5900)
            )

    def test_cancelling(self) -> None:
        host, port = deaf_listener(self)
        before = len(os.listdir("/proc/self/fd"))
        for name in (host, "vm"):
            done = self.dial(name, port)
            done.cancel()
            self.failureResultOf(done, defer.CancelledError)
            self.assert_over()
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))

    # -- Unix sockets ----------------------------------------------------------------

    def unix(self, path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.bind(path)
        sock.listen()
        sock.setblocking(False)
        return sock

    def test_unix_sockets(self) -> None:
        path = os.path.abspath("vm.sock")
        listener = self.unix(path)
        self.settings["sockets"] = {"vm7.example.com:5900": path}
        self.settings["names"] = ("nothing.else",)
        self.assert_connects("vm7.example.com", listener, port=5900)
        self.assertEqual([], self.reactor.asked)
        done = self.dial("vm7.example.com", 5901)
        self.failureResultOf(done, TargetError)

    def test_unix_sockets_are_found_however_their_key_is_spelt(self) -> None:
        path = os.path.abspath("vm.sock")
        listener = self.unix(path)
        for key, host in (
            ("VM7.Example.COM:5900", "vm7.example.com"),
            ("[2001:DB8:0::7]:5900", "2001:db8::7"),
            ("192.0.2.7:5900", "192.0.2.7"),
        ):
            self.settings["sockets"] = {key: path}
            self.assert_connects(host, listener, port=5900)

    def test_missing_unix_socket(self) -> None:
        self.settings["sockets"] = {"vm:5900": os.path.abspath("missing.sock")}
        self.assert_fails(EndReason.TARGET_UNREACHABLE, "cannot connect (ENOENT)", self.dial("vm", 5900))

    # -- remains -----------------------------------------------------------------------

    def test_nothing_is_left(self) -> None:
        listener = self.listener()
        kinds = {"_Race", "_Connecting", "_Collector", "SocketChannel", "Deferred"}
        self.reactor.names["vm"] = ["127.0.0.1"]
        for host in ("127.0.0.1", "vm"):
            with nothing_left(self, kinds, host):
                self.connect_and_close(host, listener)

    def connect_and_close(self, host: str, listener: socket.socket) -> None:
        done = self.dial(host, listener.getsockname()[1])
        self.reactor.wait(lambda: done.called)
        self.successResultOf(done).close()
        listener.accept()[0].close()
