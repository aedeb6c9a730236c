from __future__ import annotations

import socket
import struct

from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider

from gateway.control.metrics_server import MetricsServer
from gateway.net import BindError
from tests.support.http import Answer, read_answer, read_rest
from tests.support.reactor import HandReactor
from tests.unit.control.scene import Scene

LOOPBACK = "tcp:0:interface=127.0.0.1"


class MetricsServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.server = MetricsServer([LOOPBACK, LOOPBACK])
        self.server.start(self.reactor, {"healthz": Scene().health.live})
        self.addCleanup(self.server.stop)
        self.logged: list[object] = []

        @provider(ILogObserver)
        def observe(event: object) -> None:
            self.logged.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def connect(self, index: int = 0) -> socket.socket:
        client = socket.create_connection(self.server.listeners[index].sock.getsockname(), 5)
        self.addCleanup(client.close)
        self.turn()
        return client

    def turn(self, turns: int = 4) -> None:
        for _ in range(turns):
            self.reactor.advance(0)
            self.reactor.serve()

    def ask(self, client: socket.socket, request: str) -> Answer:
        client.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.turn()
        return read_answer(client)[0]

    def test_pages(self) -> None:
        for index in (0, 1):
            client = self.connect(index)
            # On one connection, as scrapers do it.
            for path, status in (
                ("/healthz", 200),
                ("/healthz?x=1", 200),
                ("/", 404),
                ("/api/v1/status", 404),
            ):
                answer = self.ask(client, f"GET {path}")
                self.assertEqual(answer.status, status, path)
                self.assertIsNone(answer.header("Server"))

    def test_silence(self) -> None:
        """Probes of every kind leave nothing in the log."""
        self.connect().close()
        cut = self.connect()
        cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        cut.close()
        half = self.connect()
        half.sendall(b"GET /heal")
        self.turn()
        half.close()
        tls = self.connect()
        tls.sendall(bytes.fromhex("160301020001"))
        tls.close()
        self.ask(self.connect(), "GET /healthz")
        self.ask(self.connect(), "POST /healthz")
        self.turn(10)
        self.assertEqual(self.logged, [])

    def test_slow_request(self) -> None:
        """No trickle of bytes keeps a connection."""
        client = self.connect()
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        self.turn()
        for _ in range(20):
            client.sendall(b"A: b\r\n")
            self.turn()
            self.reactor.advance(1)
            if not self.server.connections:
                break
        self.assertEqual(self.server.connections, 0)

    def test_large_body(self) -> None:
        client = self.connect()
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
        self.turn()
        self.assertIn(b" 413 ", read_answer(client)[0].head.splitlines()[0])

    def test_many_connections(self) -> None:
        clients = [self.connect() for _ in range(100)]
        self.assertEqual(read_rest(self.connect()), b"")
        self.assertEqual(self.server.connections, 100)
        self.assertEqual(self.ask(clients[0], "GET /healthz").status, 200)

    def test_stop(self) -> None:
        addresses = [listener.sock.getsockname() for listener in self.server.listeners]
        client = self.connect()
        self.server.stop()
        self.server.stop()
        self.assertEqual(read_rest(client), b"")
        for address in addresses:
            self.assertRaises(ConnectionRefusedError, socket.create_connection, address)
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.server.start(self.reactor, {})
        self.assertEqual(self.ask(self.connect(), "GET /healthz").status, 404)

    def test_all_or_nothing(self) -> None:
        taken = self.server.listeners[0].sock.getsockname()[1]
        other = MetricsServer([LOOPBACK, f"tcp:{taken}:interface=127.0.0.1"])
        self.assertIn("Address already in use", str(self.assertRaises(BindError, other.bind)))
        self.assertEqual(other.listeners, [])

    def test_none(self) -> None:
        server = MetricsServer([])
        server.start(self.reactor, {})
        server.stop()
