"""Refusals as HTTP answers: a status, one fixed sentence, and nothing of the request."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from twisted.internet.interfaces import ITransport
from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.reasons import Refusal

__all__ = ["RefusalResource", "refusal_answer", "refusal_headers", "refuse"]

_EXTRA: Final[dict[int, tuple[tuple[str, str], ...]]] = {
    401: (("WWW-Authenticate", "Console-Ticket"),),
    405: (("Allow", "GET, HEAD"),),
    426: (("Upgrade", "websocket"),),
}
_RETRY: Final = {429: 10, 503: 10}
"""Seconds after which to come again, where nobody knows better."""


def refusal_headers(refusal: Refusal, retry: int | None = None) -> list[tuple[str, str]]:
    """Header fields of the answer to a refused request, without the length.

    :param retry: seconds after which to come again, where that is known.
    """
    if retry is None:
        retry = _RETRY.get(refusal.status)
    return [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *_EXTRA.get(refusal.status, ()),
        *((("Retry-After", str(retry)),) if retry is not None else ()),
    ]


def refusal_answer(
    refusal: Refusal, extra: Iterable[tuple[str, str]] = (), *, retry: int | None = None
) -> bytes:
    """The whole answer, after which the connection is closed.

    :param extra: further header fields.
    :param retry: seconds after which to come again, where that is known.
    """
    body = (refusal.public + "\n").encode("utf-8")
    lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (*refusal_headers(refusal, retry), *extra)]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def refuse(transport: ITransport, refusal: Refusal) -> None:
    """Answer with a refusal and close."""
    transport.write(refusal_answer(refusal))
    transport.loseConnection()


class RefusalResource(Resource):
    """A refusal as a page of the twisted.web site."""

    isLeaf = True

    def __init__(self, refusal: Refusal, retry: int | None = None) -> None:
        """:param retry: seconds after which to come again, where that is known."""
        super().__init__()
        self._refusal = refusal
        self._retry = retry

    def render(self, request: Request) -> bytes:
        status = HTTPStatus(self._refusal.status)
        request.setResponseCode(status, status.phrase.encode("ascii"))
        for name, value in refusal_headers(self._refusal, self._retry):
            request.setHeader(name, value)
        return (self._refusal.public + "\n").encode("utf-8")
