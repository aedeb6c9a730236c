"""Reloading under live sessions: certificates, settings and listeners change, and nobody notices."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from websockets.exceptions import InvalidStatus

from gateway.demo.pki import make_pki
from tests.integration.case import InstallationTestCase, changed_settings, eventually
from tests.support.client import WebSocketClient
from tests.support.process import GatewayProcess
from tests.support.targets import TargetServer, closed_port, echo

pytestmark = pytest.mark.alone

SESSIONS: Final = 200
ROUND: Final = 4096
"""Bytes that each session exchanges at a time."""


class Chatter:
    """Sessions that exchange random bytes with an echo, all the time, in a thread of their own."""

    def __init__(self, clients: list[WebSocketClient]) -> None:
        self._clients = clients
        self._chance = random.Random(5)
        self._stop = threading.Event()
        self.rounds = 0
        self._pool = ThreadPoolExecutor(1)
        self._done = self._pool.submit(self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            said = [self._chance.randbytes(ROUND) for _ in self._clients]
            for client, data in zip(self._clients, said, strict=True):
                client.send(data)
            for client, data in zip(self._clients, said, strict=True):
                heard = b""
                while len(heard) < ROUND:
                    heard += client.recv()
                assert heard == data, "bytes were lost or altered"
            self.rounds += 1

    def pass_rounds(self, count: int) -> None:
        end = self.rounds + count
        eventually(lambda: self.rounds >= end or self._done.done(), 60)

    def finish(self) -> None:
        """Stop talking; raises what went wrong."""
        self._stop.set()
        self._done.result(60)
        self._pool.shutdown()


class ReloadTests(InstallationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.target = self.enterContext(TargetServer(echo))
        self.changes: dict[str, dict[str, Any]] = {"limits": {"users_per_console": 1000}}
        self.gateway = GatewayProcess(self.write())
        self.addCleanup(self.gateway.stop)
        self.gateway.ready()

    def write(self) -> Path:
        return changed_settings(self.installation, "reload.toml", self.changes)

    def reload(self, pattern: str = "settings are reloaded; changed: (.*); in force") -> str:
        """Have the settings read anew; returns what the log says of it."""
        self.write()
        before = len(self.gateway.output)
        self.gateway.signal(signal.SIGHUP)
        eventually(lambda: "reload" in self.gateway.output[before:], 15)
        said = self.gateway.output[before:]
        self.assertRegex(said, pattern)
        return said

    def open(self, *, ticket: str | None = None) -> WebSocketClient:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.gateway.tls_port), 10), server_hostname="localhost"
        )
        self.addCleanup(sock.close)
        uri = f"wss://localhost/{ticket or self.installation.ticket(self.target.port)}"
        client = WebSocketClient(sock, uri)
        self.addCleanup(sock.close)
        return client.__enter__()

    def serial(self) -> int:
        """Of the certificate that a new connection sees."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.gateway.tls_port), 10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as wrapped,
        ):
            data = wrapped.getpeercert(binary_form=True)
        assert data is not None
        return x509.load_der_x509_certificate(data).serial_number

    def test_certificate_and_key_under_live_sessions(self) -> None:
        chatter = Chatter([self.open() for _ in range(SESSIONS)])
        chatter.pass_rounds(1)
        first = self.serial()
        fresh = self.installation.directory / "fresh"
        fresh.mkdir(exist_ok=True)
        pki = make_pki(fresh, ["localhost"])
        self.changes["tls"] = {"certificate": str(pki.certificate_file), "key": str(pki.key_file)}
        for _ in range(3):
            self.reload()
            chatter.pass_rounds(1)
        second = self.serial()
        self.assertNotEqual(first, second)
        # In place, as certificate clients renew.
        shutil.copy(self.installation.pki.certificate_file, pki.certificate_file)
        self.reload("reload refused, nothing is changed: .*does not belong")
        self.assertEqual(second, self.serial())
        shutil.copy(self.installation.pki.key_file, pki.key_file)
        self.reload()
        self.assertEqual(first, self.serial())
        chatter.pass_rounds(1)
        chatter.finish()
        self.assertGreaterEqual(chatter.rounds, 5)
        self.assertNotIn("session ended", self.gateway.output)
        self.assertNotIn("Traceback", self.gateway.output)

    def test_all_or_nothing(self) -> None:
        client = self.open()
        serial = self.serial()
        for changes, words in (
            ({"limits": {"sessions": 0}}, "limits.sessions"),
            ({"limits": {"sesions": 1}}, "sesions"),
            ({"tls": {"certificate": "/nowhere/server.pem"}}, "tls.certificate"),
            ({"security": {"ca": "/nowhere/ca.pem"}}, "security.ca"),
            ({"control": {"tokens": "/nowhere/tokens"}}, "control.tokens"),
        ):
            good, self.changes = self.changes, {**self.changes, "limits": {"sessions": 1}, **changes}
            said = self.reload("reload refused, nothing is changed: .*")
            self.assertIn(words, said)
            self.assertNotIn("settings are reloaded", said)
            self.changes = good
        self.assertEqual(serial, self.serial())
        # The limit of one session, which was in each of them, is not in force.
        self.open().send(b"more")
        client.send(b"there")
        self.assertEqual(b"there", client.recv())

    def test_limits_and_policies(self) -> None:
        client = self.open()
        self.changes["limits"] = {"sessions": 2, "users_per_console": 1000}
        self.changes["relay"] = {"ping_interval": 20.0}
        said = self.reload()
        self.assertIn("changed: limits.sessions; in force after a restart: relay.ping_interval", said)
        self.open()
        with self.assertRaises(InvalidStatus) as caught:
            self.open()
        self.assertEqual(503, caught.exception.response.status_code)
        self.changes["limits"]["sessions"] = 100
        self.changes["targets"] = {"ports": ["1-2"]}
        self.assertIn("changed: limits.sessions, targets.ports;", self.reload())
        self.assertEqual(4004, self.closed(self.open()))
        client.send(b"still here")
        self.assertEqual(b"still here", client.recv())

    def test_times_of_those_who_are_there(self) -> None:
        client = self.open()
        self.changes["sessions"] = {"idle": 0.5}
        self.reload()
        self.assertEqual(4020, self.closed(client))

    def test_listeners(self) -> None:
        client = self.open()
        port = closed_port()
        listen = self.installation.settings()["listen"]["plain"]
        assert isinstance(listen, list)
        self.changes["listen"] = {"plain": [*listen, f"tcp:{port}:interface=127.0.0.1"]}
        self.reload()
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self.assertIn(b" 200 ", sock.recv(1000))
        taken = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.changes["listen"] = {"plain": [f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"]}
        self.assertIn("cannot listen on", self.reload("reload refused, nothing is changed: .*"))
        socket.create_connection(("127.0.0.1", port), 5).close()
        self.changes["listen"] = {"plain": listen}
        self.reload()
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5).close()
        client.send(b"still here")
        self.assertEqual(b"still here", client.recv())

    def closed(self, client: WebSocketClient) -> int | None:
        for _ in client:
            pass
        return client.close_code
