"""twisted.web with bounds, on the gateway's own streams (RFC 9112).

Whoever serves HTTP here has the same needs: a time limit for each request that
no trickle of bytes extends, a bound on bodies that holds before they are read,
no log of requests, and nothing said of what runs here.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource

__all__ = ["HttpChannel", "HttpRequest", "HttpSite", "raw_answer"]

_IDLE: Final = 15
"""Seconds from the end of one request to the complete receipt of the next."""

_MAX_BODY: Final = 65536
"""Largest request body that a resource is given, in bytes; small enough to be kept in memory."""


class HttpChannel(http.HTTPChannel):
    """HTTP/1.1 with a time limit for the receipt of each request; answers may take as long as they like."""

    arrival: Any = None
    """What is known of the connection, for whoever set it."""
    _blocked = False
    _turn: Any = None

    def resetTimeout(self) -> None:
        """Nothing: a few bytes now and then gain no time."""

    def timeoutConnection(self) -> None:
        self.loseConnection()

    def abort(self) -> None:
        """End the connection now."""
        transport: Any = self.transport
        transport.abortConnection()

    def pauseProducing(self) -> None:
        self._blocked = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self._blocked = False
        super().resumeProducing()
        if self._turn is None:
            self._go_on()

    def requestDone(self, request: Any) -> None:
        """The answer is written: look at the next request, if it is there, in another turn.

        Twisted would answer all that were received before it lets others have theirs, and whether or not
        anybody takes the answers: a client that sends many requests and reads nothing would fill the memory.
        """
        buffered = bool(self._buffer or self._dataBuffer)
        self.paused = buffered or self._blocked
        super().requestDone(request)
        transport: Any = self.transport
        if self.paused and not transport.disconnecting:
            self._networkProducer.pauseProducing()
            if not self._blocked:
                self._turn = self.callLater(0, self._take_turn)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        super().connectionLost(reason)

    def _take_turn(self) -> None:
        self._turn = None
        if not self._blocked:
            self._go_on()

    def _go_on(self) -> None:
        transport: Any = self.transport
        if self.paused and not transport.disconnecting:
            self.paused = False
            self._networkProducer.resumeProducing()
            self.dataReceived(b"")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        if self._blocked and streaming:
            # What was written before is still being sent.
            producer.pauseProducing()


class HttpRequest(server.Request):
    """A request whose body is bounded."""

    _received = 0
    _too_large = False

    def gotLength(self, length: int | None) -> None:
        bound = self._site.max_body
        # With a length in bounds, so that no body gets a file.
        super().gotLength(bound)
        if length is not None and length > bound:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._site.max_body:
            self._refuse()
        if not self._too_large:
            super().handleContentChunk(data)

    def process(self) -> None:
        # What is left of a body that was refused is not to be acted upon.
        if not self._too_large:
            self.serve()

    def serve(self) -> None:
        """Answer the request, which is complete."""
        super().process()

    def write(self, data: bytes) -> None:
        if not self.startedWriting:
            # What runs here and in which version is nobody's business.
            self.responseHeaders.removeHeader(b"server")
        super().write(data)

    @property
    def _site(self) -> HttpSite:
        channel: Any = self.channel
        site: HttpSite = channel.site
        return site

    def _refuse(self) -> None:
        if not self._too_large:
            self._too_large = True
            channel: Any = self.channel
            channel.transport.write(self._site.too_large)
            channel.loseConnection()


class HttpSite(server.Site):
    """A site that logs no request."""

    protocol = HttpChannel  # type: ignore[assignment]

    def __init__(
        self,
        root: IResource,
        reactor: IReactorTime,
        *,
        too_large: bytes,
        max_body: int = _MAX_BODY,
        request: Callable[..., HttpRequest] = HttpRequest,
        forms: bool = True,
    ) -> None:
        """
        :param too_large: the whole answer to a request whose body is too large, see :func:`raw_answer`.
        :param max_body: bytes that a body may have, less than 100000.
        :param forms: take bodies of forms apart, and refuse those that are none without asking a resource.
        """
        super().__init__(root, requestFactory=request, reactor=reactor, parsePOSTFormSubmission=forms)
        self.timeOut = _IDLE
        self.displayTracebacks = False
        self.noisy = False
        self.max_body = max_body
        self.too_large = too_large

    def log(self, request: Any) -> None:
        """Log nothing."""


def raw_answer(status: int, fields: dict[str, str], body: bytes) -> bytes:
    """A whole answer, after which the connection is closed.

    :param fields: header fields, without those of length and connection.
    """
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + body
