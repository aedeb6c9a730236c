"""A client of the gateway whose every byte is in the hands of a soak's behaviour.

The WebSocket side is the sans-I/O protocol of an independent implementation,
so that a frame that the gateway should not send is noticed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

import attrs
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from tests.support.http import Answer, read_answer

__all__ = ["PATIENCE", "Console", "Door", "Stopped", "abort"]

PATIENCE: Final = 30.0
"""Seconds after which something that should happen counts as not happening."""

_TICK: Final = 0.25
_CHUNK: Final = 65536
_NARROW: Final = 4096
_WIDE: Final = 131072
"""Receive buffers.  Not as large as they could be: a ping waits behind what is in them."""
_SEGMENT: Final = 1400


class Stopped(Exception):
    """The soak is over; whatever a client was doing ends here."""


def abort(sock: socket.socket) -> None:
    """Close with a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Not unwrapped: TLS has nothing to say any more.
    sock.close()


@attrs.define
class Door:
    """How one client gets in: where the gateway is, and from which address."""

    tls_port: int
    plain_port: int
    context: ssl.SSLContext
    address: str
    narrow: bool
    """Little fits in at once, so that the gateway is left with parts of what it has to send."""
    stop: threading.Event

    def knock(self, *, tls: bool = True) -> socket.socket:
        """A TCP connection, with nothing said on it."""
        if self.stop.is_set():
            raise Stopped
        sock = socket.socket()
        try:
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW if self.narrow else _WIDE)
            if self.narrow:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
            sock.bind((self.address, 0))
            sock.connect(("127.0.0.1", self.tls_port if tls else self.plain_port))
        except BaseException:
            sock.close()
            raise
        return sock

    def enter(self, *, tls: bool = True) -> socket.socket:
        """A connection ready for a request."""
        sock = self.knock(tls=tls)
        return self.context.wrap_socket(sock, server_hostname="localhost") if tls else sock

    def open(self, request: bytes, *, tls: bool = True) -> Console:
        """Send an upgrade request (and what is behind it), and be in a session.

        :raises AssertionError: when it is not answered with 101.
        """
        sock = self.enter(tls=tls)
        try:
            sock.sendall(request)
            answer, rest = read_answer(sock)
            assert answer.status == 101, f"answered {answer.status}: {answer.body!r}"
        except BaseException:
            sock.close()
            raise
        return Console(sock, rest, self.stop)

    def ask(self, request: bytes, *, tls: bool = True) -> Answer:
        """The answer to one request on a connection of its own."""
        with self.enter(tls=tls) as sock:
            sock.sendall(request)
            return read_answer(sock)[0]


class Console:
    """A WebSocket client in a session; a context manager that closes the connection.

    :ivar received: payload that came and was not taken.
    """

    def __init__(self, sock: socket.socket, rest: bytes, stop: threading.Event) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._stop = stop
        self._protocol = Protocol(Side.CLIENT, max_size=None)
        self._out = bytearray()
        self._wants_write = False
        self.received = bytearray()
        self.pongs: list[bytes] = []
        self.mute = False
        """Answer neither pings nor a close frame."""
        self.over = False
        """The gateway sends nothing more."""
        self._feed(rest)

    # -- what a behaviour says ---------------------------------------------------

    def say(self, data: bytes) -> None:
        """Queue bytes as they are."""
        self._out += data

    def send(self, payload: bytes, *, pieces: int = 1) -> None:
        """Queue a message, in several frames if asked for."""
        size = max(1, -(-len(payload) // pieces))
        parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
        for number, part in enumerate(parts):
            opcode = Opcode.CONT if number else Opcode.BINARY
            self._out += Frame(opcode, part, fin=number == len(parts) - 1).serialize(mask=True)

    def ping(self, payload: bytes) -> None:
        """Queue a ping."""
        self._out += Frame(Opcode.PING, payload).serialize(mask=True)

    def close(self, payload: bytes = b"") -> None:
        """Queue a close frame."""
        self._out += Frame(Opcode.CLOSE, payload).serialize(mask=True)

    # -- what happens ------------------------------------------------------------

    def until(self, condition: Callable[[], bool], *, patience: float = PATIENCE, read: bool = True) -> None:
        """Send and receive until ``condition`` holds.

        :param read: receive, too; without it the socket's buffers fill up.
        :raises Stopped: when the soak is over.
        :raises AssertionError: when it does not hold within ``patience`` seconds, or never can.
        """
        end = time.monotonic() + patience
        while not condition():
            if self._stop.is_set():
                raise Stopped
            assert not self.over, f"the gateway ended the connection, close code {self.code}"
            assert time.monotonic() < end, "it did not happen in time"
            self._turn(read)

    def rest(self, seconds: float, *, read: bool = False) -> None:
        """Send, but do not receive (unless told to), for a time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.over:
            if self._stop.is_set():
                raise Stopped
            self._turn(read)

    def expect(self, size: int) -> bytes:
        """The next ``size`` bytes of payload."""
        self.until(lambda: len(self.received) >= size)
        data = bytes(self.received[:size])
        del self.received[:size]
        return data

    def flush(self) -> None:
        """Send what is queued, receiving meanwhile."""
        self.until(lambda: not self._out)

    def end(self, *, patience: float = PATIENCE) -> int | None:
        """Receive until the gateway ends the connection; returns the code of its close frame, if any."""
        with contextlib.suppress(AssertionError):
            self.until(lambda: self.over, patience=patience)
        assert self.over, "the gateway did not end the connection"
        return self.code

    @property
    def code(self) -> int | None:
        """Close code received: 1005 for a close frame without one, ``None`` for no close frame."""
        close = self._protocol.close_rcvd
        return close.code if close is not None else None

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    # -- helpers -------------------------------------------------------------------

    def _turn(self, read: bool) -> None:
        moved = self._write()
        moved = (read and self._read()) or moved
        if not moved and not self.over:
            readers = [self.sock] if read else []
            writers = [self.sock] if self._out or self._wants_write else []
            select.select(readers, writers, [], _TICK if readers or writers else 0)
            if not readers and not writers:
                time.sleep(_TICK / 5)

    def _write(self) -> bool:
        if not self._out:
            return False
        try:
            # The same bytes again after a short write, as TLS asks for: they are only removed when sent.
            sent = self.sock.send(self._out[:_CHUNK])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError:
            # Reading tells how it ended.
            self._out.clear()
            return False
        del self._out[:sent]
        return sent > 0

    def _read(self) -> bool:
        try:
            data = self.sock.recv(_CHUNK)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except ssl.SSLWantWriteError:
            self._wants_write = True
            return False
        except OSError:
            data = b""
        self._wants_write = False
        if data:
            self._feed(data)
        else:
            self.over = True
        return True

    def _feed(self, data: bytes) -> None:
        protocol = self._protocol
        protocol.receive_data(data)
        # Pongs, and the answer to a close frame.
        answers = b"".join(protocol.data_to_send())
        if not self.mute:
            self._out += answers
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.BINARY:
                assert event.fin, "a fragmented message"
                self.received += event.data
            elif event.opcode is Opcode.PONG:
                self.pongs.append(bytes(event.data))
            else:
                assert event.opcode in (Opcode.PING, Opcode.CLOSE), event.opcode
        if protocol.parser_exc is not None:
            raise AssertionError(f"the gateway broke the protocol: {protocol.parser_exc}")
