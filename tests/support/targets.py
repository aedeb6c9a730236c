"""Console servers for tests: small, on loopback, one thread per connection."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["TargetServer", "closed_port", "closing", "echo", "flood", "greet", "reset", "stall"]

Behaviour = Callable[[socket.socket, threading.Event], None]


class TargetServer:
    """Serves every connection with one behaviour until it is closed."""

    def __init__(self, behaviour: Behaviour, *, path: str | None = None) -> None:
        """:param path: listen on this Unix socket instead of a free TCP port on loopback."""
        self._behaviour = behaviour
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
        self._stop = threading.Event()
        self._live: set[socket.socket] = set()
        self.accepted = 0
        """Connections so far."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop accepting and drop every connection."""
        self._stop.set()
        for sock in (self._listener, *self._live):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._live.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            self._behaviour(sock, self._stop)
        self._live.discard(sock)


def echo(sock: socket.socket, stop: threading.Event) -> None:
    """Send back whatever comes."""
    while data := sock.recv(65536):
        sock.sendall(data)


def greet(sock: socket.socket, stop: threading.Event) -> None:
    """Speak first, as RFB servers do, then echo."""
    sock.sendall(b"RFB 003.008\n")
    echo(sock, stop)


def flood(sock: socket.socket, stop: threading.Event) -> None:
    """Send without end and read nothing."""
    block = bytes(65536)
    while not stop.is_set():
        sock.sendall(block)


def stall(sock: socket.socket, stop: threading.Event) -> None:
    """Neither read nor write."""
    stop.wait()


def closing(sock: socket.socket, stop: threading.Event) -> None:
    """Say goodbye and close."""
    sock.sendall(b"bye")


def reset(sock: socket.socket, stop: threading.Event) -> None:
    """Wait for a byte, then reset the connection."""
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closed_port() -> int:
    """A port on which nothing listens, and that no connection is given by chance."""
    while True:
        port = random.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
