"""Connections of proxies, from acceptance to the first byte that is the client's."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IReadDescriptor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.net import (
    LOCAL_HEADER,
    Announced,
    Arrival,
    NotAnnounced,
    Reception,
    TrustedProxies,
    client_text,
    load_identity,
    server_context,
)
from gateway.net.reception import Visit
from gateway.settings import ProxySettings, TlsSettings
from tests.support.proxies import binary_header, text_header
from tests.support.reactor import HandReactor
from tests.unit.net.samples import certificate, key, pem, write
from tests.unit.net.test_stream import Recorder

CLIENT = ("198.51.100.7", 56324)
HERE = ("192.0.2.11", 443)
TIMEOUT = 10.0


class Keeper:
    """Lets in everybody, and notes what it hears."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.ended = 0
        self.turned_away: list[tuple[str, NotAnnounced, str]] = []
        self.too_many: list[str] = []

    def enter(self, client: str) -> Visit | None:
        self.entered.append(client)
        return self

    def prove(self) -> None:
        pass

    def end(self) -> None:
        self.ended += 1

    def full(self, client: str) -> None:
        self.too_many.append(client)

    def unannounced(self, client: str, why: NotAnnounced, detail: str) -> None:
        self.turned_away.append((client, why, detail))


class ProxiedTestCase(SynchronousTestCase):
    proxies = ProxySettings(networks=("127.0.0.0/8",))
    context: SSL.Context | None = None

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.keeper = Keeper()
        self.arrived: list[tuple[Arrival, Recorder]] = []
        self.reception = self.make(self.proxies)

    def make(self, proxies: ProxySettings) -> Reception:
        self.announced = Announced(self.reactor, TrustedProxies(proxies), TIMEOUT, self.keeper.unannounced)
        return Reception(
            self.reactor,
            self.welcome,
            name="limits.handshakes",
            limit=3,
            handshake_timeout=TIMEOUT,
            context=lambda: self.context or self.fail("no TLS here"),
            doorkeeper=self.keeper,
            announced=self.announced,
        )

    def welcome(self, arrival: Arrival) -> Recorder:
        protocol = Recorder()
        self.arrived.append((arrival, protocol))
        return protocol

    def connect(
        self, early: bytes = b"", *, tls: bool = False, announced: bool = True, host: str = "127.0.0.1"
    ) -> socket.socket:
        """A connection that has sent something before it is accepted."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as listener:
            client = socket.create_connection(listener.getsockname()[:2])
            client.sendall(early)
            served, address = listener.accept()
        client.settimeout(5)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for sock in (client, served):
            self.addCleanup(sock.close)
        self.reception.accept(served, address, tls=tls, announced=announced)
        return client

    def arrival(self) -> tuple[Arrival, Recorder]:
        """The only connection that was welcomed."""
        self.assertEqual(1, len(self.arrived))
        return self.arrived[0]

    def assert_closed(self, client: socket.socket, why: NotAnnounced | None, detail: str = "") -> None:
        """The connection is gone, without a word."""
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(b"", client.recv(100))
        self.assertEqual([], self.arrived)
        self.assertEqual([] if why is None else [("127.0.0.1", why, detail)], self.keeper.turned_away)
        self.assert_over()

    def assert_over(self) -> None:
        self.assertEqual(0, self.reception.open)
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertEqual(set(), self.reactor.readers | self.reactor.writers)


class PlainTests(ProxiedTestCase):
    def test_the_client_is_who_the_header_says(self) -> None:
        for header in (text_header(CLIENT, HERE), binary_header(CLIENT, HERE, checksum=True)):
            client = self.connect(header + b"GET")
            arrival, protocol = self.arrival()
            self.assertEqual(IPv4Address("TCP", *CLIENT), arrival.stream.getPeer())
            self.assertEqual(IPv4Address("TCP", *HERE), arrival.stream.getHost())
            self.assertEqual([CLIENT[0]], self.keeper.entered)
            self.reactor.serve()
            client.sendall(b" / HTTP/1.1\r\n")
            self.reactor.serve()
            self.assertEqual(b"GET / HTTP/1.1\r\n", protocol.received)
            self.reception.close()
            self.assert_over()
            self.arrived.clear()
            self.keeper.entered.clear()

    def test_over_ipv6(self) -> None:
        self.reception = self.make(ProxySettings(networks=("::1/128",)))
        try:
            self.connect(text_header(("2001:db8::1", 5), ("::1", 443)), host="::1")
        except OSError:
            self.skipTest("no IPv6 loopback here")
        self.assertEqual(IPv6Address("TCP", "2001:db8::1", 5), self.arrival()[0].stream.getPeer())

    def test_in_pieces(self) -> None:
        header = binary_header(CLIENT, HERE, extensions=[(4, b"\r\n" * 20)])
        client = self.connect()
        self.assertEqual(1, self.reception.open)
        for at in range(len(header)):
            self.assertEqual([], self.arrived)
            client.sendall(header[at : at + 1])
            self.reactor.serve()
        self.assertEqual(CLIENT[0], client_text(self.arrival()[0].stream.getPeer()))
        self.assertEqual(1, self.reception.open)
        client.close()
        self.reactor.serve()
        self.reactor.advance(2)
        self.assertEqual(1, self.keeper.ended)
        self.assert_over()

    def test_a_proxy_that_speaks_for_itself(self) -> None:
        for header in (LOCAL_HEADER, b"PROXY UNKNOWN\r\n"):
            client = self.connect(header)
            peer = self.arrival()[0].stream.getPeer()
            self.assertEqual(client.getsockname(), (peer.host, peer.port))  # type: ignore[attr-defined]
            host = self.arrival()[0].stream.getHost()
            self.assertEqual(client.getpeername(), (host.host, host.port))  # type: ignore[attr-defined]
            self.reception.close()
            self.arrived.clear()

    def test_without_a_header(self) -> None:
        self.assert_closed(self.connect(b"GET / HTTP/1.1\r\n\r\n"), NotAnnounced.MALFORMED, "there is none")

    def test_a_malformed_header_in_pieces(self) -> None:
        client = self.connect(b"PROXY TCP4 192.0.2.1")
        self.reactor.serve()
        client.sendall(b" 192.0.2.2 1 99999\r\n")
        self.reactor.serve()
        self.assert_closed(client, NotAnnounced.MALFORMED, "the line has no valid port")

    def test_nothing_in_time(self) -> None:
        client = self.connect(b"PROXY TCP4")
        self.reactor.advance(TIMEOUT / 2)
        client.sendall(b" ")
        self.reactor.serve()
        self.reactor.advance(TIMEOUT / 2)
        self.assert_closed(client, NotAnnounced.TIMEOUT)

    def test_an_early_end(self) -> None:
        client = self.connect(b"PROXY TCP4")
        client.shutdown(socket.SHUT_WR)
        self.reactor.serve()
        self.assert_closed(client, NotAnnounced.MALFORMED, "it ended too early")

    def test_somebody_who_only_looks_whether_it_is_open(self) -> None:
        client = self.connect()
        client.shutdown(socket.SHUT_WR)
        self.reactor.serve()
        self.assert_closed(client, None)

    def test_a_reset(self) -> None:
        client = self.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.reactor.serve()
        self.assertEqual([], self.keeper.turned_away)
        self.assert_over()

    def test_an_untrusted_address(self) -> None:
        self.reception = self.make(ProxySettings(networks=("192.0.2.0/24", "::/1"), unix=True))
        self.assert_closed(self.connect(text_header(("192.0.2.1", 1), HERE)), NotAnnounced.UNTRUSTED)
        self.assertEqual([], self.keeper.entered)

    def test_where_no_header_is_asked_for(self) -> None:
        # It is what everybody may send: the first bytes of a request.
        client = self.connect(text_header(CLIENT, HERE), announced=False)
        arrival, protocol = self.arrival()
        self.reactor.serve()
        self.assertEqual("127.0.0.1", client_text(arrival.stream.getPeer()))
        self.assertEqual(text_header(CLIENT, HERE), protocol.received)
        client.close()

    def test_those_that_wait_count(self) -> None:
        waiting = [self.connect() for _ in range(3)]
        self.assertEqual(3, self.reception.open)
        self.connect(text_header(CLIENT, HERE))
        self.assertEqual([], self.arrived)
        self.assertEqual(["127.0.0.1"], self.keeper.too_many)
        waiting[0].sendall(text_header(CLIENT, HERE))
        self.reactor.serve()
        self.arrival()
        self.assertEqual(3, self.reception.open)
        self.reception.close()
        self.assert_over()

    def test_a_defect_behind_the_header_leaks_nothing(self) -> None:
        def welcome(arrival: Arrival) -> Recorder:
            raise ZeroDivisionError

        self.reception._welcome = welcome
        client = self.connect()
        client.sendall(text_header(CLIENT, HERE))
        self.assertRaises(ZeroDivisionError, self.reactor.serve)
        self.assertRaises(ConnectionResetError, client.recv, 1)
        self.assertTrue(self.keeper.ended)
        self.assert_over()

    @settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=25)
    @given(st.binary(min_size=1, max_size=80), st.lists(st.integers(1, 40), min_size=1, max_size=6))
    def test_not_a_byte_is_lost(self, behind: bytes, cuts: list[int]) -> None:
        stream = binary_header(CLIENT, HERE, extensions=[(4, behind)], checksum=True) + behind
        client = self.connect()
        while stream:
            cut = cuts.pop() if cuts else len(stream)
            client.sendall(stream[:cut])
            stream = stream[cut:]
            self.reactor.serve()
        self.reactor.serve()
        self.assertEqual(behind, self.arrival()[1].received)
        self.reception.close()
        self.arrived.clear()
        client.close()


class UnixTests(ProxiedTestCase):
    def accept(self, data: bytes) -> socket.socket:
        served, client = socket.socketpair()
        client.settimeout(5)
        for sock in (client, served):
            self.addCleanup(sock.close)
        client.sendall(data)
        self.reception.accept(served, "", tls=False, announced=True)
        return client

    def test_trusted(self) -> None:
        self.reception = self.make(ProxySettings(unix=True))
        client = self.accept(text_header(CLIENT, HERE) + b"GET")
        self.reactor.serve()
        arrival, protocol = self.arrival()
        self.assertEqual(IPv4Address("TCP", *CLIENT), arrival.stream.getPeer())
        self.assertEqual(b"GET", protocol.received)
        client.close()

    def test_untrusted(self) -> None:
        client = self.accept(text_header(CLIENT, HERE))
        self.assertEqual([("unix", NotAnnounced.UNTRUSTED, "")], self.keeper.turned_away)
        self.assertRaises(ConnectionResetError, client.recv, 1)
        self.assert_over()

    def test_a_client_of_the_proxys_own_socket(self) -> None:
        self.reception = self.make(ProxySettings(unix=True))
        self.accept(binary_header(bytes(216), b"", family=0x31))
        self.assertEqual(["unix"], self.keeper.entered)
        self.assertIsInstance(self.arrival()[0].stream.getPeer(), UNIXAddress)


class TlsTests(ProxiedTestCase):
    def setUp(self) -> None:
        super().setUp()
        directory = Path(self.mktemp())
        directory.mkdir()
        write(directory / "both.pem", pem(certificate(key()), key()))
        tls = TlsSettings(certificate=directory / "both.pem")
        self.context = server_context(tls, load_identity(tls))

    def shake(self, client: socket.socket, *, glue: bytes = b"") -> None:
        """Do TLS on a connection, its first message in one segment with ``glue``."""
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting.wrap_bio(received, sent, server_hostname="gateway.example.com")
        client.setblocking(False)
        steps = iter((tls.do_handshake, lambda: tls.write(b"GET /")))
        step: Any = next(steps)
        for _ in range(20):
            try:
                step()
                step = next(steps, None)
            except ssl.SSLWantReadError:
                pass
            if data := glue + sent.read():
                client.sendall(data)
                glue = b""
            if step is None:
                break
            self.reactor.serve()
            with contextlib.suppress(BlockingIOError):
                received.write(client.recv(65536))
        self.reactor.serve()
        arrival, protocol = self.arrival()
        self.assertEqual(b"GET /", protocol.received)
        self.assertEqual(IPv4Address("TCP", *CLIENT), arrival.stream.getPeer())

    def test_in_one_segment_with_the_header(self) -> None:
        for header in (text_header(CLIENT, HERE), binary_header(CLIENT, HERE, extensions=[(4, bytes(200))])):
            client = self.connect(tls=True)
            self.shake(client, glue=header)
            self.reception.close()
            self.arrived.clear()

    def test_header_before(self) -> None:
        self.shake(self.connect(binary_header(CLIENT, HERE), tls=True))

    def test_its_own_time(self) -> None:
        client = self.connect(tls=True)
        self.reactor.advance(TIMEOUT - 1)
        client.sendall(text_header(CLIENT, HERE))
        self.reactor.serve()
        self.reactor.advance(TIMEOUT - 1)
        self.assertEqual(1, self.reception.open)
        self.shake(client)

    def test_tls_without_a_header(self) -> None:
        self.assert_closed(
            self.connect(b"\x16\x03\x01\x02\x00\x01", tls=True), NotAnnounced.MALFORMED, "there is none"
        )

    def test_the_header_inside_tls_is_none(self) -> None:
        self.reception = self.make(self.proxies)
        client = self.connect(tls=True, announced=False)
        client.sendall(text_header(CLIENT, HERE))
        self.reactor.serve()
        self.reactor.serve()
        self.assertEqual(0, self.reception.open)


class ReaderTests(ProxiedTestCase):
    def test_interface(self) -> None:
        self.connect()
        (reader,) = self.reactor.readers
        verifyObject(IReadDescriptor, reader)
        self.assertEqual("proxy", reader.logPrefix())
        self.assertGreaterEqual(reader.fileno(), 0)
