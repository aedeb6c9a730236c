"""A client that sends exactly the bytes it is told to, and reads the answer."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping

import attrs

__all__ = ["KEY", "Answer", "read_answer", "read_rest", "upgrade"]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@attrs.frozen
class Answer:
    """An HTTP answer as it came."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        """Value of a header field."""
        match = re.search(rb"(?im)^" + name.encode() + rb":[ \t]*(.*?)\r?$", self.head)
        return match[1].decode("latin-1") if match else None


def upgrade(
    path: str, fields: Mapping[str, str | None] | Iterable[tuple[str, str]] = (), *, method: str = "GET"
) -> bytes:
    """An upgrade request.

    :param fields: a mapping changes the usual fields (``None`` leaves one out); pairs are added to them.
    """
    usual: dict[str, str | None] = {
        "Host": "gateway.example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
    }
    if isinstance(fields, Mapping):
        pairs = [(name, value) for name, value in {**usual, **fields}.items() if value is not None]
    else:
        pairs = [*((name, value) for name, value in usual.items() if value is not None), *fields]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def read_answer(sock: socket.socket, rest: bytes = b"") -> tuple[Answer, bytes]:
    """Read one answer with its ``Content-Length``; returns it and the bytes behind it."""
    data = rest
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, f"connection ended inside a head: {data!r}"
        data += piece
    head, _, data = data.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    answer = Answer(status, head, b"")
    length = int(answer.header("Content-Length") or "0")
    while len(data) < length:
        piece = sock.recv(65536)
        assert piece, f"connection ended inside a body: {data!r}"
        data += piece
    return attrs.evolve(answer, body=data[:length]), data[length:]


def read_rest(sock: socket.socket) -> bytes:
    """Everything up to the end of the connection, orderly or not."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data
