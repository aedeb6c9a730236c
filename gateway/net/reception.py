"""Accepted sockets become streams: tuned, with TLS where it is spoken, counted and bounded."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

import attrs
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.logger import Logger

from gateway.net.channel import Channel, SocketChannel, TlsChannel, tune
from gateway.net.proxied import Announced, NotAnnounced, client_text
from gateway.net.stream import Stream

__all__ = ["Arrival", "Doorkeeper", "Reception", "Visit"]


class Visit(Protocol):
    """A connection that a :class:`Doorkeeper` let in."""

    def prove(self) -> None:
        """It has come to something."""

    def end(self) -> None:
        """It is over, or somebody else's."""


class Doorkeeper(Protocol):
    """Knows clients by their addresses, and whom not to let in."""

    def enter(self, client: str) -> Visit | None:
        """Let a connection of an address in, or have it closed."""

    def full(self, client: str) -> None:
        """Hear of a connection that was closed because there are too many of everybody."""

    def unannounced(self, client: str, why: NotAnnounced, detail: str) -> None:
        """Hear of a connection that was closed because no trusted proxy said whose it is."""


@attrs.frozen(eq=False)
class Arrival:
    """A connection that was accepted, and what it came on."""

    stream: Stream
    sock: socket.socket
    """For what only the socket knows, such as the credentials of its peer; not to be read or written."""
    tls: SSL.Connection | None
    """For what only TLS knows, such as the client's certificate; not to be read or written."""
    visit: Visit | None = None
    """What the doorkeeper knows it by, where there is one."""


class Reception:
    """Makes a stream of every accepted socket, and ends them all."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        welcome: Callable[[Arrival], IProtocol],
        *,
        name: str,
        limit: int,
        handshake_timeout: float,
        context: Callable[[], SSL.Context] | None,
        doorkeeper: Doorkeeper | None = None,
        announced: Announced | None = None,
    ) -> None:
        """
        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        :param welcome: makes the protocol that speaks when TLS is established.
        :param name: what the limit is called in the log.
        :param limit: connections that may be open at once; others are closed.
        :param handshake_timeout: time for TLS, in seconds.
        :param context: the TLS context for the next connection, where there are TLS listeners.
        :param doorkeeper: is asked before anything is done for a connection.
        :param announced: reads the headers of proxies, where connections begin with one.
        """
        self._reactor = reactor
        self._welcome = welcome
        self._name = name
        self._limit = limit
        self._handshake_timeout = handshake_timeout
        self._context = context
        self._doorkeeper = doorkeeper
        self._announced = announced
        self.streams: set[Stream] = set()
        """Connections that are open."""
        self._full = False

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self.streams) + (0 if self._announced is None else len(self._announced))

    def accept(self, sock: socket.socket, address: Any, *, tls: bool, announced: bool = False) -> None:
        """Take an accepted socket.

        :param announced: whether it begins with the header of a proxy, which says who the client is.
        """
        peer = _twisted_address(sock, address)
        if self.open >= self._limit:
            if not self._full:
                self._full = True
                self.log.warn(
                    f"{self._name} ({{limit}}) reached: new connections are closed until others finish",
                    limit=self._limit,
                )
            if self._doorkeeper is not None:
                self._doorkeeper.full(client_text(peer))
            sock.close()
            return
        host = _twisted_address(sock, sock.getsockname())
        if not announced:
            self._enter(sock, peer, host, tls=tls)
            return
        assert self._announced is not None
        sock.setblocking(False)
        self._announced.take(
            sock,
            peer,
            lambda header: self._enter(sock, header.source or peer, header.destination or host, tls=tls),
        )

    def close(self) -> None:
        """Drop every connection."""
        if self._announced is not None:
            self._announced.close()
        for stream in list(self.streams):
            stream.abortConnection()

    def _enter(self, sock: socket.socket, peer: IAddress, host: IAddress, *, tls: bool) -> None:
        """Let in a connection whose client is known, or close it."""
        visit, keeper = None, self._doorkeeper
        if keeper is not None:
            visit = keeper.enter(client_text(peer))
            if visit is None:
                # Nothing is said: an answer would have to be encrypted first.
                sock.close()
                return
        try:
            self._begin(sock, peer, host, visit, tls=tls)
        except BaseException:
            if visit is not None:
                visit.end()
            raise

    def _begin(
        self, sock: socket.socket, peer: IAddress, host: IAddress, visit: Visit | None, *, tls: bool
    ) -> None:
        tune(sock)
        connection: SSL.Connection | None = None
        channel: Channel
        if tls:
            assert self._context is not None
            sock.setblocking(False)
            connection = SSL.Connection(self._context(), sock)
            connection.set_accept_state()
            channel = TlsChannel(sock, connection)
        else:
            channel = SocketChannel(sock)
        stream = Stream(
            self._reactor,
            channel,
            peer=peer,
            host=host,
            secure=tls,
            ended=lambda: self._ended(stream, visit),
        )
        self.streams.add(stream)
        try:
            stream.start(self._welcome(Arrival(stream, sock, connection, visit)), self._handshake_timeout)
        except Exception:
            stream.abortConnection()
            raise

    def _ended(self, stream: Stream, visit: Visit | None) -> None:
        self.streams.discard(stream)
        if visit is not None:
            visit.end()
        if len(self.streams) <= self._limit * 3 // 4:
            self._full = False


def _twisted_address(sock: socket.socket, address: Any) -> IAddress:
    if sock.family == socket.AF_UNIX:
        return UNIXAddress(address or None)
    host = address[0].removeprefix("::ffff:")
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, address[1])
