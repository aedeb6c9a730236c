"""The door: every accepted connection passes here and is shown its room.

TLS, then one bounded request head, then either the WebSocket handshake or the
twisted.web site.  Until a connection has become a session it counts against
``limits.handshakes``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from gateway.front.forwarded import BadForwarded, Clients
from gateway.front.gate import Gate
from gateway.front.head import BadHead, RequestHead, parse_head
from gateway.front.refusals import refuse
from gateway.front.site import FrontPages, make_site, prove
from gateway.front.watch import Watch
from gateway.front.websocket import HandshakeFactory
from gateway.net import Announced, Arrival, ProxyHeader, Reception, Stream, TrustedProxies, client_text
from gateway.reasons import Refusal
from gateway.settings import FrontSettings, ProxySettings
from gateway.tickets import looks_like_ticket

__all__ = ["Front"]

_HEAD_END = b"\r\n\r\n"


class Front:
    """Takes accepted sockets and makes sessions, pages or refusals of them."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: FrontSettings,
        gate: Gate,
        start: Callable[..., object],
        *,
        max_handshakes: int,
        context: Callable[[], SSL.Context] | None,
        watch: Watch,
        proxies: ProxySettings | None = None,
    ) -> None:
        """
        :param start: begins a session, see :meth:`gateway.sessions.Sessions.start`.
        :param max_handshakes: connections that may be open without being a session.
        :param context: the TLS context for the next connection, where there are TLS listeners.
        :param watch: knows from where no more connections are taken.
        :param proxies: who is trusted to say who the client is; nobody by default.
        """
        self.reactor = reactor
        self.settings = settings
        self.gate = gate
        self.start = start
        proxies = proxies or ProxySettings()
        self._clients = Clients(proxies)
        self.announced = Announced(
            reactor, TrustedProxies(proxies), settings.handshake_timeout, watch.unannounced
        )
        """Connections of proxies, before their clients are known."""
        self._reception = Reception(
            reactor,
            lambda arrival: _Door(self, arrival),
            name="limits.handshakes",
            limit=max_handshakes,
            handshake_timeout=settings.handshake_timeout,
            context=context,
            doorkeeper=watch,
            announced=self.announced,
        )
        self._streams = self._reception.streams
        self.handshakes = HandshakeFactory(reactor)
        self.pages = FrontPages(gate, self._clients)
        self.site = make_site(self.pages, reactor, self._upgrade_late)

    def add_pages(self, name: str, resource: IResource) -> None:
        """Serve a resource under ``/name`` beside the consoles."""
        self.pages.putChild(name.encode("ascii"), resource)

    def begin(self) -> None:
        """Get ready; call before connections are accepted."""
        self.handshakes.doStart()
        self.site.doStart()

    def end(self) -> None:
        """Drop every connection that is not a session."""
        self._reception.close()
        self.site.doStop()
        self.handshakes.doStop()

    @property
    def handshakes_open(self) -> int:
        """Connections that are not a session (yet)."""
        return self._reception.open

    def accept(self, sock: socket.socket, address: Any, *, tls: bool, announced: bool = False) -> None:
        """Take an accepted socket.

        :param announced: whether it is a proxy's, and begins with a header of the PROXY protocol.
        """
        self._reception.accept(sock, address, tls=tls, announced=announced)

    def route(self, arrival: Arrival, head: RequestHead, data: bytes) -> None:
        """Give a connection to whoever serves its first request.

        :param data: everything received so far, the head first.
        """
        stream = arrival.stream
        if not head.wants_websocket:
            page: Any = self.site.buildProtocol(stream.getPeer())
            page.arrival = arrival
            _switch(stream, page, data)
            return
        path = head.target[1:]
        refusal = None
        if head.method != "GET":
            refusal = Refusal.METHOD_NOT_ALLOWED
        elif head.has_body:
            refusal = Refusal.MALFORMED
        elif not head.target.startswith("/") or not looks_like_ticket(path):
            refusal = Refusal.NOT_FOUND
        if refusal is not None:
            refuse(stream, refusal)
            return
        peer = stream.getPeer()
        try:
            client = self._clients.find(peer, head.values)
        except BadForwarded as error:
            self.gate.note(Refusal.MALFORMED, client_text(peer), detail=f"forwarded: {error}")
            refuse(stream, Refusal.MALFORMED)
            return
        start = partial(self.start, on_behalf_of=ProxyHeader(client, stream.getHost()))
        handshake = self.handshakes.make(self.gate, start, path, client_text(client), partial(prove, arrival))
        # Autobahn ends a line at this byte too (NEL in Latin-1), so that a value could pose as a field.
        lines, end, early = data.partition(_HEAD_END)
        _switch(stream, handshake, lines.replace(b"\x85", b"?") + end + early)

    def _upgrade_late(self, request: Any) -> None:
        """An upgrade on a connection that served pages before, as reverse proxies send them."""
        channel = request.channel
        stream: Stream = channel.transport
        channel.setTimeout(None)
        stream.unregisterProducer()
        lines = [b"%s %s %s" % (request.method, request.uri, request.clientproto)]
        for name, values in request.requestHeaders.getAllRawHeaders():
            lines += [b"%s: %s" % (name, value) for value in values]
        data = b"\r\n".join(lines) + _HEAD_END
        # Not before twisted.web has left the stack: it still touches the transport on its way out.
        self.reactor.callLater(0, self._route_late, channel.arrival, data, channel.behind)

    def _route_late(self, arrival: Arrival, data: bytes, behind: bytearray) -> None:
        stream = arrival.stream
        if stream not in self._streams:
            # The client left meanwhile.
            return
        stream.accepted = self.reactor.seconds()
        stream.resumeProducing()
        try:
            head = parse_head(data)
        except BadHead:
            refuse(stream, Refusal.MALFORMED)
        else:
            self.route(arrival, head, data + behind)


class _Door(Protocol):
    """Collects one request head within its limits."""

    transport: Stream

    def __init__(self, front: Front, arrival: Arrival) -> None:
        self._front = front
        self._arrival = arrival
        self._data = b""
        self._timer: Any = None

    def connectionMade(self) -> None:
        front = self._front
        self._timer = front.reactor.callLater(front.settings.head_timeout, self._timed_out)

    def dataReceived(self, data: bytes) -> None:
        front = self._front
        searched = max(0, len(self._data) - len(_HEAD_END) + 1)
        self._data += data
        end = self._data.find(_HEAD_END, searched)
        if end < 0:
            if len(self._data) > front.settings.head_size:
                self._refuse(Refusal.HEAD_TOO_LARGE)
            return
        end += len(_HEAD_END)
        if end > front.settings.head_size:
            self._refuse(Refusal.HEAD_TOO_LARGE)
            return
        try:
            head = parse_head(self._data[:end])
        except BadHead:
            self._refuse(Refusal.MALFORMED)
            return
        self._timer.cancel()
        front.route(self._arrival, head, self._data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer.active():
            self._timer.cancel()

    def _timed_out(self) -> None:
        if self._data:
            refuse(self.transport, Refusal.HEAD_TIMEOUT)
        else:
            # Nothing was asked, so there is nothing to answer: a probe, or a browser's spare connection.
            self.transport.loseConnection()

    def _refuse(self, refusal: Refusal) -> None:
        self._timer.cancel()
        refuse(self.transport, refusal)


def _switch(stream: Stream, protocol: IProtocol, data: bytes) -> None:
    stream.switch(protocol)
    protocol.dataReceived(data)
