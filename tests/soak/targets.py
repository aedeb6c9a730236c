"""The console servers of a soak: each behaves in one way, and knows how many it serves."""

from __future__ import annotations

import contextlib
import hashlib
import random
import select
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.support.targets import Behaviour, TargetServer, closed_port, closing, echo, flood, reset

__all__ = ["DIGEST_HEADER", "PATTERN", "UNIX_HOST", "UNIX_PORT", "Stage", "pattern"]

PATTERN: Final = random.Random(1).randbytes(65521)
"""What :func:`pattern` repeats; a prime length, so that a piece that is lost or doubled shows."""

DIGEST_HEADER: Final = 8
UNIX_HOST: Final = "unix.example"
UNIX_PORT: Final = 5900
"""The name of a target that is a Unix socket."""

_TICK: Final = 0.25
"""Seconds between two looks at whether to stop."""
_STALL: Final = 4.0
"""Seconds of reading nothing."""


def pattern(sock: socket.socket, stop: threading.Event) -> None:
    """Send :data:`PATTERN` again and again, in pieces of any size."""
    chance = random.Random()
    at = 0
    while not stop.is_set():
        piece = PATTERN[at : at + chance.choice((1, 700, 16_384, 65_521))]
        sock.sendall(piece)
        at = (at + len(piece)) % len(PATTERN)


def trickle(sock: socket.socket, stop: threading.Event) -> None:
    """The same in many small writes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at = 0
    while not stop.is_set():
        for _ in range(200):
            size = 1 + at % 40
            piece = PATTERN[at : at + size]
            sock.sendall(piece)
            at = (at + len(piece)) % len(PATTERN)
        time.sleep(0.002)


def stall(sock: socket.socket, stop: threading.Event) -> None:
    """Neither read nor write for some seconds, or until the peer is gone."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    end = time.monotonic() + _STALL
    while not stop.is_set() and time.monotonic() < end and not poll.poll(1000 * _TICK):
        pass
    # An end behind bytes that nobody reads would never get here.
    while sock.recv(65536):
        pass


def slow(sock: socket.socket, stop: threading.Event) -> None:
    """Echo a little at a time."""
    while data := sock.recv(4096):
        sock.sendall(data)
        if stop.wait(0.005):
            return


def digest(sock: socket.socket, stop: threading.Event) -> None:
    """Read as many bytes as the first eight say, answer with their SHA-256, and close."""
    head = b""
    while len(head) < DIGEST_HEADER:
        piece = sock.recv(DIGEST_HEADER - len(head))
        if not piece:
            return
        head += piece
    left = int.from_bytes(head, "big")
    digested = hashlib.sha256()
    while left:
        data = sock.recv(min(left, 65536))
        if not data:
            return
        digested.update(data)
        left -= len(data)
    sock.sendall(digested.digest())


class Stage:
    """All servers of a soak; a context manager that closes them.

    :ivar ports: port by behaviour; ``closed`` is one without a server, ``hole`` one that never answers.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = threading.Lock()
        self._live = 0
        behaviours = (pattern, trickle, stall, slow, digest, echo, flood, closing, reset)
        self._servers = {each.__name__: TargetServer(self._counted(each)) for each in behaviours}
        self.unix_path = directory / "target.sock"
        self._servers["unix"] = TargetServer(self._counted(echo), path=str(self.unix_path))
        self.ports = {name: server.port for name, server in self._servers.items() if name != "unix"}
        self.ports["closed"] = closed_port()
        self._hole = socket.socket()
        self._hole.bind(("127.0.0.1", 0))
        self._hole.listen(0)
        self.ports["hole"] = self._hole.getsockname()[1]
        self._fillers = [socket.socket() for _ in range(3)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(self._hole.getsockname())

    @property
    def live(self) -> int:
        """Connections that are being served."""
        return self._live

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        for sock in (self._hole, *self._fillers):
            sock.close()

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _counted(self, behaviour: Behaviour) -> Behaviour:
        def serve(sock: socket.socket, stop: threading.Event) -> None:
            with self._lock:
                self._live += 1
            try:
                # A server whose peer is gone ends; that the right bytes came is the client's to say.
                with contextlib.suppress(OSError):
                    behaviour(sock, stop)
            finally:
                # Closed before it is counted out, so that "none is live" means that all are closed.
                sock.close()
                with self._lock:
                    self._live -= 1

        return serve
