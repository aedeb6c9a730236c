"""Reloads that change who is believed, and who is told, when it comes to clients' addresses."""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import Any

from tests.integration.case import InstallationTestCase, changed_settings, eventually
from tests.support.client import WebSocketClient
from tests.support.http import read_answer, upgrade
from tests.support.process import GatewayProcess
from tests.support.proxies import binary_header, text_header
from tests.support.targets import TargetServer, echo

PROXY = "127.0.0.1"
LATER = "127.0.0.13"
"""A proxy that is not trusted at first."""
CLIENT = "203.0.113.1"

ANNOUNCED = f"tcp:0:interface={PROXY}"


class ReloadProxiesTests(InstallationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.target = self.enterContext(TargetServer(echo))

    def start(self, **changes: dict[str, Any]) -> None:
        self.changes = changes
        file = changed_settings(self.installation, "reload.toml", changes)
        self.gateway = GatewayProcess(file)
        self.addCleanup(self.gateway.stop)
        self.gateway.ready()

    def reload(self, expected: str) -> None:
        """Have the changed settings read anew; ``expected`` are the names of what is different."""
        changed_settings(self.installation, "reload.toml", self.changes)
        before = len(self.gateway.output)
        self.gateway.signal(signal.SIGHUP)
        eventually(lambda: "reload" in self.gateway.output[before:], 15)
        self.assertRegex(
            self.gateway.output[before:], f"settings are reloaded; changed: {expected}; .*: nothing"
        )

    def connect(self, source: str = PROXY, header: bytes = b"") -> socket.socket:
        sock = socket.create_connection((PROXY, self.gateway.plain_port), 10, source_address=(source, 0))
        self.addCleanup(sock.close)
        with contextlib.suppress(ConnectionError):
            sock.sendall(header)
        return sock

    def open(self, sock: socket.socket, *, target: str = PROXY) -> WebSocketClient:
        ticket = self.installation.ticket(self.target.port, target)
        return self.enterContext(WebSocketClient(sock, f"ws://gateway.example.com/{ticket}"))

    def check(self, session: WebSocketClient, data: bytes = b"hello") -> None:
        session.send(data)
        self.assertEqual(data, session.recv(timeout=10))

    def test_a_proxy_becomes_trusted_and_is_not_any_more(self) -> None:
        self.start(
            listen={"tls": [], "plain": [ANNOUNCED]},
            proxies={"networks": [f"{PROXY}/32"], "listeners": [ANNOUNCED]},
        )
        header = text_header((CLIENT, 1), (PROXY, 2))
        stranger = rf"client={LATER} reason=untrusted-proxy: not in proxies\.networks"

        def check_closed() -> None:
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(b"", self.connect(LATER, header).recv(100))

        check_closed()
        self.gateway.wait_for(stranger)
        self.assertNotIn("session started", self.gateway.output)
        # Trusted as it was accepted, and its header comes after a reload that takes the trust away.
        waiting = self.connect(PROXY)
        self.changes["proxies"]["networks"] = [f"{LATER}/32"]
        self.reload("proxies.networks")
        session = self.open(self.connect(LATER, header))
        self.check(session)
        self.gateway.wait_for(rf"session started id=\S+ client={CLIENT} ")
        waiting.sendall(text_header(("203.0.113.2", 1), (PROXY, 2)))
        self.check(self.open(waiting))
        self.gateway.wait_for(r"session started id=\S+ client=203\.0\.113\.2 ")
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(b"", self.connect(PROXY, header).recv(100))
        self.gateway.wait_for(rf"client={PROXY} reason=untrusted-proxy")
        # Whoever is there, stays.
        self.changes["proxies"]["networks"] = [f"{PROXY}/32"]
        self.reload("proxies.networks")
        check_closed()
        self.check(session, b"still here")

    def test_listeners_are_announced_and_are_not_any_more(self) -> None:
        self.start(listen={"tls": [], "plain": [ANNOUNCED]})
        self.check(self.open(self.connect()))
        self.gateway.wait_for(rf"session started id=\S+ client={PROXY} ")
        self.changes["proxies"] = {"networks": [f"{PROXY}/32"], "listeners": [ANNOUNCED]}
        self.reload("proxies.networks, proxies.listeners")
        self.check(self.open(self.connect(header=text_header((CLIENT, 1), (PROXY, 2)))))
        self.gateway.wait_for(rf"session started id=\S+ client={CLIENT} ")
        del self.changes["proxies"]
        self.reload("proxies.networks, proxies.listeners")
        sock = self.connect(
            header=text_header((CLIENT, 1), (PROXY, 2)) + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        self.assertEqual(400, read_answer(sock)[0].status)

    def test_forwarded_is_switched_on_and_off(self) -> None:
        self.start(proxies={"networks": [f"{PROXY}/32"]})

        def client_of_a_session(source: str = PROXY) -> str:
            """What the log says of somebody who says to be ``CLIENT``."""
            before = len(self.gateway.output)
            ticket = self.installation.ticket(self.target.port)
            sock = self.connect(source)
            fields = [("X-Forwarded-For", CLIENT), ("Forwarded", "for=198.51.100.9")]
            sock.sendall(upgrade(f"/{ticket}", fields))
            self.assertEqual(101, read_answer(sock)[0].status)
            eventually(lambda: "session started" in self.gateway.output[before:])
            return self.gateway.output[before:].split(" client=")[1].split()[0]

        self.assertEqual(PROXY, client_of_a_session())
        for name, expected in (
            ("x-forwarded-for", CLIENT),
            ("forwarded", "198.51.100.9"),
            ("none", PROXY),
        ):
            self.changes["proxies"]["forwarded"] = name
            self.reload("proxies.forwarded")
            self.assertEqual(expected, client_of_a_session())
            self.assertEqual(LATER, client_of_a_session(LATER))

    def test_targets_are_told_and_are_not_any_more(self) -> None:
        # A name that resolves to what other tickets call by its address.
        targets = {"networks": ["127.0.0.0/8", "::1"], "ports": ["1-65535"]}
        self.start(targets=targets)
        first = self.open(self.connect(), target="localhost")
        self.check(first)
        self.changes["targets"] = {**targets, "proxy_protocol": ["localhost"]}
        self.reload("targets.proxy_protocol")
        sock = self.connect(LATER)
        told = self.open(sock, target="localhost")
        header = binary_header(sock.getsockname(), sock.getpeername())
        received = b""
        while len(received) < len(header):
            received += told.recv(timeout=10)
        # The echo has it, and then what the user says.
        self.assertEqual(header, received)
        self.check(told)
        self.check(self.open(self.connect()))
        self.changes["targets"] = targets
        self.reload("targets.proxy_protocol")
        self.check(self.open(self.connect(), target="localhost"))
        for session in (first, told):
            self.check(session, b"still here")
