"""Targets that are told who the client is: what they get before anything else."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IWriteDescriptor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.net import LOCAL_HEADER, ProxyDecoder, ProxyHeader, SocketChannel, ip_address
from gateway.reasons import EndReason
from gateway.settings import TargetSettings
from gateway.targets import DestinationPolicy, Dialler, TargetError
from gateway.targets.connect import _Sending, send_first
from gateway.tickets import Target
from tests.support.proxies import SIGNATURE
from tests.unit.relay.remains import nothing_left
from tests.unit.targets.reactor import SocketReactor

CLIENT = IPv4Address("TCP", "198.51.100.7", 56324)
HERE = IPv4Address("TCP", "192.0.2.11", 443)
TIMEOUT = 10.0


class DialProxyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = SocketReactor()
        self.settings: dict[str, Any] = {
            "networks": ("127.0.0.0/28", "::1/128"),
            "ports": ("1-65535",),
            "proxy_protocol": ("127.0.0.1", "::1", "*.lab.example.com", "vm:5900"),
        }
        self.reactor.names = {
            "vm.lab.example.com": ["127.0.0.1"],
            "VM.lab.example.com": ["127.0.0.1"],
            "vm": ["127.0.0.1"],
        }

    def listener(self, host: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.addCleanup(sock.close)
        sock.bind((host, 0))
        sock.listen()
        return sock

    def dial(self, host: str, port: int, on_behalf_of: ProxyHeader | None) -> defer.Deferred[SocketChannel]:
        settings = TargetSettings(**self.settings)
        dialler = Dialler(
            self.reactor,
            DestinationPolicy(settings),
            settings.sockets,
            TIMEOUT,
            proxy_protocol=settings.proxy_protocol,
        )
        return defer.Deferred.fromCoroutine(dialler.dial(Target(host, port), on_behalf_of))

    def told(
        self,
        on_behalf_of: ProxyHeader | None,
        *,
        host: str = "127.0.0.1",
        listener: socket.socket | None = None,
        port: int = 0,
    ) -> bytes:
        """What a target hears before the gateway closes the connection."""
        listener = listener or self.listener()
        done = self.dial(host, port or listener.getsockname()[1], on_behalf_of)
        self.reactor.wait(lambda: done.called)
        self.successResultOf(done).close()
        self.reactor.advance(0)
        self.assertEqual(([], []), (self.reactor.getDelayedCalls(), self.reactor.getWriters()))
        with listener.accept()[0] as far:
            far.settimeout(5)
            return b"".join(iter(lambda: far.recv(100), b""))

    def header(self, data: bytes) -> ProxyHeader:
        """What a target was told, and that it was nothing else."""
        decoder = ProxyDecoder()
        self.assertEqual(len(data), decoder.feed(data))
        self.assertTrue(data.startswith(SIGNATURE))
        assert decoder.header is not None
        return decoder.header

    def test_client_and_listener(self) -> None:
        for client in (
            ProxyHeader(CLIENT, HERE),
            ProxyHeader(IPv6Address("TCP", "2001:db8::7", 1), IPv6Address("TCP", "2001:db8::11", 2)),
            ProxyHeader(IPv4Address("TCP", "198.51.100.7", 0), IPv6Address("TCP", "::1", 2)),
        ):
            self.assertEqual(client, self.header(self.told(client)))

    def test_over_ipv6(self) -> None:
        try:
            listener = self.listener("::1")
        except OSError:
            self.skipTest("no IPv6 loopback here")
        client = ProxyHeader(CLIENT, HERE)
        self.assertEqual(client, self.header(self.told(client, host="::1", listener=listener)))

    def test_who_is_told(self) -> None:
        client = ProxyHeader(CLIENT, HERE)
        self.assertEqual(client, self.header(self.told(client, host="VM.lab.example.com")))
        self.settings["proxy_protocol"] = ("vm:5900", "127.0.0.2", "*.vm.lab.example.com", "192.0.2.0/24")
        for host in ("vm.lab.example.com", "vm", "127.0.0.1"):
            self.assertEqual(b"", self.told(client, host=host))
        self.settings["proxy_protocol"] = ()
        self.assertEqual(b"", self.told(client))

    def test_a_client_on_a_unix_socket(self) -> None:
        unix = UNIXAddress(None)
        self.assertEqual(ProxyHeader(), self.header(self.told(ProxyHeader(unix, unix))))

    def test_a_client_behind_a_proxy_on_a_unix_socket(self) -> None:
        listener = self.listener()
        for destination in (UNIXAddress("/run/x.sock"), None):
            told = self.told(ProxyHeader(CLIENT, destination), listener=listener)
            self.assertEqual(ProxyHeader(CLIENT, ip_address(*listener.getsockname())), self.header(told))

    def test_the_gateway_itself(self) -> None:
        self.assertEqual(LOCAL_HEADER, self.told(None))

    def test_targets_on_unix_sockets(self) -> None:
        path = os.path.abspath("vm.sock")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        self.settings["sockets"] = {"vm:5900": path, "vm:5901": path}
        client, unix = ProxyHeader(CLIENT, HERE), ProxyHeader(CLIENT, UNIXAddress(None))
        self.assertEqual(client, self.header(self.told(client, host="vm", listener=listener, port=5900)))
        self.assertEqual(
            ProxyHeader(CLIENT, IPv4Address("TCP", "0.0.0.0", 0)),
            self.header(self.told(unix, host="vm", listener=listener, port=5900)),
        )
        self.assertEqual(b"", self.told(client, host="vm", listener=listener, port=5901))

    def test_a_target_that_has_left(self) -> None:
        # Nothing listens, so that there is nobody to tell.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        done = self.dial("127.0.0.1", port, ProxyHeader(CLIENT, HERE))
        self.reactor.wait(lambda: done.called)
        self.assertIs(EndReason.TARGET_REFUSED, self.failureResultOf(done, TargetError).value.reason)

    def test_nothing_is_left(self) -> None:
        listener = self.listener()
        with nothing_left(self, {"_Sending", "_Connecting", "_Race", "SocketChannel", "Deferred"}, "dial"):
            self.told(ProxyHeader(CLIENT, HERE), listener=listener)


class SendTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = SocketReactor()
        self.near, self.far = socket.socketpair()
        for sock in (self.near, self.far):
            self.addCleanup(sock.close)
            sock.setblocking(False)

    def fill(self) -> int:
        """Leave no room in the socket; returns how much is in it."""
        size = 0
        try:
            while True:
                size += self.near.send(bytes(4096))
        except BlockingIOError:
            return size

    def test_at_once(self) -> None:
        self.assertIs(self.near, self.successResultOf(send_first(self.reactor, self.near, b"abc")))
        self.assertEqual(b"abc", self.far.recv(10))
        self.assertEqual([], self.reactor.getWriters())

    def test_when_there_is_room(self) -> None:
        filled, data = self.fill(), b"abc" * 200000
        done = send_first(self.reactor, self.near, data)
        self.assertNoResult(done)
        received = b""

        def drain() -> bool:
            nonlocal received
            with contextlib.suppress(BlockingIOError):
                received += self.far.recv(1 << 16)
            return done.called

        self.reactor.wait(drain)
        while len(received) < filled + len(data):
            received += self.far.recv(1 << 16)
        self.assertEqual(data, received[filled:])
        self.assertIs(self.near, self.successResultOf(done))
        self.assertEqual([], self.reactor.getWriters())

    def test_cancelled(self) -> None:
        self.fill()
        done = send_first(self.reactor, self.near, b"abc")
        done.cancel()
        self.failureResultOf(done, defer.CancelledError)
        self.assertEqual([], self.reactor.getWriters())
        self.reactor.advance(0)
        self.assertEqual(-1, self.near.fileno())

    def test_broken(self) -> None:
        self.far.close()
        error = self.failureResultOf(send_first(self.reactor, self.near, b"abc"), OSError).value
        self.assertEqual(errno.EPIPE, error.errno)
        self.assertEqual(-1, self.near.fileno())

    def test_broken_meanwhile(self) -> None:
        self.fill()
        done = send_first(self.reactor, self.near, b"abc")
        self.far.close()
        self.reactor.wait(lambda: done.called)
        self.failureResultOf(done, OSError)
        self.assertEqual([], self.reactor.getWriters())
        self.assertEqual(-1, self.near.fileno())

    def test_interface(self) -> None:
        self.fill()
        sending = _Sending(self.reactor, self.near, b"abc")
        verifyObject(IWriteDescriptor, sending)
        self.assertEqual((self.near.fileno(), "send"), (sending.fileno(), sending.logPrefix()))
        sending.done.addErrback(lambda failure: failure.trap(defer.CancelledError))
        sending.done.cancel()
        self.assertEqual(-1, sending.fileno())
