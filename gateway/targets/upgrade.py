"""The client's side of the WebSocket opening handshake, without I/O (RFC 6455, section 4.1).

KubeVirt serves consoles as WebSockets of the Kubernetes API.  There the bearer
token travels as a subprotocol, which makes the request a secret: it is handed
out once and kept nowhere, and no error repeats anything of it or of the answer.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Final

import attrs

from gateway.net.http_head import HEAD_END, BadHead, Fields, Head, split_head

__all__ = [
    "CONSOLE_SUBPROTOCOL",
    "MAX_RESPONSE_HEAD",
    "ClientUpgrade",
    "UpgradeError",
    "UpgradeForbidden",
    "bearer_subprotocols",
]

CONSOLE_SUBPROTOCOL: Final = "plain.kubevirt.io"
"""KubeVirt's name for a console's bytes in binary messages."""
MAX_RESPONSE_HEAD: Final = 16384
"""Longest response head taken, in bytes."""

_BEARER: Final = "base64url.bearer.authorization.k8s.io."
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFAULT_PORT: Final = 443

_HOST: Final = re.compile(r"[0-9A-Za-z._:-]+")
_PATH: Final = re.compile(r'/[!"$-~]*')
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BEGINNING: Final = b"HTTP/1.1 "
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\t -~\x80-\xff]*")


class UpgradeError(Exception):
    """The server did not upgrade the connection; the text is for the log and holds nothing that was sent."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        """The HTTP status, where there was one."""


class UpgradeForbidden(UpgradeError):
    """The server does not accept the token, or does not allow its bearer this console (401 or 403)."""


def bearer_subprotocols(token: str) -> tuple[str, ...]:
    """What to offer a KubeVirt console: a bearer token in a subprotocol's clothes, and the real one.

    :param token: as in a ticket; a secret, and so is the result.
    :raises ValueError: it is not printable ASCII.
    """
    if not token or not (token.isascii() and token.isprintable()):
        raise ValueError("bearer token is not printable ASCII")
    text = base64.urlsafe_b64encode(token.encode("ascii")).rstrip(b"=").decode("ascii")
    return _BEARER + text, CONSOLE_SUBPROTOCOL


class ClientUpgrade:
    """One opening handshake: write :meth:`data_to_send`, feed :meth:`receive_data` until :attr:`done`.

    After an :class:`UpgradeError` the connection is of no use, and neither is this.
    """

    __slots__ = ("_accept", "_head", "_offered", "_request", "done", "subprotocol", "unused_data")

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        subprotocols: tuple[str, ...],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """
        :param host: name, IPv4 address, or IPv6 address without brackets.
        :param port: of a ``wss`` URL: 443 is not named in the request.
        :param path: of the URL, and its query if it has one.
        :param subprotocols: to offer, the preferred one first.
        :param random_bytes: source of unpredictable bytes, such as :func:`os.urandom`.
        :raises ValueError: an argument is outside the grammar of a request; the text does not repeat it.
        """
        if _HOST.fullmatch(host) is None or not 1 <= port <= 65535 or _PATH.fullmatch(path) is None:
            raise ValueError("no host, port and path of a WebSocket URL")
        if len(set(subprotocols)) < len(subprotocols) or not all(map(_TOKEN.fullmatch, subprotocols)):
            raise ValueError("subprotocols are not different HTTP tokens")
        key = base64.b64encode(random_bytes(16))
        self._accept = _accept_of(key)
        self._request = _request(_authority(host, port), path, key.decode("ascii"), subprotocols)
        self._offered = subprotocols
        self._head = b""
        self.done = False
        """The connection is a WebSocket now."""
        self.subprotocol: str | None = None
        """What the server chose of those offered; ``None`` when it chose none."""
        self.unused_data = b""
        """What was received behind the response: the beginning of the server's frames."""

    @property
    def wanted(self) -> int:
        """Most bytes that the rest of the response head may have.

        Where the head ends shows only when it is there: what is read beyond is :attr:`unused_data`.
        """
        return 0 if self.done else MAX_RESPONSE_HEAD - len(self._head)

    def data_to_send(self) -> bytes:
        """The request; empty when it was handed out already."""
        request, self._request = self._request, b""
        return request

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the server, cut anywhere; only while not :attr:`done`.

        :raises UpgradeForbidden: status 401 or 403.
        :raises UpgradeError: the answer is no HTTP/1.1 response, too long, or no agreement to exactly what
            was asked for.
        """
        searched = max(0, len(self._head) - len(HEAD_END) + 1)
        self._head += data
        if not _BEGINNING.startswith(self._head[: len(_BEGINNING)]):
            # Somebody else speaks there, and might never send what ends a head.
            raise UpgradeError("the answer is not HTTP/1.1")
        end = self._head.find(HEAD_END, searched)
        size = len(self._head) if end < 0 else end + len(HEAD_END)
        if size > MAX_RESPONSE_HEAD:
            raise UpgradeError(f"the response head is longer than {MAX_RESPONSE_HEAD} bytes")
        if end < 0:
            return
        response = _parse_response(self._head[:size])
        _check_agreed(response, self._accept)
        self.subprotocol = _chosen(response, self._offered)
        self.unused_data = self._head[size:]
        self._head = b""
        self._offered = ()
        self.done = True


@attrs.frozen
class _ResponseHead(Head):
    """Status and header fields of a response."""

    status: int
    fields: Fields = attrs.field(repr=False)

    def single(self, name: str) -> str | None:
        """The value of a field that must not come twice.

        :raises UpgradeError: it does.
        """
        values = self.values(name)
        if len(values) > 1:
            raise UpgradeError(f"the response has more than one {name} field", self.status)
        return values[0] if values else None


def _request(authority: str, path: str, key: str, subprotocols: tuple[str, ...]) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {authority}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocols:
        lines.append("Sec-WebSocket-Protocol: " + ", ".join(subprotocols))
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _authority(host: str, port: int) -> str:
    if ":" in host:
        host = f"[{host}]"
    return host if port == _DEFAULT_PORT else f"{host}:{port}"


def _accept_of(key: bytes) -> str:
    """The ``Sec-WebSocket-Accept`` that shows that the key was understood."""
    # The digest is no safeguard of anything: RFC 6455 prescribes it, and its inputs are public.
    digest = hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def _parse_response(data: bytes) -> _ResponseHead:
    try:
        line, fields = split_head(data)
    except BadHead as fault:
        raise UpgradeError(f"the response head breaks HTTP's grammar ({fault})") from None
    status = _STATUS_LINE.fullmatch(line)
    if status is None:
        raise UpgradeError("the response head breaks HTTP's grammar (status line)")
    return _ResponseHead(int(status[1]), fields)


def _check_agreed(response: _ResponseHead, accept: str) -> None:
    """Refuse what is not the one answer to our request (points 1 to 5 of the section's second list)."""
    status = response.status
    if status in (401, 403):
        raise UpgradeForbidden(f"the server answered with status {status}", status)
    if status != 101:
        raise UpgradeError(f"the server answered with status {status} instead of 101", status)
    if (response.single("upgrade") or "").lower() != "websocket":
        raise UpgradeError("the response does not upgrade to WebSocket", status)
    if "upgrade" not in response.tokens("connection"):
        raise UpgradeError("the response does not upgrade the connection", status)
    if response.single("sec-websocket-accept") != accept:
        raise UpgradeError("the response does not answer our key", status)
    if response.values("sec-websocket-extensions"):
        raise UpgradeError("the server uses an extension that was not offered", status)


def _chosen(response: _ResponseHead, offered: tuple[str, ...]) -> str | None:
    """The subprotocol that the server chose (point 6)."""
    chosen = response.single("sec-websocket-protocol")
    if chosen is None:
        return None
    if chosen not in offered:
        raise UpgradeError("the server chose a subprotocol that was not offered", response.status)
    if chosen.startswith(_BEARER):
        # The token is no protocol; a server that takes it for one would have it passed on as its name.
        raise UpgradeError("the server chose the bearer token as its subprotocol", response.status)
    return chosen
