"""The endpoints of ``[metrics] listen``: a few pages without TLS, for scrapers and balancers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from twisted.web.resource import IResource, Resource

from gateway.control.plain import Answer, PlainResource
from gateway.net import Listener, ListenerSet
from gateway.net.http_site import HttpSite, raw_answer
from gateway.net.reception import Reception

__all__ = ["MetricsServer"]

_CONNECTIONS: Final = 100
"""Most at once: whoever scrapes and probes needs a handful."""
_MAX_BODY: Final = 1024
"""Bytes of a request body, which none of the pages wants."""
_TOO_LARGE: Final = raw_answer(
    413, {"Content-Type": "text/plain; charset=utf-8"}, b"Request body too large\n"
)


class MetricsServer:
    """Serves pages on listeners of its own."""

    def __init__(self, listen: Sequence[str]) -> None:
        """:param listen: endpoints, in the forms of ``listen.plain``."""
        self._listen = listen
        self._sockets = ListenerSet()
        self._reception: Reception | None = None
        self._site: HttpSite | None = None

    @property
    def listeners(self) -> list[Listener]:
        """What is bound: the real addresses, where a port was 0."""
        return self._sockets.bound

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return 0 if self._reception is None else self._reception.open

    def bind(self) -> None:
        """Bind every listening socket, or none.

        :raises gateway.net.BindError: when one cannot be bound.
        """
        self._sockets.bind((name, False) for name in self._listen)

    def start(self, reactor: Any, pages: Mapping[str, IResource]) -> None:
        """Serve ``pages`` under their names; binds first where that was not done.

        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        """
        self.bind()
        root = _Root()
        for name, page in pages.items():
            root.putChild(name.encode("ascii"), page)
        self._site = site = HttpSite(root, reactor, too_large=_TOO_LARGE, max_body=_MAX_BODY)
        site.doStart()
        self._reception = reception = Reception(
            reactor,
            lambda arrival: site.buildProtocol(arrival.stream.getPeer()),
            name="metrics.listen",
            limit=_CONNECTIONS,
            # There is no handshake without TLS.
            handshake_timeout=1.0,
            context=None,
        )
        self._sockets.accept(reactor, lambda _, sock, address: reception.accept(sock, address, tls=False))

    def leave(self) -> None:
        """Stop accepting, and leave the sockets to another process."""
        self._sockets.leave()

    def stop(self) -> None:
        """Close the listeners and every connection; idempotent."""
        self._sockets.close()
        if self._reception is not None:
            self._reception.close()
        if self._site is not None:
            self._site.doStop()
        self._reception = self._site = None


class _Root(Resource):
    def getChild(self, path: bytes, request: Any) -> IResource:
        return _Missing()


class _Missing(PlainResource):
    async def answer(self, request: Any) -> Answer:
        return Answer(b"Not found\n", HTTPStatus.NOT_FOUND)
