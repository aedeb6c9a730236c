"""The WebSocket opening handshake (RFC 6455, section 4.2), done by Autobahn.

A protocol here lives from the complete request head to the answer.  On
success the connection is handed over to a session and the protocol is gone;
on refusal a fixed HTTP answer is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet import defer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.front.gate import UNPROVEN, Gate, Refused
from gateway.front.handover import hand_over, shared_options
from gateway.front.refusals import refusal_answer
from gateway.net import Channel, Stream
from gateway.reasons import Refusal
from gateway.sessions import Admission

__all__ = ["NOTICES", "SUBPROTOCOL", "HandshakeFactory", "HandshakeProtocol"]

SUBPROTOCOL = "binary"
NOTICES = "console-gateway.v1"
"""The same, and the client takes text messages from the gateway beside the console's binary ones."""

_log = Logger()

_STATUS = {405: Refusal.METHOD_NOT_ALLOWED, 426: Refusal.UPGRADE_REQUIRED, 500: Refusal.INTERNAL_ERROR}


class _NoLog:
    """Autobahn logs whole requests, and a request line is a ticket: it gets no logger at all."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _ignore


def _no_compression(offers: Any) -> None:
    """Decline every offer: console traffic is compressed already, and secrets share its stream."""


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Log nothing."""


class HandshakeProtocol(WebSocketServerProtocol):
    """One opening handshake."""

    transport: Stream
    log = _NoLog()

    def __init__(
        self,
        gate: Gate,
        start: Callable[..., object],
        path: str,
        client: str,
        prove: Callable[[], None],
    ) -> None:
        """
        :param start: begins a session, see :meth:`gateway.sessions.Sessions.start`.
        :param path: the request path without its leading slash, exactly as it was sent.
        :param client: the client's address, for limits and the log.
        :param prove: called when the client has shown a genuine ticket.
        """
        super().__init__()
        self._gate = gate
        self._start = start
        self._path = path
        self._client = client
        self._prove = prove
        self._admission: Admission | None = None
        self._refusal: Refusal | None = None
        self._asked = False
        self._gone = False

    def dataReceived(self, data: bytes) -> None:
        """The request head comes first, in one piece; what follows waits for the decision with it."""
        if self._asked:
            # Autobahn would take it for another request.  One read is enough to hold.
            self.transport.pauseProducing()
            self.data += data
        else:
            self._asked = True
            super().dataReceived(data)

    def onConnect(self, request: ConnectionRequest) -> Any:
        """Autobahn found the request well-formed: decide; a Deferred of the subprotocol."""
        return defer.Deferred.fromCoroutine(self._decide(request))

    async def _decide(self, request: ConnectionRequest) -> str | None:
        subprotocol = next((each for each in (NOTICES, SUBPROTOCOL) if each in request.protocols), None)
        try:
            if request.protocols and subprotocol is None:
                self._gate.refuse(Refusal.SUBPROTOCOL, self._client)
            admission = await self._gate.admit(self._path, request.headers.get("origin"), self._client)
        except Refused as refused:
            if refused.refusal not in UNPROVEN:
                self._prove()
            self._deny(refused.refusal)
        except Exception:
            # Autobahn would log it, but has no logger here.
            _log.failure("Unexpected error at the gate")
            self._deny(Refusal.INTERNAL_ERROR)
        if self._gone:
            admission.give_back()
            self._deny(Refusal.INTERNAL_ERROR)
        self._admission = admission
        self._prove()
        return subprotocol

    def _deny(self, refusal: Refusal) -> NoReturn:
        self._refusal = refusal
        raise ConnectionDeny(refusal.status, refusal.label)

    def onOpen(self) -> None:
        """The answer is written: the session takes over."""
        admission, self._admission = self._admission, None
        assert admission is not None
        channel: Channel
        notices = self.websocket_protocol_in_use == NOTICES
        accepted = self.transport.accepted
        channel, unsent, early = hand_over(self)
        try:
            self._start(admission, channel, unsent=unsent, early=early, accepted=accepted, notices=notices)
        except Exception:
            _log.failure("Unexpected error: no session was started")
            admission.give_back()
            channel.abort()

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """Answer with our own words: Autobahn's quote the request."""
        refusal = self._refusal
        if refusal is None:
            # Autobahn refused the request itself; why would quote it.
            refusal = _STATUS.get(code, Refusal.MALFORMED)
            self._gate.note(refusal, self._client, detail="opening handshake")
        if self.transport is not None:
            # The headers are Autobahn's own: the version it speaks, for a client that speaks another.
            retry = self._gate.retry_after(refusal, self._client)
            self.transport.write(refusal_answer(refusal, responseHeaders or (), retry=retry))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client left during the handshake."""
        self._gone = True
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.give_back()
        super().connectionLost(reason)


class HandshakeFactory(WebSocketServerFactory):
    """What all opening handshakes share."""

    log = _NoLog()
    noisy = False

    def __init__(self, reactor: Any) -> None:
        super().__init__(server="", reactor=reactor)
        self.setProtocolOptions(
            versions=[13],
            # The request head has its own time limit before it gets here.
            openHandshakeTimeout=0,
            # Origins are the gate's business.
            allowedOrigins=["*"],
            allowNullOrigin=True,
            perMessageCompressionAccept=_no_compression,
            serveFlashSocketPolicy=False,
            trustXForwardedFor=0,
            webStatus=False,
        )
        self._made = type("SharedHandshakeProtocol", (HandshakeProtocol,), shared_options(self))

    def make(
        self,
        gate: Gate,
        start: Callable[..., object],
        path: str,
        client: str,
        prove: Callable[[], None],
    ) -> HandshakeProtocol:
        """A protocol for one opening handshake; see :class:`HandshakeProtocol`."""
        protocol: HandshakeProtocol = self._made(gate, start, path, client, prove)
        protocol.factory = self
        return protocol
