"""Plain HTTP on the gateway's own port: landing page, the state of a ticket, pages of the embedder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web import server
from twisted.web.resource import IResource, Resource

from gateway.front.forwarded import BadForwarded, Clients
from gateway.front.gate import UNPROVEN, Gate
from gateway.front.refusals import RefusalResource, refusal_answer
from gateway.net import Arrival, client_text
from gateway.net.http_site import HttpChannel, HttpRequest, HttpSite
from gateway.reasons import Refusal
from gateway.tickets import looks_like_ticket

__all__ = ["FrontPages", "make_site", "prove"]

_LANDING = (
    "This is a console gateway.\n"
    "Your browser trusts its certificate, so consoles can be opened from the page that sent you here.\n"
)


class FrontPages(Resource):
    """The root of the site.

    ``GET /TICKET`` without an upgrade says what an upgrade would be answered,
    because a browser cannot read why its WebSocket was refused: 426 for a
    ticket that holds, else the refusal.
    """

    def __init__(self, gate: Gate, clients: Clients) -> None:
        super().__init__()
        self._gate = gate
        self._clients = clients
        self.putChild(b"", _Text(_LANDING))

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        target = request.path[1:].decode("ascii", "replace")
        if looks_like_ticket(target):
            try:
                client = client_text(self._clients.find(request.getClientAddress(), _values(request)))
            except BadForwarded:
                return RefusalResource(Refusal.MALFORMED)
            refusal = self._gate.verdict(target, client) or Refusal.UPGRADE_REQUIRED
            if refusal not in UNPROVEN:
                prove(request.channel.arrival)
            return RefusalResource(refusal, self._gate.retry_after(refusal, client))
        child: IResource = super().getChildWithDefault(path, request)
        if not isinstance(child, RefusalResource):
            prove(request.channel.arrival)
        return child

    def getChild(self, path: bytes, request: Any) -> IResource:
        return RefusalResource(Refusal.NOT_FOUND)

    def render(self, request: Any) -> bytes:
        return RefusalResource(Refusal.NOT_FOUND).render(request)


class _Text(Resource):
    """A fixed plain text."""

    isLeaf = True

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text.encode("utf-8")

    def render(self, request: Any) -> bytes:
        if request.method not in (b"GET", b"HEAD"):
            return RefusalResource(Refusal.METHOD_NOT_ALLOWED).render(request)
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        request.setHeader("X-Content-Type-Options", "nosniff")
        return self._text


class _Channel(HttpChannel):
    """A connection with a place for what comes behind an upgrade."""

    behind: bytearray | None = None
    """Bytes behind an upgrade request, as soon as there is one."""

    def rawDataReceived(self, data: bytes) -> None:
        if self.behind is None:
            super().rawDataReceived(data)
        else:
            self.behind += data


class _Request(HttpRequest):
    """A request that may turn out to be an upgrade on a connection that served pages before."""

    def serve(self) -> None:
        # In bytes: asked for as text, a value that is not UTF-8 would be an exception.
        tokens = b",".join(self.requestHeaders.getRawHeaders(b"upgrade", [])).lower().split(b",")
        if b"websocket" in [token.strip(b" \t") for token in tokens]:
            channel: Any = self.channel
            channel.behind = bytearray()
            channel.site.upgrade(self)
        else:
            super().serve()


class _Site(HttpSite):
    """Pages, and upgrades that come late; nothing is logged, since paths can be tickets."""

    protocol = _Channel

    def __init__(self, root: IResource, reactor: IReactorTime, upgrade: Callable[[Any], None]) -> None:
        super().__init__(root, reactor, too_large=refusal_answer(Refusal.MALFORMED), request=_Request)
        self.upgrade = upgrade


def make_site(root: IResource, reactor: IReactorTime, upgrade: Callable[[Any], None]) -> server.Site:
    """The site for plain requests.

    :param upgrade: called with a request that asks for WebSocket after all.
    """
    return _Site(root, reactor, upgrade)


def prove(arrival: Arrival) -> None:
    """Note that a connection has come to something: a page, or a genuine ticket."""
    if arrival.visit is not None:
        arrival.visit.prove()


def _values(request: Any) -> Callable[[str], list[str]]:
    """What finds header fields, in the way of :class:`gateway.net.http_head.Head`."""

    def values(name: str) -> list[str]:
        raw: list[bytes] = request.requestHeaders.getRawHeaders(name.encode("ascii"), [])
        return [value.decode("latin-1") for value in raw]

    return values
