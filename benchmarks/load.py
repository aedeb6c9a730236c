"""The other two sides: console servers and clients, in processes of their own."""

from __future__ import annotations

import base64
import multiprocessing
import os
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["open_session", "raise_file_limit", "target_process"]


def raise_file_limit() -> None:
    """Let this process hold as many sockets as it is allowed to."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_session(port: int, ticket: str, context: ssl.SSLContext | None) -> socket.socket:
    """Connect, upgrade, and return the socket with nothing else read from it."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    if context is not None:
        sock = context.wrap_socket(sock, server_hostname="localhost")
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    request = (
        f"GET /{ticket} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
    )
    sock.sendall(request.encode("ascii"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        piece = sock.recv(1)
        if not piece:
            raise ConnectionError(f"refused: {answer[:60]!r}")
        answer += piece
    if b" 101 " not in answer[:20]:
        raise ConnectionError(f"refused: {answer[:60]!r}")
    return sock


@contextmanager
def target_process(flood: int = 0) -> Iterator[int]:
    """A console server on 127.0.0.1 in another process; yields its port.

    :param flood: bytes to send to each client at once; 0 to say nothing and hold the connection.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, flood), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection[Any, Any], flood: int) -> None:
    raise_file_limit()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    pipe.send(listener.getsockname()[1])
    held = []
    while True:
        sock, _ = listener.accept()
        held.append(sock)
        if flood:
            threading.Thread(target=_flood, args=(sock, flood), daemon=True).start()


def _flood(sock: socket.socket, size: int) -> None:
    piece = bytes(65536)
    for _ in range(size // len(piece)):
        sock.sendall(piece)
