"""A synchronous client of the control API, for commands and scripts.

HTTP/1.1 (RFC 9112) over a Unix socket or TLS, JSON (RFC 8259), Server-Sent
Events.  Every size and every wait is bounded.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import attrs

from gateway.control.address import Address, UnixAddress, WebAddress, tls_context
from gateway.control.event_stream import EventStream, EventStreamError
from gateway.control.problems import MAX_REASON, ControlError, explain, not_ours, remedy
from gateway.timed import TimedSocket, seconds_until

__all__ = ["Answer", "ControlClient", "Following"]

MAX_ANSWER: Final = 67108864
"""Bytes in an answer; ten thousand sessions are a tenth of that."""
_PIECE: Final = 65536

Query = Sequence[tuple[str, str]]


@attrs.frozen
class Answer:
    """What the API said."""

    text: str = attrs.field(repr=False)
    """JSON as it came, but in printable ASCII: everything else is escaped."""
    value: Mapping[str, Any] = attrs.field(repr=False)
    """The same, parsed."""


class ControlClient:
    """Asks one gateway.  A connection is made for each request.

    :param address: where it is.
    :param timeout: time for a request and its answer, in seconds.
    """

    def __init__(self, address: Address, timeout: float = 15.0) -> None:
        self.address = address
        self._timeout = timeout
        self._context = tls_context(address) if isinstance(address, WebAddress) and address.tls else None

    def get(self, path: str, query: Query = ()) -> Answer:
        """Ask for something.

        :param path: below ``/api/v1/``, without leading slash; its segments are already quoted.
        :raises ControlError: there is no answer, or none that was asked for.
        """
        return self._ask("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, object], *, timeout: float | None = None) -> Answer:
        """Have something done.

        :param timeout: time for what takes longer than other requests, in seconds.
        :raises ControlError: it was not done, or nobody can tell.
        """
        return self._ask("POST", path, (), json.dumps(body).encode("ascii"), timeout)

    def delete(self, path: str) -> Answer:
        """Have something taken back.

        :raises ControlError: as for :meth:`post`.
        """
        return self._ask("DELETE", path, (), None)

    def follow(self, query: Query = (), *, after: int | None = None, silence: float = 45.0) -> Following:
        """Follow the event stream.

        :param after: number of the last event that is known, if any.
        :param silence: time without a sign of life after which the connection counts as lost, in seconds;
            the gateway gives one every 15 seconds.
        :raises ControlError: it cannot be followed.
        """
        connection = _Connection(self.address, self._context, self._timeout)
        try:
            response = connection.request(
                "GET", _path("events", query), None, {"Accept": "text/event-stream"} | _last(after)
            )
            if response.status != http.HTTPStatus.OK:
                raise self._refusal(response, connection.read(response, MAX_ANSWER))
            if response.headers.get_content_type() != "text/event-stream":
                raise not_ours(self.address)
        except BaseException:
            connection.close()
            raise
        return Following(connection, response, silence)

    def _ask(
        self, method: str, path: str, query: Query, body: bytes | None, timeout: float | None = None
    ) -> Answer:
        with _Connection(self.address, self._context, timeout or self._timeout) as connection:
            response = connection.request(method, _path(path, query), body, {"Accept": "application/json"})
            content = connection.read(response, MAX_ANSWER)
        if response.status != http.HTTPStatus.OK:
            raise self._refusal(response, content)
        value = _parse(response, content)
        if value is None:
            raise not_ours(self.address)
        return Answer(_printable(content.decode("utf-8")), value)

    def _refusal(self, response: http.client.HTTPResponse, content: bytes) -> ControlError:
        status = response.status
        error = (_parse(response, content) or {}).get("error")
        reason = help_ = None
        problems: Any = ()
        if isinstance(error, dict):
            reason, help_, problems = error.get("message"), error.get("remedy"), error.get("problems")
        if not isinstance(reason, str):
            return not_ours(self.address, status)
        # What the gateway says of credentials is for whoever writes requests, not for whoever types commands.
        if not isinstance(help_, str) or status == http.HTTPStatus.UNAUTHORIZED:
            help_ = remedy(status, certificates=self._context is not None)
        return ControlError(
            f"the gateway says: {reason[:MAX_REASON]} (HTTP status {status})",
            help_[:MAX_REASON],
            status,
            problems if isinstance(problems, list) else (),
        )


class Following:
    """The event stream on one connection: iterates over events; as a context manager it closes them."""

    def __init__(self, connection: _Connection, response: http.client.HTTPResponse, silence: float) -> None:
        self._connection = connection
        self._response = response
        self._silence = silence
        self._stream = EventStream()

    def __iter__(self) -> Iterator[tuple[str, Answer]]:
        """Events as they come, their types and what they say, until the gateway ends the stream.

        :raises ControlError: the connection was lost, or what came is no stream of events.
        """
        address = self._connection.address
        while data := self._connection.read_some(self._response, self._silence):
            try:
                events = self._stream.feed(data)
            except EventStreamError as error:
                raise ControlError(f"{address}: {error}") from None
            for event in events:
                value = _object(event.data)
                if value is None:
                    raise not_ours(address)
                yield event.event, Answer(_printable(event.data).replace("\n", " "), value)

    def __enter__(self) -> Following:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


class _Connection:
    """One connection, whose every wait ends."""

    def __init__(self, address: Address, context: ssl.SSLContext | None, timeout: float) -> None:
        self.address = address
        self._end = time.monotonic() + timeout
        self._context = context
        self._socket: socket.socket | None = None

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Connect, ask, and wait for the head of the answer."""
        fields = {"User-Agent": "console-gateway", "Connection": "close", **headers}
        host = "localhost"
        if isinstance(self.address, WebAddress):
            host = self.address.authority
            if self.address.token is not None:
                fields["Authorization"] = f"Bearer {self.address.token}"
        fields["Host"] = host
        if body is not None:
            fields["Content-Type"] = "application/json"
        problem: ControlError
        try:
            self._socket = self._connect()
            connection = http.client.HTTPConnection(host)
            connection.sock = TimedSocket(self._socket, self.left, _PIECE)
            connection.request(method, path, body, fields)
            return connection.getresponse()
        except (OSError, ssl.CertificateError) as error:
            problem = explain(self.address, error, unix=isinstance(self.address, UnixAddress))
        except http.client.HTTPException:
            problem = not_ours(self.address)
        # Outside of the handlers: what is raised does not carry a request, with its token, along.
        raise problem

    def read(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        """The whole content."""
        content = self._guarded(lambda: response.read(limit + 1))
        if len(content) > limit:
            raise ControlError(f"{self.address}: the answer is longer than {limit} bytes")
        if response.length:
            raise self._lost()
        return content

    def read_some(self, response: http.client.HTTPResponse, timeout: float) -> bytes:
        """What comes next; nothing at the end."""
        self._end = time.monotonic() + timeout
        return self._guarded(lambda: response.read1(_PIECE))

    def _guarded(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except OSError as error:
            problem = explain(self.address, error, unix=isinstance(self.address, UnixAddress))
        except http.client.HTTPException:
            problem = self._lost()
        raise problem

    def _lost(self) -> ControlError:
        return ControlError(f"{self.address}: the connection was lost in the middle of an answer")

    def _connect(self) -> socket.socket:
        if isinstance(self.address, UnixAddress):
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(self.left())
                sock.connect(str(self.address.path))
            except BaseException:
                sock.close()
                raise
            return sock
        sock = socket.create_connection((self.address.host, self.address.port), self.left())
        if self._context is None:
            return sock
        try:
            sock.settimeout(self.left())
            return self._context.wrap_socket(sock, server_hostname=self.address.host)
        except BaseException:
            sock.close()
            raise

    def left(self) -> float:
        """Seconds that are left.

        :raises TimeoutError: none.
        """
        return seconds_until(self._end)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> _Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _path(path: str, query: Query) -> str:
    text = urllib.parse.urlencode(query, errors="surrogateescape")
    return f"/api/v1/{path}" + (f"?{text}" if text else "")


def _last(after: int | None) -> dict[str, str]:
    return {} if after is None else {"Last-Event-ID": str(after)}


def _parse(response: http.client.HTTPResponse, content: bytes) -> Mapping[str, Any] | None:
    if response.headers.get_content_type() != "application/json":
        return None
    try:
        return _object(content.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _printable(text: str) -> str:
    """JSON that means the same, without characters that command a terminal, hide, or are not in its set."""
    if text.isascii() and text.isprintable():
        return text
    # Outside of strings JSON has no such characters but white space; inside, an escape says the same.
    return "".join(c if " " <= c <= "~" or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character in "\t\r":
        return " "
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
