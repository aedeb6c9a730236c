"""Whole sessions: a real process, real TLS, an independent client, real targets."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.reasons import EndReason
from tests.integration.case import GatewayTestCase, Table, eventually
from tests.support.http import read_answer, read_rest, upgrade
from tests.support.targets import (
    TargetServer,
    closed_port,
    closing,
    echo,
    flood,
    greet,
    reset,
    stall,
)

CONSOLE = f"/tmp/console-gateway-test-{os.getpid()}-console.sock"
PAGE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class SessionTests(GatewayTestCase):
    changes: ClassVar[Mapping[str, Table]] = {
        "targets": {"connect_timeout": 1.0, "sockets": {"vm.example:5900": CONSOLE}},
        "relay": {"max_message": 1 << 20},
    }

    def serve(self, behaviour: object) -> TargetServer:
        server = TargetServer(behaviour)  # type: ignore[arg-type]
        self.addCleanup(server.close)
        return server

    def ended(self, reason: EndReason, port: int) -> re.Match[str]:
        """The audit line of the session to ``port``."""
        return self.gateway.wait_for(
            rf"session ended id=\w+ client=\S+ target=\S+:{port} .*reason={reason.label} .*$"
        )

    def closed(self, ticket: str, reason: EndReason) -> None:
        connection = self.open(ticket)
        with self.assertRaises(ConnectionClosed):
            while True:
                connection.recv(timeout=10)
        self.assertEqual((connection.close_code, connection.close_reason), (reason.code, reason.public))

    def test_echo(self) -> None:
        server = self.serve(echo)
        connection = self.open(self.installation.ticket(server.port))
        self.assertEqual(connection.subprotocol, "binary")
        assert connection.response is not None
        self.assertNotIn("Server", connection.response.headers)
        for size in (1, 125, 126, 65535, 65536, 1 << 20):
            data = os.urandom(size)
            connection.send(data)
            got = b""
            while len(got) < size:
                piece = connection.recv(timeout=10)
                assert isinstance(piece, bytes)
                got += piece
            self.assertEqual(got, data)
        connection.ping(b"payload")
        connection.close()
        line = self.ended(EndReason.CLIENT_CLOSED, server.port)[0]
        total = 1 + 125 + 126 + 65535 + 65536 + (1 << 20)
        self.assertIn(f"to_target={total} to_client={total} ", line)

    def test_server_that_speaks_first(self) -> None:
        connection = self.open(self.installation.ticket(self.serve(greet).port))
        self.assertEqual(connection.recv(timeout=5), b"RFB 003.008\n")
        connection.close()

    def test_plain_listener(self) -> None:
        server = self.serve(greet)
        sock = self.raw(tls=False)
        sock.sendall(upgrade("/" + self.installation.ticket(server.port)))
        answer, rest = read_answer(sock)
        self.assertEqual(answer.status, 101)
        while len(rest) < 14:
            rest += sock.recv(100)
        self.assertEqual(rest, b"\x82\x0cRFB 003.008\n")

    def test_early_bytes_reach_the_target(self) -> None:
        frame = bytes((0x82, 0x85, 1, 2, 3, 4)) + bytes(
            byte ^ key for byte, key in zip(b"hello", (1, 2, 3, 4, 1), strict=True)
        )
        for before in (b"", PAGE):
            for tls in (True, False):
                server = self.serve(echo)
                sock = self.raw(tls=tls)
                sock.sendall(before + upgrade("/" + self.installation.ticket(server.port)) + frame)
                rest = b""
                if before:
                    answer, rest = read_answer(sock)
                    self.assertEqual(answer.status, 200)
                answer, rest = read_answer(sock, rest)
                self.assertEqual(answer.status, 101)
                while len(rest) < 7:
                    rest += sock.recv(100)
                self.assertEqual(rest, b"\x82\x05hello")

    def test_head_in_single_bytes(self) -> None:
        server = self.serve(echo)
        sock = self.raw()
        for byte in upgrade("/" + self.installation.ticket(server.port)):
            sock.sendall(bytes([byte]))
        self.assertEqual(read_answer(sock)[0].status, 101)

    def test_target_closes(self) -> None:
        server = self.serve(closing)
        connection = self.open(self.installation.ticket(server.port))
        self.assertEqual(connection.recv(timeout=5), b"bye")
        with self.assertRaises(ConnectionClosed):
            connection.recv(timeout=5)
        self.assertEqual(connection.close_code, 1000)
        self.ended(EndReason.TARGET_CLOSED, server.port)

    def test_target_is_lost(self) -> None:
        server = self.serve(reset)
        connection = self.open(self.installation.ticket(server.port))
        connection.send(b"x")
        with self.assertRaises(ConnectionClosed):
            connection.recv(timeout=5)
        self.assertEqual(connection.close_code, EndReason.TARGET_LOST.code)
        self.ended(EndReason.TARGET_LOST, server.port)

    def test_target_problems(self) -> None:
        ticket = self.installation.ticket
        self.closed(ticket(closed_port()), EndReason.TARGET_REFUSED)
        self.closed(ticket(5900, "192.0.2.1"), EndReason.TARGET_FORBIDDEN)
        self.closed(ticket(5900, "::1"), EndReason.TARGET_FORBIDDEN)
        self.closed(ticket(self.gateway.tls_port), EndReason.TARGET_FORBIDDEN)
        self.closed(ticket(5900, "none.invalid"), EndReason.TARGET_UNRESOLVED)
        self.closed(ticket(self.serve(echo).port, tls=True), EndReason.TARGET_TLS_FAILED)

    def black_hole(self) -> int:
        """A port that answers no connection request."""
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            self.addCleanup(filler.close)
            filler.connect_ex(listener.getsockname())
        port: int = listener.getsockname()[1]
        return port

    def test_target_does_not_answer(self) -> None:
        port = self.black_hole()
        self.closed(self.installation.ticket(port), EndReason.TARGET_TIMEOUT)
        self.ended(EndReason.TARGET_TIMEOUT, port)

    def test_client_leaves_while_the_target_is_dialled(self) -> None:
        port = self.black_hole()
        connection = self.open(self.installation.ticket(port))
        connection.socket.close()
        self.ended(EndReason.CLIENT_GONE, port)
        self.assertNotIn("Traceback", self.gateway.output)
        self.assertNotIn("Unexpected", self.gateway.output)

    def test_client_breaks_the_protocol(self) -> None:
        for frame, reason in (
            (b"\x82\x05hello", EndReason.PROTOCOL_ERROR),
            (b"\x81\x85\0\0\0\0hello", EndReason.UNSUPPORTED_DATA),
            (b"\x82\xff" + (1 << 21).to_bytes(8, "big") + bytes(4), EndReason.MESSAGE_TOO_BIG),
        ):
            server = self.serve(stall)
            sock = self.raw()
            sock.sendall(upgrade("/" + self.installation.ticket(server.port)))
            answer, rest = read_answer(sock)
            self.assertEqual(answer.status, 101)
            eventually(lambda server=server: server.accepted)  # type: ignore[misc]
            sock.sendall(frame)
            data = rest + read_rest(sock)
            assert reason.code is not None
            self.assertIn(reason.code.to_bytes(2, "big") + reason.public.encode(), data)
            self.ended(reason, server.port)

    def test_client_goes(self) -> None:
        server = self.serve(stall)
        connection = self.open(self.installation.ticket(server.port))
        eventually(lambda: server.accepted)
        connection.socket.close()
        self.ended(EndReason.CLIENT_GONE, server.port)

    def test_back_pressure(self) -> None:
        """A client that does not read costs a bounded amount of memory, and the target is slowed down."""
        server = self.serve(flood)
        before = _resident(self.gateway.pid)
        sock = self.raw()
        sock.sendall(upgrade("/" + self.installation.ticket(server.port)))
        eventually(lambda: server.accepted)
        time.sleep(0.5)
        self.assertLess(_resident(self.gateway.pid) - before, 4096)
        got = 0
        while got < 20_000_000:
            got += len(sock.recv(1 << 20))
        sock.close()
        self.ended(EndReason.CLIENT_GONE, server.port)

    def test_unix_socket_target(self) -> None:
        self.closed(self.installation.ticket(5900, "vm.example"), EndReason.TARGET_UNREACHABLE)
        server = TargetServer(greet, path=CONSOLE)
        self.addCleanup(os.unlink, CONSOLE)
        self.addCleanup(server.close)
        connection = self.open(self.installation.ticket(5900, "vm.example"))
        self.assertEqual(connection.recv(timeout=5), b"RFB 003.008\n")
        connection.close()
        self.ended(EndReason.CLIENT_CLOSED, 5900)

    def test_refusals(self) -> None:
        ticket = self.installation.ticket
        good = ticket(5900)
        other = rsa.generate_private_key(65537, 2048)
        for request, status in (
            (upgrade("/" + good[:-8] + "AAAAAAA="), 401),
            (upgrade("/" + ticket(5900, key=other)), 401),
            (upgrade("/" + ticket(5900, begin=-300, lifetime=60)), 403),
            (upgrade("/" + ticket(5900, begin=300)), 403),
            (upgrade("/" + ticket(5900, lifetime=7200)), 403),
            (upgrade("/x"), 404),
            (upgrade("/" + good, method="POST"), 405),
            (upgrade("/" + good, {"Sec-WebSocket-Version": "8"}), 400),
            (b"GET /" + good.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n", 426),
            (b"\0\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nX: " + b"y" * 40000, 431),
        ):
            for tls in (True, False):
                answer = self.ask(request, tls=tls)
                self.assertEqual(answer.status, status, request[:80])
                self.assertIsNone(answer.header("Server"))
        with self.assertRaises(InvalidStatus) as caught:
            self.open(good[:-8] + "AAAAAAA=")
        self.assertEqual(caught.exception.response.status_code, 401)

    def test_nothing_is_left(self) -> None:
        """After sessions of every kind of end, no descriptor is left over."""
        server = self.serve(echo)
        self.ask(PAGE)
        time.sleep(0.3)
        before = self.gateway.descriptors()

        def use(number: int) -> None:
            connection = self.open(self.installation.ticket(server.port))
            connection.send(b"x" * 1000)
            connection.recv(timeout=10)
            if number % 2:
                connection.close()
            else:
                connection.socket.close()

        threads = [threading.Thread(target=use, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        self.closed(self.installation.ticket(closed_port()), EndReason.TARGET_REFUSED)
        self.ask(b"\0\r\n\r\n")
        eventually(lambda: self.gateway.descriptors() <= before)


class PatienceTests(GatewayTestCase):
    changes: ClassVar[Mapping[str, Table]] = {"front": {"head_timeout": 1.0, "handshake_timeout": 1.0}}

    def test_timeouts(self) -> None:
        slow, silent = self.raw(), self.raw()
        deaf = socket.create_connection(("127.0.0.1", self.gateway.tls_port), 10)
        self.addCleanup(deaf.close)
        slow.sendall(b"GET / HTTP/1.1\r\n")
        self.assertEqual(read_answer(slow)[0].status, 408)
        self.assertEqual(read_rest(silent), b"")
        self.assertEqual(read_rest(deaf), b"")


class LimitTests(GatewayTestCase):
    changes: ClassVar[Mapping[str, Table]] = {
        "limits": {"sessions": 3, "sessions_per_client": 2, "handshakes": 4}
    }

    def test_limits(self) -> None:
        server = TargetServer(echo)
        self.addCleanup(server.close)
        ticket = self.installation.ticket(server.port)
        for _ in range(2):
            first, second = self.open(ticket), self.open(ticket)
            with self.assertRaises(InvalidStatus) as caught:
                self.open(ticket)
            self.assertEqual(caught.exception.response.status_code, 429)
            self.assertEqual(caught.exception.response.headers["Retry-After"], "10")
            first.close()
            second.socket.close()
            self.gateway.wait_for(r"(?s)(session ended .*){2}")
            eventually(lambda: self.admits(ticket))

    def admits(self, ticket: str) -> bool:
        sock = self.raw()
        sock.sendall(upgrade("/" + ticket))
        status = read_answer(sock)[0].status
        sock.close()
        return status == 101

    def test_sessions_in_all(self) -> None:
        """Clients of another address are told that the gateway is full, not that they are too many."""
        server = TargetServer(echo)
        self.addCleanup(server.close)
        ticket = self.installation.ticket(server.port)
        eventually(lambda: self.from_address("127.0.0.3", ticket, keep=False) == 101)
        kept = [
            ("127.0.0.1", 101),
            ("127.0.0.1", 101),
            ("127.0.0.2", 101),
            ("127.0.0.2", 503),
            ("127.0.0.1", 503),
        ]
        eventually(lambda: "127.0.0.3" in self.gateway.output)
        time.sleep(0.2)
        for address, status in kept:
            self.assertEqual(self.from_address(address, ticket), status, address)

    def from_address(self, address: str, ticket: str, *, keep: bool = True) -> int:
        port = self.gateway.plain_port
        sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(address, 0))
        if keep:
            self.addCleanup(sock.close)
        sock.sendall(upgrade("/" + ticket))
        answer, _ = read_answer(sock)
        if not keep:
            sock.close()
        return answer.status

    def test_handshakes(self) -> None:
        waiting = [self.raw(tls=False) for _ in range(4)]
        time.sleep(0.1)
        self.assertEqual(read_rest(self.raw(tls=False)), b"")
        self.gateway.wait_for(r"limits\.handshakes \(4\) reached")
        for sock in waiting:
            sock.close()
        eventually(lambda: self.page() == 200)

    def page(self) -> int:
        sock = self.raw(tls=False)
        try:
            sock.sendall(PAGE)
            return read_answer(sock)[0].status
        except (AssertionError, ConnectionError):
            return 0
        finally:
            sock.close()


def _resident(pid: int) -> int:
    """Resident memory of a process in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise AssertionError("no VmRSS")
