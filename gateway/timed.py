"""Sockets of :mod:`http.client` with one deadline for a whole exchange.

A timeout of a socket begins anew with each byte; whoever says one at a time could stretch it for ever.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from typing import Any

__all__ = ["TimedSocket", "seconds_until"]


def seconds_until(end: float) -> float:
    """Seconds that are left until a moment of the monotonic clock.

    :raises TimeoutError: none.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class TimedSocket:
    """What :mod:`http.client` needs of a socket."""

    def __init__(
        self,
        sock: socket.socket,
        left: Callable[[], float],
        piece: int,
        received: Callable[[int], object] = lambda _: None,
    ) -> None:
        """
        :param left: the seconds that are left, asked before each wait.
        :param piece: bytes that are read at once.
        :param received: told how many bytes came.
        """
        self._sock = sock
        self._left = left
        self._piece = piece
        self._received = received

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._left, self._received), self._piece)

    def close(self) -> None:
        """Nothing: the socket is its owner's, and its file outlives this."""


class _Reader(io.RawIOBase):
    def __init__(
        self, sock: socket.socket, left: Callable[[], float], received: Callable[[int], object]
    ) -> None:
        self._sock = sock
        self._left = left
        self._received = received

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._left())
        count = self._sock.recv_into(buffer)
        self._received(count)
        return count
