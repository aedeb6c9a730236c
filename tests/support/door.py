"""A gateway for end-to-end tests and its clients: real tickets, verified ``wss``, recorded bytes."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import attrs
from websockets.exceptions import ConnectionClosed

from gateway.tickets.envelope import open_envelope
from tests.support.browser import Browser, ConsolePage
from tests.support.client import WebSocketClient
from tests.support.pki import Installation
from tests.support.process import GatewayProcess

__all__ = ["Door", "Ended", "RecordedSocket", "Visit"]

_MAX_TICKET = 16384


class RecordedSocket(ssl.SSLSocket):
    """A TLS socket that keeps what came out of it, decrypted."""

    @property
    def heard(self) -> bytearray:
        """Everything that was received so far."""
        heard: bytearray = self.__dict__.setdefault("_heard", bytearray())
        return heard

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        data = super().recv(buflen, flags)
        self.heard.extend(data)
        return data


@attrs.frozen
class Ended:
    """How a session ended."""

    code: int | None
    """The WebSocket's close code."""
    text: str
    """The close frame's text."""
    reason: str
    """In the log."""
    detail: str
    """In the log."""


@attrs.frozen
class Visit:
    """A ticket in use by a client that is no browser."""

    door: Door
    ticket: str = attrs.field(repr=False)
    client: WebSocketClient

    @property
    def heard(self) -> bytes:
        """Every byte that was received inside TLS: the answer to the upgrade, and frames."""
        assert isinstance(self.client.socket, RecordedSocket)
        return bytes(self.client.socket.heard)

    @property
    def payload(self) -> bytes:
        """What was in the frames, without their headers, which may be anywhere in it."""
        _, _, rest = self.heard.partition(b"\r\n\r\n")
        payload = b""
        while len(rest) >= 2:
            size, start = rest[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(rest[2:start], "big")
            payload += rest[start : start + size]
            rest = rest[start + size :]
        return payload

    def security(self) -> str:
        """What the log says was agreed on with the target."""
        return self.door.line(self.ticket, "target secured")["security"]

    def ended(self, timeout: float = 10) -> Ended:
        """Wait until the gateway has closed the session."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(ConnectionClosed):
            while time.monotonic() < deadline:
                self.client.recv(timeout)
        fields = self.door.line(self.ticket, "session ended")
        return Ended(
            self.client.close_code, self.client.close_reason or "", fields["reason"], fields["detail"]
        )


@attrs.frozen
class Door:
    """A running gateway, and the installation that it belongs to."""

    gateway: GatewayProcess
    installation: Installation

    def url(self, ticket: str) -> str:
        """Where a browser connects with a ticket."""
        return f"wss://localhost:{self.gateway.tls_port}/{ticket}"

    @contextlib.contextmanager
    def visit(self, port: int, host: str = "localhost", **what: Any) -> Iterator[Visit]:
        """Open a session with a new ticket.

        :param what: more for :meth:`tests.support.pki.Installation.ticket`.
        """
        ticket = self.installation.ticket(port, host, **what)
        context = self.installation.client_context()
        context.sslsocket_class = RecordedSocket
        sock = socket.create_connection(("127.0.0.1", self.gateway.tls_port), 10)
        secure = context.wrap_socket(sock, server_hostname="localhost")
        with WebSocketClient(secure, self.url(ticket), subprotocols=["binary"]) as client:
            yield Visit(self, ticket, client)

    def page(
        self, browser: Browser, port: int, host: str = "localhost", *, password: str = "", **what: Any
    ) -> ConsolePage:
        """Open the gateway's console page with a new ticket."""
        ticket = quote(self.installation.ticket(port, host, **what), safe="")
        link = f"ticket={ticket}&title=Machine" + (f"&password={quote(password)}" if password else "")
        return browser.open(f"https://localhost:{self.gateway.tls_port}/console/#{link}")

    def line(self, ticket: str, event: str) -> dict[str, str]:
        """Wait for the first line of the log about an event of a ticket's sessions, and return its fields."""
        name = open_envelope(ticket, _MAX_TICKET).id
        started = self.gateway.wait_for(rf"session started id=(\S+) .*ticket={name}\b")
        found = self.gateway.wait_for(rf"{event} id={started[1]} (.*)$")
        # Values hold no spaces, but for the one in quotes.
        fields = re.finditer(r"(\w+)=('[^']*'|\"[^\"]*\"|\S+)", found[1])
        return {field[1]: field[2].strip("'\"") for field in fields}

    def count(self, ticket: str, event: str) -> int:
        """How many sessions of a ticket the log has an event of."""
        name = open_envelope(ticket, _MAX_TICKET).id
        sessions = re.findall(rf"session started id=(\S+) .*ticket={name}\b", self.gateway.output)
        return sum(len(re.findall(rf"{event} id={session}\b", self.gateway.output)) for session in sessions)
