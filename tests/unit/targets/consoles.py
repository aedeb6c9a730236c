"""Console servers that follow a script: what they say and must hear, where they fall silent or leave."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Generator
from http import HTTPStatus
from typing import Any, TypeAlias

from OpenSSL import SSL
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from tests.unit.relay.wires import End
from tests.unit.rfb.samples import (
    CHALLENGE,
    FAILED,
    LINE,
    LINE_3_3,
    OK,
    RESPONSE,
    TLS_VNC,
    X509_NONE,
    X509_VNC,
    offer,
    text,
)

__all__ = ["Console", "Script", "Talk", "echo", "kubevirt", "rfb", "says", "spice", "vencrypt"]

Talk: TypeAlias = Generator[int, bytes, None]
"""A script in progress: it yields how many bytes it wants to hear, 0 for whatever comes, and is sent them."""
Script: TypeAlias = Callable[["Console"], Talk]


class Console(End):
    """A console server; what it hears and says is plain text to its script, whatever is on the wire."""

    def __init__(
        self,
        sock: socket.socket,
        script: Script,
        context: SSL.Context | None = None,
        *,
        limit: int | None = None,
        leaves: bool = False,
    ) -> None:
        """
        :param context: for scripts that use TLS.
        :param limit: fall silent after so many bytes on the wire,
        :param leaves: or close the connection there.
        """
        super().__init__(sock)
        self.context = context
        self.limit = limit
        self.leaves = leaves
        self.tls: SSL.Connection | None = None
        self.server_name: bytes | None = None
        """What the gateway called it in the TLS handshake."""
        self.request: Request | None = None
        """Of a WebSocket."""
        self.said = 0
        """Bytes it would have put on the wire without its limit."""
        self.wire = bytearray()
        """All that was received, as it came."""
        self.marks: dict[str, int] = {}
        """Names for places in what it said."""
        self.finished = False
        """The script is over."""
        self._heard = bytearray()
        self._unsaid = b""
        self._shaken = False
        self._leaving = False
        self._talk = script(self)
        self._wanted = 0
        self._advance(None)
        self._check_limit()

    # -- for scripts -------------------------------------------------------------

    def say(self, data: bytes) -> None:
        if self.tls is None:
            self.send(data)
        elif self._shaken:
            while data:
                data = data[self.tls.send(data) :]
            self._drain()
        else:
            self._unsaid += data

    def start_tls(self) -> None:
        """What was heard already is the beginning of TLS."""
        assert self.context is not None
        self.mark("tls")
        self.tls = SSL.Connection(self.context, None)
        self.tls.set_accept_state()
        early = bytes(self._heard)
        self._heard.clear()
        if early:
            self._decrypt(early)

    def hang_up(self) -> None:
        """Close the connection when everything is said."""
        self._leaving = True

    def mark(self, name: str) -> None:
        self.marks[name] = self.said

    # -- the wire ----------------------------------------------------------------

    def send(self, data: bytes) -> None:
        left = len(data) if self.limit is None else max(0, self.limit - self.said)
        self.said += len(data)
        super().send(data[:left])
        self._check_limit()

    def step(self) -> bool:
        moved = super().step()
        if self._leaving and not self.out and self.sock.fileno() >= 0:
            self.sock.close()
        return moved

    def took(self, data: bytes) -> None:
        self.wire += data
        if self.tls is None:
            self._heard += data
        else:
            self._decrypt(data)
        self._listen()

    # -- helpers -----------------------------------------------------------------

    def _check_limit(self) -> None:
        if self.leaves and self.limit is not None and self.said >= self.limit:
            self._leaving = True

    def _listen(self) -> None:
        while not self.finished and len(self._heard) >= max(1, self._wanted):
            data = bytes(self._heard[: self._wanted or None])
            del self._heard[: len(data)]
            self._advance(data)

    def _advance(self, data: bytes | None) -> None:
        try:
            self._wanted = next(self._talk) if data is None else self._talk.send(data)
        except StopIteration:
            self.finished = True

    def _decrypt(self, data: bytes) -> None:
        tls = self.tls
        assert tls is not None
        tls.bio_write(data)
        try:
            if not self._shaken:
                tls.do_handshake()
                self._shaken = True
                self.server_name = tls.get_servername()
                self._drain()
                self.mark("shaken")
                unsaid, self._unsaid = self._unsaid, b""
                if unsaid:
                    self.say(unsaid)
            while True:
                self._heard += tls.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.Error:
            # Refused, or the end: either way there is nothing more to be heard.
            self.hang_up()
        self._drain()

    def _drain(self) -> None:
        assert self.tls is not None
        while True:
            try:
                self.send(self.tls.bio_read(65536))
            except SSL.Error:
                return


def says(*sayings: bytes) -> Script:
    """Say something, whatever comes, and nothing more."""

    def script(console: Console) -> Talk:
        console.say(b"".join(sayings))
        yield 1 << 30

    return script


def echo(console: Console) -> Talk:
    """Say what is heard, as long as somebody speaks."""
    while True:
        console.say((yield 0))


def spice(console: Console) -> Talk:
    """TLS from the first byte, and no word before the client's."""
    console.start_tls()
    yield from echo(console)


