"""A WebSocket client for tests: the ``websockets`` package's protocol on a blocking socket, in one thread.

Its own synchronous client reads in a second thread, which Python's TLS sockets do not bear before 3.13.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

__all__ = ["WebSocketClient"]


class WebSocketClient:
    """An open WebSocket; a context manager that closes it."""

    def __init__(
        self, sock: socket.socket, uri: str, *, subprotocols: Sequence[str] | None = None, timeout: float = 10
    ) -> None:
        """Do the opening handshake on a connected socket, which is the client's from then on.

        :raises websockets.exceptions.InvalidHandshake: when it is refused.
        """
        self.socket = sock
        self._protocol = ClientProtocol(
            parse_uri(uri),
            subprotocols=list(subprotocols) if subprotocols else None,  # type: ignore[arg-type]
            max_size=None,
        )
        self._frames: list[Frame] = []
        self.response: Response | None = None
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        try:
            self._receive(lambda: self.response is not None, timeout)
        except BaseException:
            sock.close()
            raise
        if self._protocol.handshake_exc is not None:
            sock.close()
            raise self._protocol.handshake_exc

    @property
    def subprotocol(self) -> str | None:
        return self._protocol.subprotocol

    @property
    def close_code(self) -> int | None:
        return self._protocol.close_code

    @property
    def close_reason(self) -> str | None:
        return self._protocol.close_reason

    def send(self, data: bytes) -> None:
        """Send a binary message; does not read meanwhile."""
        self._protocol.send_binary(data)
        self._flush()

    def recv(self, timeout: float = 10) -> bytes:
        """The next message.

        :raises ConnectionClosed: when the connection has ended.
        :raises TimeoutError: when nothing comes in time.
        """
        return self._next((Opcode.BINARY, Opcode.TEXT, Opcode.CONT), timeout)

    def ping(self, payload: bytes, timeout: float = 10) -> None:
        """Send a ping and wait for its pong; messages before it are dropped."""
        self._protocol.send_ping(payload)
        self._flush()
        while self._next((Opcode.PONG,), timeout) != payload:
            pass

    def close(self, timeout: float = 10) -> None:
        """Do the close handshake."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()
        self._receive(lambda: self._protocol.state is State.CLOSED, timeout)
        self.socket.close()

    def __iter__(self) -> Iterator[bytes]:
        """Messages until the connection ends."""
        while True:
            try:
                yield self.recv()
            except ConnectionClosed:
                return

    def __enter__(self) -> WebSocketClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.socket.fileno() >= 0:
            self.close()
        self.socket.close()

    def _next(self, opcodes: Sequence[Opcode], timeout: float) -> bytes:
        self._receive(lambda: any(frame.opcode in opcodes for frame in self._frames), timeout)
        while self._frames:
            frame = self._frames.pop(0)
            if frame.opcode in opcodes:
                return bytes(frame.data)
        raise self._protocol.close_exc

    def _receive(self, until: object, timeout: float) -> None:
        """Read until ``until()`` is true or the connection has ended."""
        deadline = time.monotonic() + timeout
        while not until() and self._protocol.state is not State.CLOSED:  # type: ignore[operator]
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                data = b""
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            for event in self._protocol.events_received():
                if isinstance(event, Response):
                    self.response = event
                elif isinstance(event, Frame):
                    self._frames.append(event)
            self._flush()

    def _flush(self) -> None:
        self.socket.settimeout(10)
        for data in self._protocol.data_to_send():
            try:
                if data:
                    self.socket.sendall(data)
                else:
                    self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                # The end shows when reading.
                return