def rfb(*types: int, line: bytes = LINE, answer: bytes = RESPONSE, rude: bool = False) -> Script:
    """An RFB server with these security types, None and VNC authentication, without TLS.

    :param line: its version, which it must be answered with.
    :param answer: the one that it takes.
    :param rude: it says nothing to a wrong one, but goes.
    """

    def script(console: Console) -> Talk:
        console.say(line)
        yield from _hear(console, line)
        if line == LINE_3_3:
            kind = types[0]
            console.say(struct.pack(">I", kind))
        else:
            console.say(bytes((len(types), *types)))
            (kind,) = yield 1
        if kind == 2:
            yield from _authenticate(console, answer, rude)
        else:
            console.say(OK)
        yield from echo(console)

    return script


def vencrypt(subtype: int = X509_NONE, *, answer: bytes = RESPONSE, rude: bool = False) -> Script:
    """An RFB server with VeNCrypt of one subtype: None or VNC authentication inside."""

    def script(console: Console) -> Talk:
        console.say(LINE)
        yield from _hear(console, LINE)
        console.say(b"\1\x13")
        yield from _hear(console, b"\x13")
        console.say(b"\0\2")
        yield from _hear(console, b"\0\2")
        console.say(offer(subtype))
        yield from _hear(console, struct.pack(">I", subtype))
        console.say(b"\1")
        console.start_tls()
        if subtype in {X509_VNC, TLS_VNC}:
            yield from _authenticate(console, answer, rude)
        else:
            console.say(OK)
        yield from echo(console)

    return script


def _hear(console: Console, expected: bytes) -> Talk:
    heard = yield len(expected)
    if heard != expected:
        # Who has said nothing may be taken for somebody else.
        assert console.limit == 0, heard
        yield 1 << 30


def _authenticate(console: Console, answer: bytes, rude: bool) -> Talk:
    console.say(CHALLENGE)
    response = yield 16
    console.mark("answered")
    if response == answer:
        console.say(OK)
        return
    if not rude:
        console.say(FAILED + text(b"Authentication failed"))
    console.hang_up()
    yield 1 << 30


def kubevirt(behind: bytes = b"", status: HTTPStatus | None = None, **fields: str) -> Script:
    """A WebSocket behind TLS that says back what it is told; framing is an independent library's.

    :param behind: payload of a message that comes in one piece with the response.
    :param status: refuse the upgrade with this.
    :param fields: more header fields of the response.
    """

    def script(console: Console) -> Talk:
        server = ServerProtocol(subprotocols=[Subprotocol("plain.kubevirt.io")])
        console.start_tls()
        events: list[Any] = []
        while not events:
            server.receive_data((yield 0))
            events = server.events_received()
        console.request = events[0]
        response = server.accept(events[0]) if status is None else server.reject(status, "No.")
        for name, value in fields.items():
            response.headers[name.replace("_", "-")] = value
        server.send_response(response)
        if behind:
            server.send_binary(behind)
        console.say(b"".join(server.data_to_send()))
        if status is not None:
            console.hang_up()
        while True:
            server.receive_data((yield 0))
            for event in server.events_received():
                assert isinstance(event, Frame)
                if event.opcode is Opcode.BINARY and server.state is State.OPEN:
                    server.send_binary(bytes(event.data))
                elif event.opcode is Opcode.CLOSE:
                    console.hang_up()
            console.say(b"".join(server.data_to_send()))

    return script
